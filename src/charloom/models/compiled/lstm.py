"""The long short-term memory cell. Hochreiter & Schmidhuber 1997, with Gers et al.'s forget gate.

    i, f, o = sigmoid(...)   g = tanh(...)   of x Wx + h Wh + b
    c = f c + i g
    h = o tanh(c)

`forward` and `backward` take one layer through all T steps. Its `gates` come in as x Wx + b,
become i, f, o, g, and in `backward` the gradient dZ of what came in: one array serves for all
three. A loop writes to one array only: more, and LLVM gives up proving that they do
not overlap.
"""

from typing import Any

from charloom.models.compiled.activations import sigmoid, tanh
from charloom.models.compiled.gates import derivative, derivative_by_itself, hard_sigmoid
from charloom.models.compiled.products import back_product, copy, product
from charloom.models.jit import inlined_kernel, inner_kernel


@inlined_kernel
def forward(
    gates: Any, h: Any, c: Any, tanh_c: Any, slope: Any, Wh: Any, packed_Wh: Any, turn: int
) -> None:
    """gates (T, B, 4H), h[0] and c[0] -> gates, h[1:] and c[1:], tanh_c (T, B, H).

    h and c are (T + 1, B, H), Wh (H, 4H). In place; `turn` as in network.py,
    `slope` as in gates.py.
    """
    T, B, H = tanh_c.shape
    i_f_o_g = gates.reshape(T, B, 4, H)
    for t in range(T):
        product(gates[t], gates[t], h[t], Wh, packed_Wh, turn + t)
        _step(i_f_o_g[t], c[t], c[t + 1], tanh_c[t], h[t + 1], slope)


@inner_kernel
def _step(a: Any, c_before: Any, c: Any, tanh_c: Any, h: Any, slope: Any) -> None:
    """One time step: a (B, 4, H) becomes i, f, o, g; c, tanh_c and h (B, H) are filled."""
    B, H = h.shape
    for b in range(B):
        for gate in range(3):
            if slope:
                hard_sigmoid(a[b, gate], slope)
                continue
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


@inlined_kernel
def backward(
    gates: Any, c: Any, tanh_c: Any, dH: Any, rows: Any, slope: Any, Wh: Any, packed_Wh: Any
) -> None:
    """dH (T, B, H), the gradient of h[1:] -> gates = dZ; `rows` (3, B, H) is scratch."""
    dh, dc, row = rows[0], rows[1], rows[2]
    T, B, H = tanh_c.shape
    i_f_o_g = gates.reshape(T, B, 4, H)
    copy(dh, dH[T - 1])
    dc[:] = 0
    for t in range(T - 1, -1, -1):
        _step_back(i_f_o_g[t], dh, dc, c[t], tanh_c[t], row, slope)
        if t:
            back_product(dh, dH[t - 1], gates[t], Wh, packed_Wh, t)


@inner_kernel
def _step_back(
    a: Any, dh: Any, dc: Any, c_before: Any, tanh_c: Any, scratch: Any, slope: Any
) -> None:
    """i, f, o, g in a (B, 4, H) become dZ; dc (B, H) becomes that of c_before.

    tanh' = 1 - tanh^2; what gates have is in gates.py.
    """
    B, H = dh.shape
    for b in range(B):
        u = scratch[b]
        for j in range(H):  # h = o tanh(c)
            dc[b, j] += dh[b, j] * a[b, 2, j] * (1 - tanh_c[b, j] * tanh_c[b, j])
        for j in range(H):
            a[b, 2, j] = dh[b, j] * tanh_c[b, j] * derivative(a[b, 2, j], slope)
        for j in range(H):  # c = f c_before + i g
            u[j] = dc[b, j] * a[b, 0, j] * (1 - a[b, 3, j] * a[b, 3, j])
        for j in range(H):
            a[b, 0, j] = dc[b, j] * a[b, 3, j] * derivative(a[b, 0, j], slope)
        for j in range(H):
            a[b, 3, j] = u[j]
        for j in range(H):
            dc[b, j] *= a[b, 1, j]
        for j in range(H):
            a[b, 1, j] = dc[b, j] * c_before[b, j] * derivative_by_itself(a[b, 1, j], slope)
