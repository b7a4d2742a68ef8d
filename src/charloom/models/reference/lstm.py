"""Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000), with
its gradients, in the form of Zaremba, Sutskever & Vinyals 2014, section 3.1.

    i = sigmoid(x Wxi + h[t-1] Whi + bi)      how much of the candidate is written
    f = sigmoid(x Wxf + h[t-1] Whf + bf)      how much of the memory is kept
    o = sigmoid(x Wxo + h[t-1] Who + bo)      how much of the memory is shown
    g = tanh   (x Wxg + h[t-1] Whg + bg)      the candidate
    c[t] = f c[t-1] + i g
    h[t] = o tanh(c[t])

x (T, B, D); h, c and every gate (T, B, H). The four matrices stand side by side in the order
i, f, o, g, so that one product gives all four sums: Wx (D, 4H), Wh (H, 4H), b (4H,).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from charloom.data.tokenizer import Ids
from charloom.models.reference.operations import (
    add_product_gradient,
    is_ids,
    product,
    sigmoid,
    sigmoid_gradient,
)
from charloom.models.weights import Array

State = tuple[Array, ...]  # (h, c)
Cache = tuple[Any, ...]  # (x, h, c, i, f, o, g)
Gate = Callable[[Array], Array]
GateGradient = Callable[[Array, Array], Array]


def forward(
    x: Array | Ids, state: State, Wx: Array, Wh: Array, b: Array, sigmoid: Gate = sigmoid
) -> tuple[Array, State, Cache]:
    """Read x, vectors (T, B, D) or ids (T, B), after the state (h (B, H), c (B, H)).

    Returns the outputs h (T, B, H), the state after the last, and what `backward` needs.
    """
    (T, B), H = x.shape[:2], len(Wh)
    h, c = np.empty((2, T + 1, B, H), Wh.dtype)
    i, f, o, g = np.empty((4, T, B, H), Wh.dtype)
    h[-1], c[-1] = state  # what h[t - 1] and c[t - 1] mean at t = 0
    for t in range(T):
        a = product(x[t], Wx) + h[t - 1] @ Wh + b  # (B, 4H)
        i[t] = sigmoid(a[:, :H])
        f[t] = sigmoid(a[:, H : 2 * H])
        o[t] = sigmoid(a[:, 2 * H : 3 * H])
        g[t] = np.tanh(a[:, 3 * H :])
        c[t] = f[t] * c[t - 1] + i[t] * g[t]
        h[t] = o[t] * np.tanh(c[t])
    return h[:T], (h[T - 1].copy(), c[T - 1].copy()), (x, h, c, i, f, o, g)


def backward(
    dout: Array, cache: Cache, Wx: Array, Wh: Array, gate_gradient: GateGradient = sigmoid_gradient
) -> tuple[Array | None, Array, Array, Array]:
    """Go through the same lines from the last to the first; dout (T, B, H) comes from above.

    Returns dx (T, B, D) (None for ids), dWx, dWh and db.
    """
    x, h, c, i, f, o, g = cache
    T, B, H = dout.shape
    dWx, dWh = np.zeros_like(Wx), np.zeros_like(Wh)
    da = np.empty((T, B, 4 * H), Wh.dtype)
    dh, dc = np.zeros((2, B, H), Wh.dtype)  # no gradient from beyond T
    for t in reversed(range(T)):
        dh = dh + dout[t]  # h[t] went up and on to t + 1
        tanh_c = np.tanh(c[t])
        do = dh * tanh_c
        dc = dc + dh * o[t] * (1 - tanh_c**2)  # c[t] went into h[t] and on to c[t + 1]
        di, df, dg = dc * g[t], dc * c[t - 1], dc * i[t]

        da[t, :, :H] = gate_gradient(di, i[t])  # di i (1 - i): sigmoid' = sigmoid (1 - sigmoid)
        da[t, :, H : 2 * H] = gate_gradient(df, f[t])
        da[t, :, 2 * H : 3 * H] = gate_gradient(do, o[t])
        da[t, :, 3 * H :] = dg * (1 - g[t] ** 2)

        add_product_gradient(dWx, x[t], da[t])
        dWh += h[t - 1].T @ da[t]
        dh = da[t] @ Wh.T  # to h[t - 1]
        dc = dc * f[t]  # to c[t - 1], through no matrix: why an LSTM's memory lasts
    dx = None if is_ids(x) else da @ Wx.T
    return dx, dWx, dWh, da.sum(axis=(0, 1))
