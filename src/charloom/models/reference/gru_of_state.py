"""The gated recurrent unit as in the paper and in char-rnn: the reset gate multiplies the state.

    r = sigmoid(x Wxr + h[t-1] Whr + br)
    z = sigmoid(x Wxz + h[t-1] Whz + bz)
    n = tanh   (x Wxn + (r h[t-1]) Whn + bn)      in gru.py: r (h[t-1] Whn)
    h[t] = (1 - z) n + z h[t-1]

All else is as in gru.py, and so are the letters; s = r h[t-1] (T, B, H).
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
Cache = tuple[Any, ...]  # (x, h, r, z, n, s)


def forward(
    x: Array | Ids,
    state: State,
    Wx: Array,
    Wh: Array,
    b: Array,
    sigmoid: Gate = sigmoid,
) -> tuple[Array, State, Cache]:
    """Read x, vectors (T, B, D) or ids (T, B), after the state (h (B, H),).

    Returns the outputs h (T, B, H), the state after the last, and what `backward` needs.
    """
    (T, B), H = x.shape[:2], len(Wh)
    h = np.empty((T + 1, B, H), Wh.dtype)
    r, z, n, s = np.empty((4, T, B, H), Wh.dtype)
    (h[-1],) = state  # what h[t - 1] means at t = 0
    for t in range(T):
        ax = product(x[t], Wx) + b  # (B, 3H)
        ah = h[t - 1] @ Wh[:, : 2 * H]  # (B, 2H)
        r[t] = sigmoid(ax[:, :H] + ah[:, :H])
        z[t] = sigmoid(ax[:, H : 2 * H] + ah[:, H:])
        s[t] = r[t] * h[t - 1]
        n[t] = np.tanh(ax[:, 2 * H :] + s[t] @ Wh[:, 2 * H :])
        h[t] = (1 - z[t]) * n[t] + z[t] * h[t - 1]
    return h[:T], (h[T - 1].copy(),), (x, h, r, z, n, s)


def backward(
    dout: Array, cache: Cache, Wx: Array, Wh: Array, gate_gradient: GateGradient = sigmoid_gradient
) -> tuple[Array | None, Array, Array, Array]:
    """Go through the same lines from the last to the first; dout (T, B, H) comes from above.

    Returns dx (T, B, D) (None for ids), dWx, dWh and db.
    """
    x, h, r, z, n, s = cache
    T, B, H = dout.shape
    dWx, dWh = np.zeros_like(Wx), np.zeros_like(Wh)
    da = np.empty((T, B, 3 * H), Wh.dtype)
    dh = np.zeros((B, H), Wh.dtype)  # no gradient from beyond T
    for t in reversed(range(T)):
        dh = dh + dout[t]  # h[t] went up and on to t + 1
        dz = dh * (h[t - 1] - n[t])
        dn = dh * (1 - z[t])
        dan = dn * (1 - n[t] ** 2)  # tanh' = 1 - tanh^2
        ds = dan @ Wh[:, 2 * H :].T
        dr = ds * h[t - 1]

        da[t, :, :H] = gate_gradient(dr, r[t])
        da[t, :, H : 2 * H] = gate_gradient(dz, z[t])
        da[t, :, 2 * H :] = dan

        add_product_gradient(dWx, x[t], da[t])
        dWh[:, : 2 * H] += h[t - 1].T @ da[t, :, : 2 * H]
        dWh[:, 2 * H :] += s[t].T @ dan
        # to h[t - 1]: directly, through s, and through the gates
        dh = dh * z[t] + ds * r[t] + da[t, :, : 2 * H] @ Wh[:, : 2 * H].T
    dx = None if is_ids(x) else da @ Wx.T
    return dx, dWx, dWh, da.sum(axis=(0, 1))
