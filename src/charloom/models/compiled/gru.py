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
from charloom.models.compiled.products import back_product, copy, product
from charloom.models.jit import inlined_kernel, inner_kernel


@inlined_kernel
def forward(
    gates: Any, h: Any, R: Any, base: Any, slope: Any, Wh: Any, packed_Wh: Any, turn: int
) -> None:
    """gates (T, B, 3H) and h[0] -> gates, h[1:] and R (T, B, 3H), from `base` (1, >= 3H) on.

    `slope` as in gates.py.
    """
    T, B, H = gates.shape[0], gates.shape[1], h.shape[2]
    r_z_n, R_by_gate = gates.reshape(T, B, 3, H), R.reshape(T, B, 3, H)
    for t in range(T):
        product(R[t], base, h[t], Wh, packed_Wh, turn + t)
        _step(r_z_n[t], R_by_gate[t], h[t], h[t + 1], slope)


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


@inlined_kernel
def backward(
    gates: Any, h: Any, R: Any, dH: Any, rows: Any, slope: Any, Wh: Any, packed_Wh: Any
) -> None:
    """dH (T, B, H), the gradient of h[1:] -> gates = dZ and R = dR; overwrites dH.

    `rows` (3, B, H) is scratch.
    """
    dh, row = rows[0], rows[1]
    T, B, H = dH.shape
    r_z_n, R_by_gate = gates.reshape(T, B, 3, H), R.reshape(T, B, 3, H)
    copy(dh, dH[T - 1])
    for t in range(T - 1, -1, -1):
        if t:
            _add_carried(dH[t - 1], dh, r_z_n[t])
        _step_back(r_z_n[t], R_by_gate[t], dh, h[t], row, slope)
        if t:
            back_product(dh, dH[t - 1], R[t], Wh, packed_Wh, t)


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


@inlined_kernel
def forward_of_state(
    gates: Any, h: Any, s: Any, R: Any, zeros: Any, slope: Any, Wh: Any, packed_Wh: Any, turn: int
) -> None:
    """gates (T, B, 3H) and h[0] -> gates, h[1:] and s = r h_before (T, B, H); overwrites R."""
    T, B, H = gates.shape[0], gates.shape[1], h.shape[2]
    r_z_n, R_by_gate = gates.reshape(T, B, 3, H), R.reshape(T, B, 3, H)
    for t in range(T):
        product(R[t], zeros, h[t], Wh, packed_Wh, turn + t)
        _step_to_state(r_z_n[t], R_by_gate[t], h[t], s[t], slope)
        product(R[t], zeros, s[t], Wh, packed_Wh, turn + t + 1)
        _step_from_state(r_z_n[t], R_by_gate[t], h[t], h[t + 1])


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


@inlined_kernel
def backward_of_state(
    gates: Any,
    h: Any,
    R: Any,
    dH: Any,
    rows: Any,
    zeros: Any,
    slope: Any,
    Wh: Any,
    packed_Wh: Any,
) -> None:
    """dH (T, B, H), the gradient of h[1:] -> gates = dZ, and R = dZ with 0 for n; overwrites dH.

    `rows` (3, B, H) is scratch.
    """
    dh, ds, row = rows[0], rows[1], rows[2]
    T, B, H = dH.shape
    r_z_n, R_by_gate = gates.reshape(T, B, 3, H), R.reshape(T, B, 3, H)
    copy(dh, dH[T - 1])
    for t in range(T - 1, -1, -1):
        _candidate_back(r_z_n[t], R_by_gate[t], dh)
        back_product(ds, zeros, R[t], Wh, packed_Wh, t)
        if t:
            _add_carried_of_state(dH[t - 1], dh, ds, r_z_n[t])
        _step_back_of_state(r_z_n[t], R_by_gate[t], dh, ds, h[t], row, slope)
        if t:
            back_product(dh, dH[t - 1], R[t], Wh, packed_Wh, t + 1)


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
