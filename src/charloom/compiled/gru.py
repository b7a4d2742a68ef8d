"""The gated recurrent unit. Cho et al. 2014, with the reset after the recurrent product.

    r, z = sigmoid(x Wx + b + h Wh)
    n = tanh(x Wxn + bn + r (h Whn))
    h = (1 - z) n + z h

`forward` and `backward` take one layer through all T steps, given Z = x Wx + b.
A loop writes to one array only: more, and LLVM gives up proving that they do not overlap.
"""

from typing import Any, NamedTuple

from charloom.compiled.activations import sigmoid, tanh
from charloom.compiled.products import back_product, copy, product, transpose_for
from charloom.jit import kernel
from charloom.weights import Array


class Gru(NamedTuple):
    """Buffers of this cell."""

    R: Array  # (L, T, B, 3H) h Wh
    dR: Array  # (T, B, 3H)


@kernel
def forward(Z: Any, Wh: Any, gates: Any, h: Any, R: Any, zero: Any) -> None:
    """Z (T, B, 3H), Wh (H, 3H), h[0] -> gates (T, B, 3H) r z n, h[1:], R (T, B, 3H) = h Wh."""
    T, B, _ = Z.shape
    H = h.shape[2]
    by_gate, Z_by_gate = gates.reshape(T, B, 3, H), Z.reshape(T, B, 3, H)
    R_by_gate = R.reshape(T, B, 3, H)
    for t in range(T):
        product(R[t], zero, h[t], Wh)
        _step(by_gate[t], Z_by_gate[t], R_by_gate[t], h[t], h[t + 1])


@kernel
def _step(a: Any, Z: Any, R: Any, h_before: Any, h: Any) -> None:
    B, H = h.shape
    for b in range(B):
        for gate in range(2):
            for j in range(H):
                a[b, gate, j] = sigmoid(Z[b, gate, j] + R[b, gate, j])
        for j in range(H):
            a[b, 2, j] = tanh(Z[b, 2, j] + a[b, 0, j] * R[b, 2, j])
        for j in range(H):
            h[b, j] = a[b, 2, j] + a[b, 1, j] * (h_before[b, j] - a[b, 2, j])


@kernel
def backward(
    dZ: Any, dR: Any, dH: Any, Wh: Any, WhT: Any, gates: Any, R: Any, h: Any, dh: Any
) -> None:
    """dH (T, B, H), the gradient of h[1:] -> dZ and dR (T, B, 3H); dH is changed.

    dh (B, H) and WhT (3H, H) are scratch.
    """
    T, B, _ = dZ.shape
    H = dh.shape[1]
    dZ_by_gate, dR_by_gate = dZ.reshape(T, B, 3, H), dR.reshape(T, B, 3, H)
    by_gate, R_by_gate = gates.reshape(T, B, 3, H), R.reshape(T, B, 3, H)
    transpose_for(WhT, Wh, B)
    copy(dh, dH[T - 1])
    for t in range(T - 1, -1, -1):
        _step_back(dZ_by_gate[t], dR_by_gate[t], dh, by_gate[t], R_by_gate[t], h[t])
        if t:
            _add_carried(dH[t - 1], dh, by_gate[t])
            back_product(dh, dH[t - 1], dR[t], Wh, WhT)


@kernel
def _step_back(dZ: Any, dR: Any, dh: Any, a: Any, R: Any, h_before: Any) -> None:
    B, H = dh.shape
    for b in range(B):
        for j in range(H):  # n
            dZ[b, 2, j] = dh[b, j] * (1 - a[b, 1, j]) * (1 - a[b, 2, j] * a[b, 2, j])
        for j in range(H):  # z
            dZ[b, 1, j] = dh[b, j] * (h_before[b, j] - a[b, 2, j]) * a[b, 1, j] * (1 - a[b, 1, j])
        for j in range(H):  # r
            dZ[b, 0, j] = dZ[b, 2, j] * R[b, 2, j] * a[b, 0, j] * (1 - a[b, 0, j])
        for gate in range(2):
            for j in range(H):
                dR[b, gate, j] = dZ[b, gate, j]
        for j in range(H):
            dR[b, 2, j] = dZ[b, 2, j] * a[b, 0, j]


@kernel
def _add_carried(dH: Any, dh: Any, a: Any) -> None:
    """Add dh z, what reaches h_before past the gates."""
    B, H = dh.shape
    for b in range(B):
        for j in range(H):
            dH[b, j] += dh[b, j] * a[b, 1, j]
