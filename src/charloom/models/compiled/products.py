"""Matrix products in registers: C = base + A B.

numba has no matrix product of its own, and neither its loops nor BLAS suit a recurrent
step: the loops are not vectorised (LLVM cannot rule out that the arrays overlap), and BLAS
packs the weights anew at every time step. Here a product is a walk over tiles of C, whose sums
stay in vector registers from the first k to the last (tiles.py has the picture):

    C[i : i + rows, j : j + columns] = base[same] + sum over k of A[i : i + rows, k] B[k, same]

*Many rows* (FEW or more: B x T characters at once, or the lanes of one step) read B packed: laid
out once an update in panels, each 2 registers wide, panel after panel, in each row after row,
zeros beyond the last column. So a tile reads memory in order, aligned, and no two rows meet on the
same lines of the cache. See Goto & van de Geijn 2008, "Anatomy of High-Performance Matrix
Multiplication". *Few rows* (one lane, say) do not pay for packing: they read B as it stands. A
product decides at run time: if nothing was packed, `packed` is empty. *In bf16* (bf16.py) both
matrices are rounded into tiles: B once an update, A in each product.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from charloom.models.compiled.bf16 import (
    AMX,
    DEEP,
    FULL,
    LEFT,
    LEFT_OF_TRANSPOSE,
    RIGHT,
    RIGHT_OF_TRANSPOSE,
    SIDE,
    TILE,
    by_amx,
    by_vectors,
    tiled_size,
    tiles,
)
from charloom.models.compiled.layouts import COPY, TRANSPOSE, layout
from charloom.models.compiled.tiles import WIDTHS, dots, tile_many, tile_one, tile_some
from charloom.models.compiled.vectors import ROWS, VECTOR_BYTES
from charloom.models.jit import inlined_kernel, inner_kernel
from charloom.models.weights import Array

FEW = 4  # rows below which packing does not pay
BLOCK = 256  # rows of a gradient's product at a time: what of them is packed stays in the cache
BF16_BLOCK, BF16_PANEL = 512, 256  # the same in bf16, and columns of B at a time


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Make an array of zeros that begins where a vector register does.

    What is read beyond its end, up to the widest tile, is memory of its own.
    """
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.zeros(size + (WIDTHS[-1] + 1) * VECTOR_BYTES, np.uint8)
    begin = -memory.ctypes.data % VECTOR_BYTES
    return memory[begin : begin + size].view(dtype).reshape(shape)


class Panels(NamedTuple):
    """Room for a packed matrix."""

    numbers: Array  # (P,), or (L, P) for one matrix a layer; empty for few rows
    rows: Array  # room for rows of the matrix that it is multiplied by, in bf16
    kind: int  # FULL, or how products in bf16 are computed (bf16.py)


def packed_size(K: int, N: int, dtype: DTypeLike, kind: int = FULL) -> int:
    """Return how many elements a packed matrix (K, N) takes at most, by `pack` or `pack_back`."""
    if kind:
        return tiled_size(K, N)
    width = VECTOR_BYTES // np.dtype(dtype).itemsize
    return K * (N + 2 * width)


def rows_size(K: int, M: int, kind: int) -> int:
    """Return the size of `Panels.rows`, if B has K rows at most and a gradient M."""
    return max(tiled_size(K, 2 * SIDE), tiled_size(BF16_BLOCK, M)) if kind else 0


class Place(NamedTuple):
    """Where a matrix lies: walks over it need no more, and are compiled once for all layouts."""

    address: int  # of its first element
    row: int  # bytes from one row to the next
    column: int  # bytes from one column to the next


@inlined_kernel
def _address(array: Any) -> Any:
    return np.int64(array.ctypes.data)


@inlined_kernel
def _place(matrix: Any) -> Place:
    """Return where a matrix lies; one of a single row is broadcast over all rows, as in NumPy."""
    row = matrix.strides[0] if matrix.shape[0] > 1 else 0
    return Place(_address(matrix), row, matrix.strides[1])


@inlined_kernel
def _panel(left: int, width: int) -> int:
    """Return the next panel's width in registers of `width` elements, for `left` columns."""
    return 2 if left > width else 1


@inlined_kernel
def of_layer(panels: Any, layer: int) -> Panels:
    """Return the room for one layer's matrix of those for all."""
    return Panels(panels.numbers[layer], panels.rows, panels.kind)


