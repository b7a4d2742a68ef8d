"""Matrix products in registers.

numba has no matrix product of its own, and neither its loops nor BLAS suit a recurrent
step: the loops are not vectorised (LLVM cannot rule out that the arrays overlap), and BLAS
packs the weights anew at every time step. Here the innermost loop (tiles.py) is written in
LLVM's own vector instructions, with R x C sums held in registers from the first k to the last:

    out[i:i+R, j:j+C] = base[i:i+R, j:j+C] + sum over k of a[i:i+R, k] w[k, j:j+C]

and a product is a walk over such tiles. For four rows and more, weights are packed before,
once an update, into panels of C columns: panel after panel, in each row after row, zeros
beyond the last column. So a tile reads memory in order, aligned, and no two rows meet on the
same lines of the cache. See Goto & van de Geijn 2008, "Anatomy of High-Performance Matrix
Multiplication".
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from charloom.models.compiled.layouts import copy_columns, transpose_rows
from charloom.models.compiled.tiles import WIDTHS, dots, tile_last, tile_many, tile_row, tile_some
from charloom.models.compiled.vectors import ROWS, VECTOR_BYTES
from charloom.models.jit import kernel
from charloom.models.weights import Array

FEW = 4  # rows below which packing does not pay
BLOCK = 256  # rows of a gradient's product at a time: what of them is packed stays in the cache


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Make an array of zeros that begins where a vector register does.

    What is read beyond its end, up to the widest tile, is memory of its own.
    """
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.zeros(size + (WIDTHS[-1] + 1) * VECTOR_BYTES, np.uint8)
    begin = -memory.ctypes.data % VECTOR_BYTES
    return memory[begin : begin + size].view(dtype).reshape(shape)


def packed_size(K: int, N: int, dtype: DTypeLike) -> int:
    """Return how many numbers a matrix (K, N) takes at most when packed, either way."""
    width = VECTOR_BYTES // np.dtype(dtype).itemsize
    return K * (N + 2 * width)


@kernel
def _panel(left: int, width: int) -> int:
    """Return how many registers of `width` numbers the next panel is wide; `left` columns are."""
    return 2 if left > width else 1


@kernel
def pack(packed: Any, w: Any) -> None:
    """Lay out w (K, N) for `product` in packed (P,), a flat buffer; nothing if that is empty."""
    if packed.size:
        K, N = w.shape
        width = VECTOR_BYTES // packed.itemsize
        for j in range(0, N, 2 * width):
            copy_columns(w, packed, 0, j, j * K, _panel(N - j, width) * width)


@kernel
def pack_back(packed: Any, w: Any) -> None:
    """Lay out the transpose of w (N, K) for `back_product` in packed (P,), as `pack`."""
    if packed.size:
        N, K = w.shape
        width = VECTOR_BYTES // packed.itemsize
        for j in range(0, N, 2 * width):
            C = _panel(N - j, width) * width
            for column in range(0, C, width):
                transpose_rows(w, packed, j + column, 0, j * K + column, C)


@kernel
def product(out: Any, base: Any, a: Any, w: Any, packed: Any, turn: int) -> None:
    """out (M, N) = base (M, N) or (1, >= N) + a (M, K) @ w (K, N), given w by `pack`, too.

    `out` may be `base`, but shares memory with nothing else. `out`, `base` and `w` have
    contiguous rows. If `packed` is empty, w is read row by row, and where `turn` is odd from
    its end to its beginning: where weights outgrow the first-level cache, what a step read last
    the next still finds.
    """
    if packed.size:
        _many(out, base, a, packed)
    else:
        _few(out, base, a, w, turn)


@kernel
def back_product(out: Any, base: Any, a: Any, w: Any, packed: Any, turn: int) -> None:
    """out (M, N) = base + a (M, K) @ w (N, K).T, given w by `pack_back`, too; as `product`.

    If `packed` is empty, each number is a dot product of contiguous rows, and `out` is not
    `base`.
    """
    if packed.size:
        _many(out, base, a, packed)
    else:
        _few_back(out, base, a, w, turn)


@kernel
def _many(out: Any, base: Any, a: Any, packed: Any) -> None:
    N, K = out.shape[1], a.shape[1]
    width = VECTOR_BYTES // out.itemsize
    for j in range(0, N, 2 * width):
        _rows(out, base, a, packed, j, j * K, _panel(N - j, width))


@kernel
def _rows(out: Any, base: Any, a: Any, packed: Any, j: int, panel: int, vectors: int) -> None:
    """Every row of the columns that one panel, beginning at packed[panel], gives."""
    M = out.shape[0]
    i = 0
    while M - i >= ROWS:
        tile_many(out, base, a, packed, i, j, panel, vectors)
        i += ROWS
    while M - i >= ROWS // 2:
        tile_some(out, base, a, packed, i, j, panel, vectors)
        i += ROWS // 2
    while i < M:
        tile_last(out, base, a, packed, i, j, panel, vectors)
        i += 1


@kernel
def _few(out: Any, base: Any, a: Any, w: Any, turn: int) -> None:
    M, N = out.shape
    width = VECTOR_BYTES // out.itemsize
    n = (N + width - 1) // width
    tiles = (n + WIDTHS[-1] - 1) // WIDTHS[-1]
    vectors = WIDTHS[-1]
    for size in WIDTHS[::-1]:
        if size * tiles >= n:
            vectors = size
    back = turn % 2
    for tile in range(tiles):
        j = (tiles - 1 - tile if back else tile) * vectors * width
        for i in range(M):
            if j < N:
                tile_row(out, base, a, w, i, j, back, vectors)


@kernel
def _few_back(out: Any, base: Any, a: Any, w: Any, turn: int) -> None:
    M, N = out.shape
    width = VECTOR_BYTES // out.itemsize
    if N < width:
        for i in range(M):
            for j in range(N):
                total = base[i if base.shape[0] > 1 else 0, j]
                for k in range(a.shape[1]):
                    total += a[i, k] * w[j, k]
                out[i, j] = total
        return
    tiles = (N + width - 1) // width
    for tile in range(tiles):
        j = (tiles - 1 - tile if turn % 2 else tile) * width
        for i in range(M):  # the last ends at N: what it covers twice comes out the same
            dots(out, base, a, w, i, min(j, N - width), 0, 1)


@kernel
def gradient_product(out: Any, zero: Any, a: Any, b: Any, packed: Any) -> None:
    """out (M, N) = a (K, M).T @ b (K, N): the gradient of weights that a met on the way to b.

    `zero` is (1, >= N) zeros; packed holds BLOCK rows of one panel. The rows K are taken in
    blocks, so that those of `a` stay in the second-level cache.
    """
    K, N = b.shape
    width = VECTOR_BYTES // out.itemsize
    for begin in range(0, K, BLOCK):
        end = min(begin + BLOCK, K)
        across = a[begin:end].T
        for j in range(0, N, 2 * width):
            vectors = _panel(N - j, width)
            copy_columns(b[begin:end], packed, 0, j, 0, vectors * width)
            if begin == 0:
                _rows(out, zero, across, packed, j, 0, vectors)
            else:
                _rows(out, out, across, packed, j, 0, vectors)


@kernel
def copy(out: Any, x: Any) -> None:
    """out (M, N) = x (M, N)."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = x[i, j]
