"""The long short-term memory cell. Hochreiter & Schmidhuber 1997, with Gers et al.'s forget gate.

    i, f, o = sigmoid(...)   g = tanh(...)   of x Wx + h Wh + b
    c = f c + i g
    h = o tanh(c)

`forward` and `backward` take one layer through all T steps, given Z = x Wx + b.
A loop writes to one array only: more, and LLVM gives up proving that they do not overlap.
"""

from typing import Any, NamedTuple

from charloom.compiled.activations import sigmoid, tanh
from charloom.compiled.products import back_product, copy, product, transpose_for
from charloom.jit import kernel
from charloom.weights import Array


class Lstm(NamedTuple):
    """Buffers of this cell."""

    c: Array  # (L, T + 1, B, H); c[:, 0] is carried
    tanh_c: Array  # (L, T, B, H)
    dc: Array  # (B, H)


@kernel
def forward(Z: Any, Wh: Any, gates: Any, h: Any, c: Any, tanh_c: Any) -> None:
    """Z (T, B, 4H), Wh (H, 4H), h[0], c[0] -> gates (T, B, 4H), h[1:], c[1:], tanh_c (T, B, H)."""
    T, B, _ = Z.shape
    by_gate = gates.reshape(T, B, 4, h.shape[2])
    for t in range(T):
        product(gates[t], Z[t], h[t], Wh)
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


@kernel
def backward(
    dZ: Any, dH: Any, Wh: Any, WhT: Any, gates: Any, c: Any, tanh_c: Any, dh: Any, dc: Any
) -> None:
    """dH (T, B, H), the gradient of h[1:] -> dZ (T, B, 4H).

    dh, dc (B, H) and WhT (4H, H) are scratch.
    """
    T, B, _ = dZ.shape
    H = dh.shape[1]
    dZ_by_gate, by_gate = dZ.reshape(T, B, 4, H), gates.reshape(T, B, 4, H)
    transpose_for(WhT, Wh, B)
    copy(dh, dH[T - 1])
    dc[:] = 0
    for t in range(T - 1, -1, -1):
        _step_back(dZ_by_gate[t], dh, dc, by_gate[t], c[t], tanh_c[t])
        if t:
            back_product(dh, dH[t - 1], dZ[t], Wh, WhT)


@kernel
def _step_back(dz: Any, dh: Any, dc: Any, a: Any, c_before: Any, tanh_c: Any) -> None:
    B, H = dh.shape
    for b in range(B):
        for j in range(H):  # h = o tanh(c)
            dc[b, j] += dh[b, j] * a[b, 2, j] * (1 - tanh_c[b, j] * tanh_c[b, j])
        for j in range(H):
            dz[b, 2, j] = dh[b, j] * tanh_c[b, j] * a[b, 2, j] * (1 - a[b, 2, j])
        for j in range(H):  # c = f c_before + i g
            dz[b, 0, j] = dc[b, j] * a[b, 3, j] * a[b, 0, j] * (1 - a[b, 0, j])
        for j in range(H):
            dz[b, 1, j] = dc[b, j] * c_before[b, j] * a[b, 1, j] * (1 - a[b, 1, j])
        for j in range(H):
            dz[b, 3, j] = dc[b, j] * a[b, 0, j] * (1 - a[b, 3, j] * a[b, 3, j])
        for j in range(H):
            dc[b, j] *= a[b, 1, j]
