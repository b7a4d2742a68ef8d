"""The vanilla recurrent cell: h = tanh(x Wx + h Wh + b). Elman 1990; min-char-rnn.

`forward` and `backward` take one layer through all T steps. Its `gates` come in as x Wx + b, and
become the sum x Wx + b + h Wh; in `backward` they become the gradient dZ of that sum.
"""

from typing import Any

from charloom.models.compiled.activations import tanh
from charloom.models.compiled.products import back_product, copy, product
from charloom.models.jit import inlined_kernel, inner_kernel


@inlined_kernel
def forward(gates: Any, h: Any, Wh: Any, packed_Wh: Any, turn: int) -> None:
    """gates (T, B, H) and h[0] -> h[1:], of h (T + 1, B, H)."""
    for t in range(gates.shape[0]):
        product(gates[t], gates[t], h[t], Wh, packed_Wh, turn + t)
        _step(gates[t], h[t + 1])


@inner_kernel
def _step(a: Any, h: Any) -> None:
    """h = tanh(a), both (B, H)."""
    B, H = h.shape
    for b in range(B):
        for j in range(H):
            h[b, j] = tanh(a[b, j])


@inlined_kernel
def backward(gates: Any, h: Any, dH: Any, rows: Any, Wh: Any, packed_Wh: Any) -> None:
    """dH (T, B, H), the gradient of h[1:] -> gates = dZ; `rows` (3, B, H) is scratch."""
    dh, T = rows[0], gates.shape[0]
    copy(dh, dH[T - 1])
    for t in range(T - 1, -1, -1):
        _step_back(gates[t], dh, h[t + 1])
        if t:
            back_product(dh, dH[t - 1], gates[t], Wh, packed_Wh, t)


@inner_kernel
def _step_back(dz: Any, dh: Any, h: Any) -> None:
    """dz = dh (1 - h^2), all (B, H): tanh' = 1 - tanh^2."""
    B, H = h.shape
    for b in range(B):
        for j in range(H):
            dz[b, j] = dh[b, j] * (1 - h[b, j] * h[b, j])