@inner_kernel
def pack(packed: Any, B: Any) -> None:
    """Lay out B (K, N) for `product` in `packed`; nothing if that is empty."""
    K, N = B.shape
    item, width = B.itemsize, VECTOR_BYTES // B.itemsize
    zero, (address, row, _), to = B.dtype.type(0), _place(B), _address(packed.numbers)
    if packed.numbers.size and packed.kind:
        _to_tiles(zero, RIGHT, address, row, K, N, to)
    elif packed.numbers.size:
        for j in range(0, N, 2 * width):
            step, here = _panel(N - j, width) * width, address + j * item
            layout(zero, COPY, (here, row, K, N - j, to + j * K * item, step))


@inner_kernel
def pack_back(packed: Any, B: Any) -> None:
    """Lay out the transpose of B (N, K) for `back_product` in `packed`, as `pack`."""
    N, K = B.shape
    item, width = B.itemsize, VECTOR_BYTES // B.itemsize
    zero, (address, row, _), to = B.dtype.type(0), _place(B), _address(packed.numbers)
    if packed.numbers.size and packed.kind:
        for j in range(0, N, SIDE):
            tiles(zero, RIGHT_OF_TRANSPOSE, (address + j * row, row, N - j, K, to))
            to += _depth(K) * TILE
    elif packed.numbers.size:
        for j in range(0, N, 2 * width):
            step = _panel(N - j, width) * width
            for c in range(0, step, width):
                here, there = address + (j + c) * row, to + (j * K + c) * item
                layout(zero, TRANSPOSE, (here, row, N - j - c, K, there, step))


@inner_kernel
def product(C: Any, base: Any, A: Any, B: Any, packed: Any, turn: int) -> None:
    """C = base + A B: (M, N) = (M, N) or (1, >= N) + (M, K) (K, N), with B given by `pack`, too.

    C may be `base`, but shares memory with nothing else. C, `base` and B have contiguous rows.
    If `packed` is empty, B is read in tiles of columns: from the left if `turn` (a count of steps)
    is even, from the right if it is odd. So the next step still finds in the cache what this one
    read last. Either way a sum goes over k from the first to the last: a row of C has the same
    bits however many there are.
    """
    if packed.kind:
        _by_tiles(C, base, A, packed, turn % 2)
    elif packed.numbers.size:
        _by_panels(C, base, A, packed.numbers)
    else:
        _by_rows(C, base, A, B, turn % 2)


@inner_kernel
def back_product(C: Any, base: Any, A: Any, B: Any, packed: Any, turn: int) -> None:
    """C = base + A B^T: (M, N) = base + (M, K) (N, K)^T, with B given by `pack_back`, too.

    As `product`; but if `packed` is empty, each element is a dot product of contiguous rows, and
    C is not `base`.
    """
    if packed.kind:
        _by_tiles(C, base, A, packed, turn % 2)
    elif packed.numbers.size:
        _by_panels(C, base, A, packed.numbers)
    elif C.shape[1] < VECTOR_BYTES // C.itemsize:
        _dot_by_dot(C, base, A, B)
    else:
        _by_dots(C, base, A, B, turn % 2)


@inlined_kernel
def _by_panels(C: Any, base: Any, A: Any, packed: Any) -> None:
    """C = base + A B for a packed B (K, N), panel by panel."""
    (M, N), K = C.shape, A.shape[1]
    width, panel = VECTOR_BYTES // C.itemsize, _address(packed)
    zero, places = C.dtype.type(0), (_place(C), _place(base), _place(A))
    for j in range(0, N, 2 * width):
        _walk_panel(zero, C.itemsize, places, panel, M, K, N - j, j)
        panel += K * 2 * width * C.itemsize


@inner_kernel
def _walk_panel(
    zero: Any, item: int, places: Any, panel: int, M: int, K: int, left: int, j: int
) -> None:
    """Compute the columns of C that one panel of B gives: from j on, of `left` that remain."""
    C, base, A = places
    width = VECTOR_BYTES // item
    vectors = _panel(left, width)
    shape, B_row = 2 * vectors + (left < vectors * width), vectors * VECTOR_BYTES
    c, d, a, i = C.address + j * item, base.address + j * item, A.address, 0
    while i < M:
        arguments = (c, C.row, d, base.row, a, A.row, A.column, panel, B_row, K, left)
        if M - i >= ROWS:
            rows = ROWS
            tile_many(zero, shape, arguments)
        elif M - i >= ROWS // 2:
            rows = ROWS // 2
            tile_some(zero, shape, arguments)
        else:
            rows = 1
            tile_one(zero, 2 * vectors + 1, arguments)
        i, c, d, a = i + rows, c + rows * C.row, d + rows * base.row, a + rows * A.row


