"""The vanilla recurrent network (Elman 1990) and its gradients through time (Werbos 1990).

    h[t] = tanh(x[t] Wx + h[t-1] Wh + b)

x (T, B, D), h (T, B, H), Wx (D, H), Wh (H, H), b (H,). Vectors are rows, one for each sequence, so
matrices multiply from the right: Wx is the transpose of Wxh in "The Unreasonable Effectiveness
of Recurrent Neural Networks" (Karpathy 2015).

Unrolled over time this is a network of depth T with the same weights at every depth.
Backpropagation is the chain rule from its last line to its first: `forward` computes y from x,
`backward` computes dx from dy, and what was used twice gets the sum of both gradients.
"""

from typing import Any

import numpy as np

from charloom.data.tokenizer import Ids
from charloom.models.reference.operations import add_product_gradient, is_ids, product
from charloom.models.weights import Array

State = tuple[Array, ...]  # (h,)
Cache = tuple[Any, ...]  # (x, h)


def forward(
    x: Array | Ids, state: State, Wx: Array, Wh: Array, b: Array
) -> tuple[Array, State, Cache]:
    """Read x, vectors (T, B, D) or ids (T, B) of one-hot vectors, after the state (h (B, H),).

    Returns the outputs h (T, B, H), the state after the last, and what `backward` needs.
    """
    T, B = x.shape[:2]
    h = np.empty((T + 1, B, len(Wh)), Wh.dtype)
    (h[-1],) = state  # the row past the end: what h[t - 1] means at t = 0
    for t in range(T):
        h[t] = np.tanh(product(x[t], Wx) + h[t - 1] @ Wh + b)
    return h[:T], (h[T - 1].copy(),), (x, h)


def backward(
    dout: Array, cache: Cache, Wx: Array, Wh: Array
) -> tuple[Array | None, Array, Array, Array]:
    """Go through the same lines from the last to the first; dout (T, B, H) comes from above.

    Returns dx (T, B, D) for the layer below (None for ids: there is none), dWx, dWh and db.
    Every time step used the same weights, so a weight's gradient is the sum over all of them.
    """
    x, h = cache
    dWx, dWh = np.zeros_like(Wx), np.zeros_like(Wh)
    da = np.empty_like(dout)  # of a = x Wx + h Wh + b, which goes into tanh
    dh = np.zeros_like(dout[0])  # no gradient from beyond T: backpropagation is truncated here
    for t in reversed(range(len(x))):
        dh = dh + dout[t]  # h[t] went two ways: up, and on to t + 1
        da[t] = dh * (1 - h[t] ** 2)  # tanh' = 1 - tanh^2
        add_product_gradient(dWx, x[t], da[t])
        dWh += h[t - 1].T @ da[t]
        dh = da[t] @ Wh.T  # to h[t - 1]
    dx = None if is_ids(x) else da @ Wx.T
    return dx, dWx, dWh, da.sum(axis=(0, 1))
