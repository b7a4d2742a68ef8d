"""The gated recurrent unit. Cho et al. 2014, with the reset after the recurrent product.

    r, z = sigmoid(x Wx + b + h Wh)
    n = tanh(x Wxn + bn + r (h Whn))
    h = (1 - z) n + z h

With a bias within the reset, n = tanh(x Wxn + bn + r (h Whn + bhn)), R begins from it. The
functions of_state are those of n = tanh(x Wxn + bn + (r h) Whn): there a second product is needed,
and each of the two gives columns that nobody reads, so that Wh is packed once.

`forward` and `backward` take one layer through all T steps. Its `gates` come in as x Wx + b,
become r, z, n, and in `backward` the gradient dZ of what came in; R = h Wh becomes dR.
A loop writes to one array only: more, and LLVM gives up proving that they do not overlap.
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
from charloom.models.jit import array_at, inlined_kernel, inner_kernel
from charloom.models.weights import Array

_product, _back_product = PRODUCT.call, BACK_PRODUCT.call


def forward(
    program: Program,
    gates: Array,
    h: Array,
    R: Array,
    base: Array,
    slope: Array,
    Wh: Array,
    packed: Panels,
) -> None:
    """gates (T, B, 3H) and h[0] -> gates, h[1:] and R (T, B, 3H), from `base` (1, >= 3H) on.

    `slope` (1,) as in gates.py.
    """
    T, B, H = gates.shape[0], gates.shape[1], h.shape[2]
    program.add(FORWARD, gates, h, R, base, slope, T, B, H, *rows_of(Wh), *room_of(packed))


def _forward_unit(zero: Any, place: int, turn: int) -> None:
    """Do what `forward` does."""
    gates, h, R, base, slope, T, B, H, Wh, Wh_row, packed, rows, kind = integers_at(place, 13)
    r_z_n, R_by_gate = array_at(zero, gates, (T, B, 3, H)), array_at(zero, R, (T, B, 3, H))
    hs, slope_of_gates = array_at(zero, h, (T + 1, B, H)), array_at(zero, slope, (1,))[0]
    row, size = H * bytes_of(zero), (B, H, 3 * H, Wh, Wh_row, packed, rows, kind)
    for t in range(T):
        to, x = R + t * B * 3 * row, h + t * B * row
        _product(zero, (to, 3 * row, base, 0, x, row, *size), turn + t)
        _step(r_z_n[t], R_by_gate[t], hs[t], hs[t + 1], slope_of_gates)


FORWARD = Unit(_forward_unit, PRODUCT)


@inner_kernel
def _step(a: Any, R: Any, h_before: Any, h: Any, slope: Any) -> None:
    """One time step: a (B, 3, H) becomes r, z, n, and h (B, H) is filled; R is (B, 3, H)."""
    B, H = h.shape
    for b in range(B):
        _open(a, R, slope, b)
        for j in range(H):
            a[b, 2, j] = tanh(a[b, 2, j] + a[b, 0, j] * R[b, 2, j])
        for j in range(H):
            h[b, j] = a[b, 2, j] + a[b, 1, j] * (h_before[b, j] - a[b, 2, j])


@inlined_kernel
def _open(a: Any, R: Any, slope: Any, b: int) -> None:
    """The first two of a[b] (3, H) become r and z; R[b] (3, H) is h Wh."""
    H = a.shape[2]
    for gate in range(2):
        if slope:
            for j in range(H):
                a[b, gate, j] += R[b, gate, j]
            hard_sigmoid(a[b, gate], slope)
        else:
            for j in range(H):
                a[b, gate, j] = sigmoid(a[b, gate, j] + R[b, gate, j])


def backward(
    program: Program,
    gates: Array,
    h: Array,
    R: Array,
    dH: Array,
    rows: Array,
    slope: Array,
    Wh: Array,
    packed: Panels,
) -> None:
    """dH (T, B, H), the gradient of h[1:] -> gates = dZ and R = dR; overwrites dH.

    `rows` (3, B, H) is scratch.
    """
    size = (*dH.shape, *rows_of(Wh), *room_of(packed))
    program.add(BACKWARD, gates, h, R, dH, rows, slope, *size)


def _backward_unit(zero: Any, place: int, turn: int) -> None:
    """Do what `backward` does."""
    gates, h, R, dH, dh, slope, T, B, H, Wh, Wh_row, packed, rows, kind = integers_at(place, 14)
    r_z_n, R_by_gate = array_at(zero, gates, (T, B, 3, H)), array_at(zero, R, (T, B, 3, H))
    hs, dHs = array_at(zero, h, (T + 1, B, H)), array_at(zero, dH, (T, B, H))
    scratch, slope_of_gates = array_at(zero, dh, (3, B, H)), array_at(zero, slope, (1,))[0]
    dh_t, u = scratch[0], scratch[1]
    row, size = H * bytes_of(zero), (B, 3 * H, H, Wh, Wh_row, packed, rows, kind)
    copy(dh_t, dHs[T - 1])
    for t in range(T - 1, -1, -1):
        if t:
            _add_carried(dHs[t - 1], dh_t, r_z_n[t])
        _step_back(r_z_n[t], R_by_gate[t], dh_t, hs[t], u, slope_of_gates)
        if t:
            start, dR = dH + (t - 1) * B * row, R + t * B * 3 * row
            _back_product(zero, (dh, row, start, row, dR, 3 * row, *size), t)


BACKWARD = Unit(_backward_unit, BACK_PRODUCT)


@inner_kernel
def _add_carried(dH: Any, dh: Any, a: Any) -> None:
    """dH += dh z: the part of the gradient of h_before that passes through no matrix."""
    B, H = dh.shape
    for b in range(B):
        for j in range(H):
            dH[b, j] += dh[b, j] * a[b, 1, j]


@inner_kernel
def _step_back(a: Any, R: Any, dh: Any, h_before: Any, scratch: Any, slope: Any) -> None:
    """r, z, n in a (B, 3, H) become dZ, and R becomes dR."""
    B, H = dh.shape
    for b in range(B):
        u = scratch[b]
        for j in range(H):  # n
            u[j] = dh[b, j] * (1 - a[b, 1, j]) * (1 - a[b, 2, j] * a[b, 2, j])
        for j in range(H):  # z
            dz = dh[b, j] * (h_before[b, j] - a[b, 2, j])
            a[b, 1, j] = dz * derivative(a[b, 1, j], slope)
        for j in range(H):
            a[b, 2, j] = u[j]
        for j in range(H):  # r, and what it let through of R
            u[j] *= a[b, 0, j]
        for j in range(H):
            a[b, 0, j] = u[j] * R[b, 2, j] * derivative_by_itself(a[b, 0, j], slope)
        for j in range(H):
            R[b, 2, j] = u[j]
        for gate in range(2):
            for j in range(H):
                R[b, gate, j] = a[b, gate, j]


def forward_of_state(
    program: Program,
    gates: Array,
    h: Array,
    s: Array,
    R: Array,
    zeros: Array,
    slope: Array,
    Wh: Array,
    packed: Panels,
) -> None:
    """gates (T, B, 3H) and h[0] -> gates, h[1:] and s = r h_before (T, B, H); overwrites R."""
    size = (*s.shape, *rows_of(Wh), *room_of(packed))
    program.add(FORWARD_OF_STATE, gates, h, s, R, zeros, slope, *size)


def _forward_of_state_unit(zero: Any, place: int, turn: int) -> None:
    """Do what `forward_of_state` does."""
    gates, h, s, R, zeros, slope, T, B, H, Wh, Wh_row, packed, rows, kind = integers_at(place, 14)
    r_z_n, R_by_gate = array_at(zero, gates, (T, B, 3, H)), array_at(zero, R, (T, B, 3, H))
    hs, ss = array_at(zero, h, (T + 1, B, H)), array_at(zero, s, (T, B, H))
    row, slope_of_gates = H * bytes_of(zero), array_at(zero, slope, (1,))[0]
    size = (B, H, 3 * H, Wh, Wh_row, packed, rows, kind)
    for t in range(T):
        to, at = R + t * B * 3 * row, t * B * row
        _product(zero, (to, 3 * row, zeros, 0, h + at, row, *size), turn + t)
        _step_to_state(r_z_n[t], R_by_gate[t], hs[t], ss[t], slope_of_gates)
        _product(zero, (to, 3 * row, zeros, 0, s + at, row, *size), turn + t + 1)
        _step_from_state(r_z_n[t], R_by_gate[t], hs[t], hs[t + 1])


FORWARD_OF_STATE = Unit(_forward_of_state_unit, PRODUCT)


@inner_kernel
def _step_to_state(a: Any, R: Any, h_before: Any, s: Any, slope: Any) -> None:
    """The first two of a (B, 3, H) become r and z, and s (B, H) is filled; R is h Wh."""
    B, H = s.shape
    for b in range(B):
        _open(a, R, slope, b)
        for j in range(H):
            s[b, j] = a[b, 0, j] * h_before[b, j]


@inner_kernel
def _step_from_state(a: Any, R: Any, h_before: Any, h: Any) -> None:
    """The last of a (B, 3, H) becomes n, and h (B, H) is filled; R is s Wh."""
    B, H = h.shape
    for b in range(B):
        for j in range(H):
            a[b, 2, j] = tanh(a[b, 2, j] + R[b, 2, j])
        for j in range(H):
            h[b, j] = a[b, 2, j] + a[b, 1, j] * (h_before[b, j] - a[b, 2, j])


def backward_of_state(
    program: Program,
    gates: Array,
    h: Array,
    R: Array,
    dH: Array,
    rows: Array,
    zeros: Array,
    slope: Array,
    Wh: Array,
    packed: Panels,
) -> None:
    """dH (T, B, H), the gradient of h[1:] -> gates = dZ, and R = dZ with 0 for n; overwrites dH.

    `rows` (3, B, H) is scratch.
    """
    size = (*dH.shape, *rows_of(Wh), *room_of(packed))
    program.add(BACKWARD_OF_STATE, gates, h, R, dH, rows, zeros, slope, *size)


def _backward_of_state_unit(zero: Any, place: int, turn: int) -> None:
    """Do what `backward_of_state` does."""
    gates, h, R, dH, dh, zeros, slope, T, B, H, Wh, Wh_row, packed, rows, kind = integers_at(
        place, 15
    )
    r_z_n, R_by_gate = array_at(zero, gates, (T, B, 3, H)), array_at(zero, R, (T, B, 3, H))
    hs, dHs = array_at(zero, h, (T + 1, B, H)), array_at(zero, dH, (T, B, H))
    scratch, slope_of_gates = array_at(zero, dh, (3, B, H)), array_at(zero, slope, (1,))[0]
    dh_t, ds_t, u = scratch[0], scratch[1], scratch[2]
    row, size = H * bytes_of(zero), (B, 3 * H, H, Wh, Wh_row, packed, rows, kind)
    copy(dh_t, dHs[T - 1])
    for t in range(T - 1, -1, -1):
        dR, ds = R + t * B * 3 * row, dh + B * row
        _candidate_back(r_z_n[t], R_by_gate[t], dh_t)
        _back_product(zero, (ds, row, zeros, 0, dR, 3 * row, *size), t)
        if t:
            _add_carried_of_state(dHs[t - 1], dh_t, ds_t, r_z_n[t])
        _step_back_of_state(r_z_n[t], R_by_gate[t], dh_t, ds_t, hs[t], u, slope_of_gates)
        if t:
            start = dH + (t - 1) * B * row
            _back_product(zero, (dh, row, start, row, dR, 3 * row, *size), t + 1)


BACKWARD_OF_STATE = Unit(_backward_of_state_unit, BACK_PRODUCT)


@inner_kernel
def _candidate_back(a: Any, R: Any, dh: Any) -> None:
    """R (B, 3, H) becomes 0, 0 and the gradient of what came in for n."""
    B, H = dh.shape
    for b in range(B):
        for gate in range(2):
            for j in range(H):
                R[b, gate, j] = 0
        for j in range(H):
            R[b, 2, j] = dh[b, j] * (1 - a[b, 1, j]) * (1 - a[b, 2, j] * a[b, 2, j])


@inner_kernel
def _add_carried_of_state(dH: Any, dh: Any, ds: Any, a: Any) -> None:
    """dH += dh z + ds r: what of the gradient of h_before passes through no matrix any more."""
    B, H = dh.shape
    for b in range(B):
        for j in range(H):
            dH[b, j] += dh[b, j] * a[b, 1, j] + ds[b, j] * a[b, 0, j]


@inner_kernel
def _step_back_of_state(
    a: Any, R: Any, dh: Any, ds: Any, h_before: Any, scratch: Any, slope: Any
) -> None:
    """r, z, n in a (B, 3, H) become dZ, and R that of r and z, and 0."""
    B, H = dh.shape
    for b in range(B):
        n = scratch[b]
        for j in range(H):
            n[j] = a[b, 2, j]
        for j in range(H):
            a[b, 2, j] = R[b, 2, j]
        for j in range(H):
            a[b, 1, j] = dh[b, j] * (h_before[b, j] - n[j]) * derivative(a[b, 1, j], slope)
        for j in range(H):
            a[b, 0, j] = ds[b, j] * h_before[b, j] * derivative(a[b, 0, j], slope)
        for j in range(H):
            R[b, 2, j] = 0
        for gate in range(2):
            for j in range(H):
                R[b, gate, j] = a[b, gate, j]
