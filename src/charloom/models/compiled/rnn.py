"""The vanilla recurrent cell: h = tanh(x Wx + h Wh + b). Elman 1990; min-char-rnn.

`forward` and `backward` take one layer through all T steps. `gates` comes in as x Wx + b; on
the way back it becomes its gradient dZ.
"""

from typing import Any, NamedTuple

from charloom.models.compiled.activations import tanh
from charloom.models.compiled.products import back_product, copy, product
from charloom.models.weights import Array


class Rnn(NamedTuple):
    """No buffers of its own; a field, since numba wants one."""

    none: Array  # (0,)


def forward(s: Any, Wh: Any, packed: Any, turn: int, layer: int) -> None:
    """s.gates (T, B, H) and h[0] -> s.h[1:], of h (T + 1, B, H)."""
    gates, h = s.gates[layer], s.h[layer]
    T, B, H = gates.shape
    for t in range(T):
        a, h_t = gates[t], h[t + 1]
        product(a, a, h[t], Wh, packed, turn + t)
        for b in range(B):
            for j in range(H):
                h_t[b, j] = tanh(a[b, j])


def backward(s: Any, d: Any, Wh: Any, layer: int) -> None:
    """d.dH (T, B, H), the gradient of h[1:] -> s.gates = dZ."""
    gates, h, dh = s.gates[layer], s.h[layer], d.rows[0]
    T, B, H = gates.shape
    copy(dh, d.dH[T - 1])
    for t in range(T - 1, -1, -1):
        dz, h_t = gates[t], h[t + 1]
        for b in range(B):
            for j in range(H):
                dz[b, j] = dh[b, j] * (1 - h_t[b, j] * h_t[b, j])
        if t:
            back_product(dh, d.dH[t - 1], dz, Wh, d.packed_Wh, t)
