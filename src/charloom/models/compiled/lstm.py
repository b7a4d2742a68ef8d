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
from charloom.models.compiled.products import (
    BACK_PRODUCT,
    PRODUCT,
    Panels,
    copy,
    room_of,
    rows_of,
)
from charloom.models.compiled.program import Program
from charloom.models.compiled.units import Unit, bytes_of, integers_at
from charloom.models.jit import array_at, inner_kernel
from charloom.models.weights import Array

_product, _back_product = PRODUCT.call, BACK_PRODUCT.call


def forward(
    program: Program,
    gates: Array,
    h: Array,
    c: Array,
    tanh_c: Array,
    slope: Array,
    Wh: Array,
    packed: Panels,
) -> None:
    """gates (T, B, 4H), h[0] and c[0] -> gates, h[1:] and c[1:], tanh_c (T, B, H).

    h and c are (T + 1, B, H), Wh (H, 4H). In place; `slope` (1,) as in gates.py.
    """
    size = (*tanh_c.shape, *rows_of(Wh), *room_of(packed))
    program.add(FORWARD, gates, h, c, tanh_c, slope, *size)


def _forward_unit(zero: Any, place: int, turn: int) -> None:
    """Do what `forward` does."""
    gates, h, c, tanh_c, slope, T, B, H, Wh, Wh_row, packed, rows, kind = integers_at(place, 13)
    i_f_o_g, tanh_cs = array_at(zero, gates, (T, B, 4, H)), array_at(zero, tanh_c, (T, B, H))
    hs, cs = array_at(zero, h, (T + 1, B, H)), array_at(zero, c, (T + 1, B, H))
    row, slope_of_gates = H * bytes_of(zero), array_at(zero, slope, (1,))[0]
    for t in range(T):
        Z, x = gates + t * B * 4 * row, h + t * B * row
        size = (B, H, 4 * H, Wh, Wh_row, packed, rows, kind)
        _product(zero, (Z, 4 * row, Z, 4 * row, x, row, *size), turn + t)
        _step(i_f_o_g[t], cs[t], cs[t + 1], tanh_cs[t], hs[t + 1], slope_of_gates)


FORWARD = Unit(_forward_unit, PRODUCT)


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


def backward(
    program: Program,
    gates: Array,
    c: Array,
    tanh_c: Array,
    dH: Array,
    rows: Array,
    slope: Array,
    Wh: Array,
    packed: Panels,
) -> None:
    """dH (T, B, H), the gradient of h[1:] -> gates = dZ; `rows` (3, B, H) is scratch."""
    size = (*tanh_c.shape, *rows_of(Wh), *room_of(packed))
    program.add(BACKWARD, gates, c, tanh_c, dH, rows, slope, *size)


def _backward_unit(zero: Any, place: int, turn: int) -> None:
    """Do what `backward` does."""
    gates, c, tanh_c, dH, dh, slope, T, B, H, Wh, Wh_row, packed, rows, kind = integers_at(
        place, 14
    )
    i_f_o_g, tanh_cs = array_at(zero, gates, (T, B, 4, H)), array_at(zero, tanh_c, (T, B, H))
    cs, dHs = array_at(zero, c, (T + 1, B, H)), array_at(zero, dH, (T, B, H))
    scratch = array_at(zero, dh, (3, B, H))
    dh_t, dc, u = scratch[0], scratch[1], scratch[2]
    row, slope_of_gates = H * bytes_of(zero), array_at(zero, slope, (1,))[0]
    copy(dh_t, dHs[T - 1])
    for b in range(B):
        for j in range(H):
            dc[b, j] = 0
    for t in range(T - 1, -1, -1):
        _step_back(i_f_o_g[t], dh_t, dc, cs[t], tanh_cs[t], u, slope_of_gates)
        if t:
            start, Z = dH + (t - 1) * B * row, gates + t * B * 4 * row
            size = (B, 4 * H, H, Wh, Wh_row, packed, rows, kind)
            _back_product(zero, (dh, row, start, row, Z, 4 * row, *size), t)


BACKWARD = Unit(_backward_unit, BACK_PRODUCT)


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