@inlined_kernel
def _depth(K: int) -> int:
    """Return how many tiles in bf16 so many k's take."""
    return (K + DEEP - 1) // DEEP


@inlined_kernel
def _by_tiles(C: Any, base: Any, A: Any, packed: Any, back: int) -> None:
    """C = base + A B in bf16 for a packed B (K, N): two rows of tiles of A at a time, or one.

    From the last columns on if `back`.
    """
    (M, N), K = C.shape, A.shape[1]
    zero, c, d, a = C.dtype.type(0), _place(C), _place(base), _place(A)
    left, right = _address(packed.rows), _address(packed.numbers)
    for i in range(0, M, 2 * SIDE):
        for r in range(i, min(i + 2 * SIDE, M), SIDE):
            to = left + (r - i) // SIDE * _depth(K) * TILE
            tiles(zero, LEFT, (a.address + r * a.row, a.row, M - r, K, to))
        places = (c.address + i * c.row, c.row, d.address + i * d.row, d.row, left, right)
        _walk_tiles(zero, packed.kind, places, _depth(K), min(2 * SIDE, M - i), N, back)


@inner_kernel
def _walk_tiles(
    zero: Any, kind: int, places: Any, depth: int, rows: int, N: int, back: int
) -> None:
    """Compute rows of C, 32 at most, from tiles of A and B that are `depth` deep."""
    C, C_row, base, base_row, left, right = places
    if kind != AMX:
        for i in range(0, rows, SIDE):
            A, out, start = left + i // SIDE * depth * TILE, C + i * C_row, base + i * base_row
            for j in range(0, N, SIDE):
                B, at = right + j // SIDE * depth * TILE, 4 * j
                ends = (min(SIDE, rows - i), min(SIDE, N - j))
                by_vectors(zero, 0, (out + at, C_row, start + at, base_row, A, B, depth, *ends))
        return
    high = 1 if rows <= SIDE else 2
    wide = 4 // high  # tiles of B at a time
    whole = N // SIDE // wide  # such groups
    rest = (N + SIDE - 1) // SIDE - whole * wide  # tiles, of which the last may be cut
    last = rows - (high - 1) * SIDE
    for part in range(2):
        if part == back:  # whole groups, the first or the last of them first
            first = (whole - 1) * wide if back else 0
            groups, tiles_wide, columns = whole, wide, SIDE
        else:
            first = whole * wide
            groups, tiles_wide, columns = 1, rest, N - (first + rest - 1) * SIDE
        if groups and tiles_wide:
            at, B = first * SIDE * 4, right + first * depth * TILE
            sides = (C + at, C_row, base + at, base_row, left, B)
            counts = (depth, groups, -1 if back else 1, last, columns)
            by_amx(zero, 8 * high + tiles_wide, (*sides, *counts))


@inlined_kernel
def _by_rows(C: Any, base: Any, A: Any, B: Any, back: int) -> None:
    """Tiles of one row, as wide as registers allow; from the last one on if `back`."""
    (M, N), K = C.shape, A.shape[1]
    item, width = C.itemsize, VECTOR_BYTES // C.itemsize
    zero, c, d, a, b = C.dtype.type(0), _place(C), _place(base), _place(A), _place(B)
    n = (N + width - 1) // width
    tiles = (n + WIDTHS[-1] - 1) // WIDTHS[-1]
    vectors = WIDTHS[-1]
    for size in WIDTHS[::-1]:
        if size * tiles >= n:
            vectors = size
    for tile in range(tiles):
        j = (tiles - 1 - tile if back else tile) * vectors * width
        at = j * item
        for i in range(M):
            if j < N:
                to, start = c.address + i * c.row + at, d.address + i * d.row + at
                A_i, B_j = a.address + i * a.row, b.address + at
                arguments = (to, c.row, start, d.row, A_i, a.row, a.column, B_j, b.row, K, N - j)
                tile_one(zero, 2 * vectors + 1, arguments)


