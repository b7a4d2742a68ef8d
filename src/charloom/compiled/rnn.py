"""The vanilla recurrent cell: h = tanh(x Wx + h Wh + b). Elman 1990; min-char-rnn.

`forward` and `backward` take one layer through all T steps, given Z = x Wx + b.
"""

from typing import Any, NamedTuple

from charloom.compiled.activations import tanh
from charloom.compiled.products import back_product, copy, product, transpose_for
from charloom.jit import kernel
from charloom.weights import Array


class Rnn(NamedTuple):
    """No buffers of its own; a field, since numba wants one."""

    none: Array  # (0,)


@kernel
def forward(Z: Any, Wh: Any, gates: Any, h: Any) -> None:
    """Z (T, B, H), Wh (H, H), h[0] -> h[1:] of h (T + 1, B, H); gates (T, B, H) is scratch."""
    T, B, H = Z.shape
    for t in range(T):
        a, h_t = gates[t], h[t + 1]
        product(a, Z[t], h[t], Wh)
        for b in range(B):
            for j in range(H):
                h_t[b, j] = tanh(a[b, j])


@kernel
def backward(dZ: Any, dH: Any, Wh: Any, WhT: Any, h: Any, dh: Any) -> None:
    """dH (T, B, H), the gradient of h[1:] -> dZ (T, B, H). dh (B, H), WhT (H, H) are scratch."""
    T, B, H = dZ.shape
    transpose_for(WhT, Wh, B)
    copy(dh, dH[T - 1])
    for t in range(T - 1, -1, -1):
        dz, h_t = dZ[t], h[t + 1]
        for b in range(B):
            for j in range(H):
                dz[b, j] = dh[b, j] * (1 - h_t[b, j] * h_t[b, j])
        if t:
            back_product(dh, dH[t - 1], dz, Wh, WhT)
