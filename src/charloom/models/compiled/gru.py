"""The gated recurrent unit. Cho et al. 2014, with the reset after the recurrent product.

    r, z = sigmoid(x Wx + b + h Wh)
    n = tanh(x Wxn + bn + r (h Whn))
    h = (1 - z) n + z h

`forward` and `backward` take one layer through all T steps. `gates` comes in as x Wx + b,
becomes r z n, and on the way back the gradient dZ of what came in; R = h Wh becomes dR.
A loop writes to one array only: more, and LLVM gives up proving that they do not overlap.
"""

from typing import Any, NamedTuple

from charloom.models.compiled.activations import sigmoid, tanh
from charloom.models.compiled.products import back_product, copy, product
from charloom.models.jit import kernel
from charloom.models.weights import Array


class Gru(NamedTuple):
    """No buffers of its own; a field, since numba wants one."""

    none: Array  # (0,)


def forward(s: Any, Wh: Any, packed: Any, turn: int, layer: int) -> None:
    """s.gates (T, B, 3H) and h[0] -> s.gates, h[1:] and R (T, B, 3H)."""
    gates, h, R = s.gates[layer], s.h[layer], s.R[layer]
    T, B, H = gates.shape[0], gates.shape[1], h.shape[2]
    by_gate, R_by_gate = gates.reshape(T, B, 3, H), R.reshape(T, B, 3, H)
    for t in range(T):
        product(R[t], s.zero, h[t], Wh, packed, turn + t)
        _step(by_gate[t], R_by_gate[t], h[t], h[t + 1])


@kernel
def _step(a: Any, R: Any, h_before: Any, h: Any) -> None:
    B, H = h.shape
    for b in range(B):
        for gate in range(2):
            for j in range(H):
                a[b, gate, j] = sigmoid(a[b, gate, j] + R[b, gate, j])
        for j in range(H):
            a[b, 2, j] = tanh(a[b, 2, j] + a[b, 0, j] * R[b, 2, j])
        for j in range(H):
            h[b, j] = a[b, 2, j] + a[b, 1, j] * (h_before[b, j] - a[b, 2, j])


def backward(s: Any, d: Any, Wh: Any, layer: int) -> None:
    """d.dH (T, B, H), the gradient of h[1:] -> s.gates = dZ and R = dR; d.dH is changed."""
    gates, h, R = s.gates[layer], s.h[layer], s.R[layer]
    dh, scratch = d.rows[0], d.rows[1]
    T, B, H = d.dH.shape
    by_gate, R_by_gate = gates.reshape(T, B, 3, H), R.reshape(T, B, 3, H)
    copy(dh, d.dH[T - 1])
    for t in range(T - 1, -1, -1):
        if t:
            _add_carried(d.dH[t - 1], dh, by_gate[t])
        _step_back(by_gate[t], R_by_gate[t], dh, h[t], scratch)
        if t:
            back_product(dh, d.dH[t - 1], R[t], Wh, d.packed_Wh, t)


@kernel
def _add_carried(dH: Any, dh: Any, a: Any) -> None:
    """Add dh z, what reaches h_before past the gates."""
    B, H = dh.shape
    for b in range(B):
        for j in range(H):
            dH[b, j] += dh[b, j] * a[b, 1, j]


@kernel
def _step_back(a: Any, R: Any, dh: Any, h_before: Any, scratch: Any) -> None:
    """The gates become the gradients of what went into them: sigmoid' = sigmoid (1 - sigmoid)."""
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