@inlined_kernel
def _by_dots(C: Any, base: Any, A: Any, B: Any, back: int) -> None:
    """C = base + A B^T, B (N, K) unpacked: a register of dot products at a time."""
    (M, N), K = C.shape, A.shape[1]
    item, width = C.itemsize, VECTOR_BYTES // C.itemsize
    zero, c, d, a, b = C.dtype.type(0), _place(C), _place(base), _place(A), _place(B)
    tiles = (N + width - 1) // width
    for tile in range(tiles):
        # The last ends at N: what it covers twice comes out the same.
        j = min((tiles - 1 - tile if back else tile) * width, N - width)
        for i in range(M):
            C_ij, base_ij = c.address + i * c.row + j * item, d.address + i * d.row + j * item
            A_i, B_j = a.address + i * a.row, b.address + j * b.row
            dots(zero, 0, (C_ij, base_ij, A_i, B_j, b.row, K))


@inner_kernel
def _dot_by_dot(C: Any, base: Any, A: Any, B: Any) -> None:
    """C = base + A B^T for a C (M, N) narrower than a register."""
    M, N = C.shape
    for i in range(M):
        for j in range(N):
            total = base[i if base.shape[0] > 1 else 0, j]
            for k in range(A.shape[1]):
                total += A[i, k] * B[j, k]
            C[i, j] = total


@inner_kernel
def gradient_product(C: Any, zeros: Any, A: Any, B: Any, panel: Any) -> None:
    """C = A^T B: (M, N) = (K, M)^T (K, N), the gradient of W from y = A W and B = dy.

    `zeros` is (1, >= N); `panel` has room for a block of rows of one panel. The rows K are taken
    in blocks, so that those of A stay in the second-level cache.
    """
    (K, N), M = B.shape, A.shape[1]
    item, width = C.itemsize, VECTOR_BYTES // C.itemsize
    zero, to = C.dtype.type(0), _address(panel.numbers)
    c, a, b, base = _place(C), _place(A), _place(B), _place(zeros)
    if panel.kind:
        _gradient_by_tiles(zero, (c, base, a, b), _address(panel.rows), to, M, K, N, panel.kind)
    else:
        for begin in range(0, K, BLOCK):
            rows = min(BLOCK, K - begin)
            across = Place(a.address + begin * a.row, a.column, a.row)
            for j in range(0, N, 2 * width):
                step, here = _panel(N - j, width) * width, b.address + begin * b.row + j * item
                layout(zero, COPY, (here, b.row, rows, N - j, to, step))
                _walk_panel(zero, item, (c, c if begin else base, across), to, M, rows, N - j, j)


@inner_kernel
def _gradient_by_tiles(
    zero: Any, places: Any, left: int, right: int, M: int, K: int, N: int, kind: int
) -> None:
    """C = A^T B in bf16, block by block: all of A in tiles, a panel of B in tiles, their product.

    They are laid out 32 rows at a time, as they lie in memory: rows may be a page apart.
    """
    c, zeros, a, b = places
    for begin in range(0, K, BF16_BLOCK):
        rows = min(BF16_BLOCK, K - begin)
        depth, base = _depth(rows), c if begin else zeros
        _to_tiles(zero, LEFT_OF_TRANSPOSE, a.address + begin * a.row, a.row, rows, M, left)
        for first in range(0, N, BF16_PANEL):
            wide = min(BF16_PANEL, N - first)
            here = b.address + begin * b.row + 4 * first
            _to_tiles(zero, RIGHT, here, b.row, rows, wide, right)
            for i in range(0, M, 2 * SIDE):
                C, start = c.address + i * c.row, base.address + i * base.row
                sides = (C + 4 * first, c.row, start + 4 * first, base.row)
                A = left + i // SIDE * depth * TILE
                _walk_tiles(zero, kind, (*sides, A, right), depth, min(2 * SIDE, M - i), wide, 0)


@inner_kernel
def _to_tiles(zero: Any, which: int, X: int, X_row: int, rows: int, columns: int, to: int) -> None:
    """Lay out a matrix (rows, columns) in tiles, strip after strip of 16 columns."""
    for k in range(0, rows, DEEP):
        for j in range(0, columns, SIDE):
            here, tile = X + k * X_row + 4 * j, to + (j // SIDE * _depth(rows) + k // DEEP) * TILE
            tiles(zero, which, (here, X_row, min(DEEP, rows - k), columns - j, tile))


@inner_kernel
def copy(out: Any, x: Any) -> None:
    """out (M, N) = x (M, N)."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = x[i, j]
