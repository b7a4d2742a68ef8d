"""The gated recurrent unit (Cho et al. 2014, equations 5 to 8) and its gradients.

    r = sigmoid(x Wxr + h[t-1] Whr + br)          how much of the past the candidate sees
    z = sigmoid(x Wxz + h[t-1] Whz + bz)          how much of the past stays as it is
    n = tanh   (x Wxn + r (h[t-1] Whn) + bn)      the candidate
    h[t] = (1 - z) n + z h[t-1]

The reset gate r acts after the recurrent product, as in cuDNN and PyTorch, not before it as in
the paper, so that the three products with h[t-1] are one. x (T, B, D); h and every gate
(T, B, H). The three matrices stand side by side in the order r, z, n: Wx (D, 3H), Wh (H, 3H),
b (3H,). PyTorch's and Keras' GRU have one more bias, r (h[t-1] Whn + bhn), bhn (H,): for r and z
two biases are only their sum, but here r weighs the second.
"""

from typing import Any

import numpy as np

from charloom.data.tokenizer import Ids
from charloom.models.reference.lstm import Gate, GateGradient
from charloom.models.reference.operations import (
    add_product_gradient,
    is_ids,
    product,
    sigmoid,
    sigmoid_gradient,
)
from charloom.models.weights import Array

State = tuple[Array, ...]  # (h,)
Cache = tuple[Any, ...]  # (x, h, r, z, n, q)


def forward(
    x: Array | Ids,
    state: State,
    Wx: Array,
    Wh: Array,
    b: Array,
    bhn: Array | None = None,
    sigmoid: Gate = sigmoid,
) -> tuple[Array, State, Cache]:
    """Read x, vectors (T, B, D) or ids (T, B), after the state (h (B, H),).

    Returns the outputs h (T, B, H), the state after the last, and what `backward` needs.
    """
    (T, B), H = x.shape[:2], len(Wh)
    h = np.empty((T + 1, B, H), Wh.dtype)
    r, z, n, q = np.empty((4, T, B, H), Wh.dtype)
    (h[-1],) = state  # what h[t - 1] means at t = 0
    for t in range(T):
        ax = product(x[t], Wx) + b  # (B, 3H)
        ah = h[t - 1] @ Wh  # (B, 3H)
        r[t] = sigmoid(ax[:, :H] + ah[:, :H])
        z[t] = sigmoid(ax[:, H : 2 * H] + ah[:, H : 2 * H])
        q[t] = ah[:, 2 * H :] if bhn is None else ah[:, 2 * H :] + bhn
        n[t] = np.tanh(ax[:, 2 * H :] + r[t] * q[t])
        h[t] = (1 - z[t]) * n[t] + z[t] * h[t - 1]
    return h[:T], (h[T - 1].copy(),), (x, h, r, z, n, q)


def backward(
    dout: Array, cache: Cache, Wx: Array, Wh: Array, gate_gradient: GateGradient = sigmoid_gradient
) -> tuple[Array | None, Array, Array, Array, Array]:
    """Go through the same lines from the last to the first; dout (T, B, H) comes from above.

    Returns dx (T, B, D) (None for ids), dWx, dWh, db, and dbhn for whom there is one.
    """
    x, h, r, z, n, q = cache
    T, B, H = dout.shape
    dWx, dWh = np.zeros_like(Wx), np.zeros_like(Wh)
    dax, dah = np.empty((2, T, B, 3 * H), Wh.dtype)
    dh = np.zeros((B, H), Wh.dtype)  # no gradient from beyond T
    for t in reversed(range(T)):
        dh = dh + dout[t]  # h[t] went up and on to t + 1
        dz = dh * (h[t - 1] - n[t])
        dn = dh * (1 - z[t])
        dan = dn * (1 - n[t] ** 2)  # tanh' = 1 - tanh^2
        dr = dan * q[t]

        dax[t, :, :H] = gate_gradient(dr, r[t])
        dax[t, :, H : 2 * H] = gate_gradient(dz, z[t])
        dax[t, :, 2 * H :] = dan
        dah[t] = dax[t]  # ax and ah are added ...
        dah[t, :, 2 * H :] *= r[t]  # ... but r weighs the candidate's part of ah

        add_product_gradient(dWx, x[t], dax[t])
        dWh += h[t - 1].T @ dah[t]
        dh = dh * z[t] + dah[t] @ Wh.T  # to h[t - 1], directly and through the gates
    dx = None if is_ids(x) else dax @ Wx.T
    return dx, dWx, dWh, dax.sum(axis=(0, 1)), dah[:, :, 2 * H :].sum(axis=(0, 1))
