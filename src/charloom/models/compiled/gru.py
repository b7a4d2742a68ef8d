"""The gated recurrent unit. Cho et al. 2014, with the reset after the recurrent product.

    r, z = sigmoid(x Wx + b + h Wh)
    n = tanh(x Wxn + bn + r (h Whn))
    h = (1 - z) n + z h

`forward` and `backward` take one layer through all T steps. Its `gates` come in as x Wx + b,
become r, z, n, and in `backward` the gradient dZ of what came in; R = h Wh becomes dR.
A loop writes to one array only: more, and LLVM gives up proving that they do not overlap.
"""

from typing import Any

from charloom.models.compiled.activations import sigmoid, tanh
from charloom.models.compiled.products import back_product, copy, product
from charloom.models.jit import inlined_kernel, kernel


@inlined_kernel
def forward(gates: Any, h: Any, R: Any, zeros: Any, Wh: Any, packed_Wh: Any, turn: int) -> None:
    """gates (T, B, 3H) and h[0] -> gates, h[1:] and R (T, B, 3H)."""
    T, B, H = gates.shape[0], gates.shape[1], h.shape[2]
    r_z_n, R_by_gate = gates.reshape(T, B, 3, H), R.reshape(T, B, 3, H)
    for t in range(T):
        product(R[t], zeros, h[t], Wh, packed_Wh, turn + t)
        _step(r_z_n[t], R_by_gate[t], h[t], h[t + 1])


@kernel
def _step(a: Any, R: Any, h_before: Any, h: Any) -> None:
    """One time step: a (B, 3, H) becomes r, z, n, and h (B, H) is filled; R is (B, 3, H)."""
    B, H = h.shape
    for b in range(B):
        for gate in range(2):
            for j in range(H):
                a[b, gate, j] = sigmoid(a[b, gate, j] + R[b, gate, j])
        for j in range(H):
            a[b, 2, j] = tanh(a[b, 2, j] + a[b, 0, j] * R[b, 2, j])
        for j in range(H):
            h[b, j] = a[b, 2, j] + a[b, 1, j] * (h_before[b, j] - a[b, 2, j])


@inlined_kernel
def backward(gates: Any, h: Any, R: Any, dH: Any, rows: Any, Wh: Any, packed_Wh: Any) -> None:
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
        _step_back(r_z_n[t], R_by_gate[t], dh, h[t], row)
        if t:
            back_product(dh, dH[t - 1], R[t], Wh, packed_Wh, t)


@kernel
def _add_carried(dH: Any, dh: Any, a: Any) -> None:
    """dH += dh z: the part of the gradient of h_before that passes through no matrix."""
    B, H = dh.shape
    for b in range(B):
        for j in range(H):
            dH[b, j] += dh[b, j] * a[b, 1, j]


@kernel
def _step_back(a: Any, R: Any, dh: Any, h_before: Any, scratch: Any) -> None:
    """r, z, n in a (B, 3, H) become dZ, and R becomes dR: sigmoid' = sigmoid (1 - sigmoid)."""
    B, H = dh.shape
    for b in range(B):
        u = scratch[b]
        for j in range(H):  # n
            u[j] = dh[b, j] * (1 - a[b, 1, j]) * (1 - a[b, 2, j] * a[b, 2, j])
        for j in range(H):  # z
            a[b, 1, j] = dh[b, j] * (h_before[b, j] - a[b, 2, j]) * a[b, 1, j] * (1 - a[b, 1, j])
        for j in range(H):
            a[b, 2, j] = u[j]
        for j in range(H):  # r, and what it let through of R
            u[j] *= a[b, 0, j]
        for j in range(H):
            a[b, 0, j] = u[j] * R[b, 2, j] * (1 - a[b, 0, j])
        for j in range(H):
            R[b, 2, j] = u[j]
        for gate in range(2):
            for j in range(H):
                R[b, gate, j] = a[b, gate, j]
