"""The vanilla recurrent cell: h = tanh(x Wx + h Wh + b). Elman 1990; min-char-rnn.

`forward` and `backward` take one layer through all T steps. Its `gates` come in as x Wx + b, and
become the sum x Wx + b + h Wh; in `backward` they become the gradient dZ of that sum.
"""

from typing import Any

from charloom.models.compiled.activations import tanh
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


def forward(program: Program, gates: Array, h: Array, Wh: Array, packed: Panels) -> None:
    """gates (T, B, H) and h[0] -> h[1:], of h (T + 1, B, H)."""
    program.add(FORWARD, gates, h, *gates.shape, *rows_of(Wh), *room_of(packed))


def _forward_unit(zero: Any, place: int, turn: int) -> None:
    """Do what `forward` does."""
    gates, h, T, B, H, Wh, Wh_row, packed, rows, kind = integers_at(place, 10)
    a, hs, row = (
        array_at(zero, gates, (T, B, H)),
        array_at(zero, h, (T + 1, B, H)),
        H * bytes_of(zero),
    )
    for t in range(T):
        Z, x = gates + t * B * row, h + t * B * row
        size = (B, H, H, Wh, Wh_row, packed, rows, kind)
        _product(zero, (Z, row, Z, row, x, row, *size), turn + t)
        _step(a[t], hs[t + 1])


FORWARD = Unit(_forward_unit, PRODUCT)


@inner_kernel
def _step(a: Any, h: Any) -> None:
    """h = tanh(a), both (B, H)."""
    B, H = h.shape
    for b in range(B):
        for j in range(H):
            h[b, j] = tanh(a[b, j])


def backward(
    program: Program, gates: Array, h: Array, dH: Array, rows: Array, Wh: Array, packed: Panels
) -> None:
    """dH (T, B, H), the gradient of h[1:] -> gates = dZ; `rows` (3, B, H) is scratch."""
    program.add(BACKWARD, gates, h, dH, rows, *dH.shape, *rows_of(Wh), *room_of(packed))


def _backward_unit(zero: Any, place: int, turn: int) -> None:
    """Do what `backward` does."""
    gates, h, dH, dh, T, B, H, Wh, Wh_row, packed, rows, kind = integers_at(place, 12)
    a, hs, row = (
        array_at(zero, gates, (T, B, H)),
        array_at(zero, h, (T + 1, B, H)),
        H * bytes_of(zero),
    )
    dHs, dh_t = array_at(zero, dH, (T, B, H)), array_at(zero, dh, (B, H))
    copy(dh_t, dHs[T - 1])
    for t in range(T - 1, -1, -1):
        _step_back(a[t], dh_t, hs[t + 1])
        if t:
            start, Z = dH + (t - 1) * B * row, gates + t * B * row
            size = (B, H, H, Wh, Wh_row, packed, rows, kind)
            _back_product(zero, (dh, row, start, row, Z, row, *size), t)


BACKWARD = Unit(_backward_unit, BACK_PRODUCT)


@inner_kernel
def _step_back(dz: Any, dh: Any, h: Any) -> None:
    """dz = dh (1 - h^2), all (B, H): tanh' = 1 - tanh^2."""
    B, H = h.shape
    for b in range(B):
        for j in range(H):
            dz[b, j] = dh[b, j] * (1 - h[b, j] * h[b, j])
