"""A recurrent network that predicts the same on every processor, bit for bit.

It adds, multiplies and divides in float32, each sum in one order, and nothing is contracted: IEEE
754 leaves no choice there. Other functions would be a library's. Letters: V ids, M characters of
the mixer, L layers, H hidden size, G gates.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from charloom.config import ModelConfig
from charloom.errors import CharloomError
from charloom.models.jit import allocating_kernel as kernel
from charloom.models.weights import GATES, Array, check_weights

Floats = NDArray[np.float32]

CELLS = ("lstm", "gru", "rnn")
LSTM, GRU, RNN = range(3)
_f = np.float32
# exp(x) = 2^n exp(r), n the whole number nearest x / ln 2, |r| <= ln(2)/2: Taylor to r^7.
_LOG2E, _LN2_HIGH, _LN2_LOW = _f(1.44269504), _f(0.693359375), _f(-2.12194440e-4)
_C2, _C3, _C4, _C5, _C6, _C7 = [_f(1 / math.factorial(k)) for k in range(2, 8)]
_HALF, _ONE, _TWO, _MOST = _f(0.5), _f(1), _f(2), _f(87)
_BIAS, _MANTISSA = np.int32(127), np.int32(23)


class Network(NamedTuple):
    """Weights, the state after what was read, and room to compute in."""

    cell: int
    inputs: Floats  # (V, GH) what each id brings to layer 0: x Wx + b
    Wx: Floats  # (L - 1, H, GH) of the layers above
    b: Floats  # (L, GH)
    Wh: Floats  # (L, H, GH)
    head_W: Floats  # (H, V)
    head_b: Floats  # (V,)
    places: NDArray[np.int32]  # (V,) the mixer's number for each id
    ids: NDArray[np.int32]  # (M,) the id of each character of the mixer's; -1 if it is unknown
    h: Floats  # (L, H)
    c: Floats  # (L, H)
    gates: Floats  # (2, GH)
    logits: Floats  # (V,)

    def begin(self, first: int) -> None:
        """Forget what was read, and read a first id."""
        self.h[:] = self.c[:] = 0
        read(self, first)


def new_network(
    config: ModelConfig, weights: Mapping[str, Array], places: NDArray[np.integer], M: int
) -> Network:
    """Return a network that has read nothing.

    Its ids have the numbers `places` (V,) among M characters. Weights are rounded to float32.
    Raises CharloomError if they are not those of the config, or if that has a GRU of other kinds.
    """
    V, L, H = len(places), config.layers, config.hidden
    GH = GATES[config.cell] * H
    check_weights(weights, config, V)
    for field, kind in (("reset", config.reset), ("gate", config.gate)):
        if kind is not UNSET:
            message = f"a network with {field} {kind} is not read here: name a run of another"
            raise CharloomError(message, "unsupported", field=field)
    w = {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}
    Wx0, b = w["layer0.Wx"], np.stack([w[f"layer{layer}.b"] for layer in range(L)])
    inputs = np.repeat(b[:1], V, axis=0)
    if config.embedding:
        for v in range(V):
            add_product(inputs[v], w["embedding"][v], Wx0)
    else:
        inputs += Wx0
    ids = np.full(M, -1, np.int32)
    ids[places] = np.arange(V)
    return Network(
        cell=CELLS.index(config.cell),
        inputs=inputs,
        Wx=np.array([w[f"layer{layer}.Wx"] for layer in range(1, L)], _f).reshape(L - 1, H, GH),
        b=b,
        Wh=np.stack([w[f"layer{layer}.Wh"] for layer in range(L)]),
        head_W=w["head.W"],
        head_b=w["head.b"],
        places=np.ascontiguousarray(places, np.int32),
        ids=ids,
        h=np.zeros((L, H), np.float32),
        c=np.zeros((L, H), np.float32),
        gates=np.zeros((2, GH), np.float32),
        logits=np.zeros(V, np.float32),
    )


@kernel
def add_product(z: Floats, x: Floats, W: Floats) -> None:
    """z (N,) += x (K,) W (K, N): to each sum, its terms come in the order of x."""
    K = x.size
    for k in range(0, K - 3, 4):
        a0, a1, a2, a3 = x[k], x[k + 1], x[k + 2], x[k + 3]
        W0, W1, W2, W3 = W[k], W[k + 1], W[k + 2], W[k + 3]
        for j in range(z.size):
            z[j] = (((z[j] + a0 * W0[j]) + a1 * W1[j]) + a2 * W2[j]) + a3 * W3[j]
    for k in range(K - K % 4, K):
        a0, W0 = x[k], W[k]
        for j in range(z.size):
            z[j] += a0 * W0[j]


@kernel
def exp(x: Any) -> Any:
    """Return e^x in float32, within 2e-7 of itself, for -87 <= x <= 87; beyond, the border's.

    That of NaN, which weights beyond all measure make, is e^-87: it has no sign of its own.
    """
    x = _MOST if x > _MOST else x if x > -_MOST else -_MOST
    n = np.int32(x * _LOG2E + (_HALF if x > 0 else -_HALF))
    r = x - np.float32(n) * _LN2_HIGH - np.float32(n) * _LN2_LOW
    s = ((((_C7 * r + _C6) * r + _C5) * r + _C4) * r + _C3) * r + _C2
    return ((s * r + _ONE) * r + _ONE) * np.int32((n + _BIAS) << _MANTISSA).view(np.float32)


@kernel
def sigmoid(x: Any) -> Any:
    """Return the logistic function 1 / (1 + e^-x) in float32."""
    return _ONE / (_ONE + exp(-x))


@kernel
def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent in float32, within 2e-7."""
    return _ONE - _TWO / (_ONE + exp(_TWO * x))


@kernel
def read(network: Network, v: int) -> None:
    """Take an id into the state."""
    L, H = network.h.shape
    z, R = network.gates[0], network.gates[1]
    for layer in range(L):
        h, c = network.h[layer], network.c[layer]
        if layer == 0:
            z[:] = network.inputs[v]
        else:
            z[:] = network.b[layer]
            add_product(z, network.h[layer - 1], network.Wx[layer - 1])
        if network.cell == LSTM:
            add_product(z, h, network.Wh[layer])
            for j in range(H):
                c[j] = sigmoid(z[H + j]) * c[j] + sigmoid(z[j]) * tanh(z[3 * H + j])
                h[j] = sigmoid(z[2 * H + j]) * tanh(c[j])
        elif network.cell == GRU:
            R[:] = 0
            add_product(R, h, network.Wh[layer])
            for j in range(H):
                n = tanh(z[2 * H + j] + sigmoid(z[j] + R[j]) * R[2 * H + j])
                h[j] = n + sigmoid(z[H + j] + R[H + j]) * (h[j] - n)
        else:
            add_product(z, h, network.Wh[layer])
            for j in range(H):
                h[j] = tanh(z[j])


@kernel
def predict(network: Network, p: NDArray[np.float64]) -> None:
    """Write to p (M,) how likely each character is: e^logit, not divided by their sum."""
    logits = network.logits
    logits[:] = network.head_b
    add_product(logits, network.h[network.h.shape[0] - 1], network.head_W)
    top = logits[0]
    for v in range(logits.size):
        top = logits[v] if logits[v] > top else top
    p[:] = 0
    for v in range(logits.size):
        p[network.places[v]] = exp(logits[v] - top)
