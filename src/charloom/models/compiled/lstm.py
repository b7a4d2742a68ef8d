"""The long short-term memory cell. Hochreiter & Schmidhuber 1997, with Gers et al.'s forget gate.

    i, f, o = sigmoid(...)   g = tanh(...)   of x Wx + h Wh + b
    c = f c + i g
    h = o tanh(c)

`forward` and `backward` take one layer through all T steps. `gates` comes in as x Wx + b,
becomes i f o g, and on the way back the gradient dZ of what came in: one array in one place
in the cache. A loop writes to one array only: more, and LLVM gives up proving that they do
not overlap.
"""

from typing import Any, NamedTuple

from charloom.models.compiled.activations import sigmoid, tanh
from charloom.models.compiled.products import back_product, copy, product
from charloom.models.jit import kernel
from charloom.models.weights import Array


class Lstm(NamedTuple):
    """Buffers of this cell."""

    c: Array  # (L, T + 1, B, H); c[:, 0] is carried
    tanh_c: Array  # (L, T, B, H)


def forward(s: Any, Wh: Any, packed: Any, turn: int, layer: int) -> None:
    """s.gates (T, B, 4H), h[0] and c[0] -> s.gates, h[1:] and c[1:], tanh_c (T, B, H)."""
    gates, h, c, tanh_c = s.gates[layer], s.h[layer], s.cell.c[layer], s.cell.tanh_c[layer]
    T, B, H = tanh_c.shape
    by_gate = gates.reshape(T, B, 4, H)
    for t in range(T):
        product(gates[t], gates[t], h[t], Wh, packed, turn + t)
        _step(by_gate[t], c[t], c[t + 1], tanh_c[t], h[t + 1])


@kernel
def _step(a: Any, c_before: Any, c: Any, tanh_c: Any, h: Any) -> None:
    B, H = h.shape
    for b in range(B):
        for gate in range(3):
            for j in range(H):
                a[b, gate, j] = sigmoid(a[b, gate, j])
        for j in range(H):
            a[b, 3, j] = tanh(a[b, 3, j])
        for j in range(H):
            c[b, j] = a[b, 1, j] * c_before[b, j] + a[b, 0, j] * a[b, 3, j]
        for j in range(H):
            tanh_c[b, j] = tanh(c[b, j])
        for j in range(H):
            h[b, j] = a[b, 2, j] * tanh_c[b, j]


def backward(s: Any, d: Any, Wh: Any, layer: int) -> None:
    """d.dH (T, B, H), the gradient of h[1:] -> s.gates = dZ."""
    gates, c, tanh_c = s.gates[layer], s.cell.c[layer], s.cell.tanh_c[layer]
    dh, dc, scratch = d.rows[0], d.rows[1], d.rows[2]
    T, B, H = tanh_c.shape
    by_gate = gates.reshape(T, B, 4, H)
    copy(dh, d.dH[T - 1])
    for b in range(B):
        for j in range(H):
            dc[b, j] = 0
    for t in range(T - 1, -1, -1):
        _step_back(by_gate[t], dh, dc, c[t], tanh_c[t], scratch)
        if t:
            back_product(dh, d.dH[t - 1], gates[t], Wh, d.packed_Wh, t)


@kernel
def _step_back(a: Any, dh: Any, dc: Any, c_before: Any, tanh_c: Any, scratch: Any) -> None:
    """The gates become the gradients of what went into them: sigmoid' = sigmoid (1 - sigmoid)."""
    B, H = dh.shape
    for b in range(B):
        u = scratch[b]
        for j in range(H):  # h = o tanh(c)
            dc[b, j] += dh[b, j] * a[b, 2, j] * (1 - tanh_c[b, j] * tanh_c[b, j])
        for j in range(H):
            a[b, 2, j] = dh[b, j] * tanh_c[b, j] * a[b, 2, j] * (1 - a[b, 2, j])
        for j in range(H):  # c = f c_before + i g
            u[j] = dc[b, j] * a[b, 0, j] * (1 - a[b, 3, j] * a[b, 3, j])
        for j in range(H):
            a[b, 0, j] = dc[b, j] * a[b, 3, j] * a[b, 0, j] * (1 - a[b, 0, j])
        for j in range(H):
            a[b, 3, j] = u[j]
        for j in range(H):
            dc[b, j] *= a[b, 1, j]
        for j in range(H):
            a[b, 1, j] = dc[b, j] * c_before[b, j] * (1 - a[b, 1, j])
