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

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from charloom.models.compiled.bf16 import (
    AMX,
    BY_AMX,
    BY_VECTORS,
    DEEP,
    FULL,
    LEFT,
    LEFT_OF_TRANSPOSE,
    RIGHT,
    RIGHT_OF_TRANSPOSE,
    SIDE,
    TILE,
    TILES,
    by_amx,
    by_vectors,
    tiled_size,
    tiles,
)
from charloom.models.compiled.layouts import COPY, LAYOUTS, TRANSPOSE, layout
from charloom.models.compiled.program import Program
from charloom.models.compiled.tiles import (
    DOTS,
    MANY,
    ONE,
    SOME,
    WIDTHS,
    dots,
    tile_many,
    tile_one,
    tile_some,
)
from charloom.models.compiled.units import Unit, bytes_of, integers_at
from charloom.models.compiled.vectors import ROWS, VECTOR_BYTES, put_in_place
from charloom.models.jit import array_at, inlined_kernel, inner_kernel
from charloom.models.weights import Array

FEW = 4  # rows below which packing does not pay
BLOCK = 256  # rows of a gradient's product at a time: what of them is packed stays in the cache
BF16_BLOCK, BF16_PANEL = 512, 256  # the same in bf16, and columns of B at a time


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Make an array of zeros that begins where a vector register does.

    What is read beyond its end, up to the widest tile, is memory of its own.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
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


@inlined_kernel
def _panel(left: int, width: int) -> int:
    """Return the next panel's width in registers of `width` elements, for `left` columns."""
    return 2 if left > width else 1


def of_layer(panels: Panels, layer: int) -> Panels:
    """Return the room for one layer's matrix of those for all."""
    return panels._replace(numbers=panels.numbers[layer])


def rows_of(matrix: Array) -> tuple[Array, int]:
    """Return a matrix and the bytes from one row to the next; one row is broadcast over all."""
    assert matrix.strides[1] == matrix.itemsize or matrix.size == 0 or matrix.shape[1] == 1
    return matrix, matrix.strides[0] if len(matrix) > 1 else 0


def room_of(packed: Panels) -> tuple[Array | int, Array, int]:
    """Return where a packed matrix is, 0 if it is not, and what else products take of it."""
    return packed.numbers if packed.numbers.size else 0, packed.rows, packed.kind


def pack(program: Program, packed: Panels, B: Array) -> None:
    """Lay out B (K, N) for `product` in `packed`; nothing if that is empty."""
    room, _, kind = room_of(packed)
    if packed.numbers.size and B.size:
        program.add(PACK, *rows_of(B), *B.shape, room, kind, 0)


def pack_back(program: Program, packed: Panels, B: Array) -> None:
    """Lay out the transpose of B (N, K) for `back_product` in `packed`, as `pack`."""
    room, _, kind = room_of(packed)
    if packed.numbers.size and B.size:
        program.add(PACK, *rows_of(B), *B.shape[::-1], room, kind, 1)


def product(
    program: Program, C: Array, base: Array, A: Array, B: Array, packed: Panels, turn: int = 0
) -> None:
    """C = base + A B: (M, N) = (M, N) or (1, >= N) + (M, K) (K, N), with B given by `pack`, too.

    C may be `base`, but shares memory with nothing else. All have contiguous rows.
    If `packed` is empty, B is read in tiles of columns: from the left if the program's turn (a
    count of steps) and this one make an even number, from the right if an odd one. So the next step
    still finds in the cache what this one read last. Either way a sum goes over k from the first to
    the last: a row of C has the same bits however many there are.
    """
    program.add(PRODUCT, *_sides(C, base, A), *rows_of(B), *room_of(packed), turn=turn)


def back_product(
    program: Program, C: Array, base: Array, A: Array, B: Array, packed: Panels, turn: int = 0
) -> None:
    """C = base + A B^T: (M, N) = base + (M, K) (N, K)^T, with B given by `pack_back`, too.

    As `product`; but if `packed` is empty, each element is a dot product of contiguous rows, and
    C is not `base`.
    """
    program.add(BACK_PRODUCT, *_sides(C, base, A), *rows_of(B), *room_of(packed), turn=turn)


def _sides(C: Array, base: Array, A: Array) -> tuple[Array | int, ...]:
    (M, N), K = C.shape, A.shape[1]
    return *rows_of(C), *rows_of(base), *rows_of(A), M, K, N


def gradient_product(
    program: Program, C: Array, zeros: Array, A: Array, B: Array, panel: Panels
) -> None:
    """C = A^T B: (M, N) = (K, M)^T (K, N), the gradient of W from y = A W and B = dy.

    `zeros` is (1, >= N); `panel` has room for a block of rows of one panel. The rows K are taken
    in blocks, so that those of A stay in the second-level cache.
    """
    (K, N), M = B.shape, A.shape[1]
    sides = (*rows_of(C), *rows_of(zeros), *rows_of(A), *rows_of(B))
    program.add(GRADIENT_PRODUCT, *sides, *room_of(panel), M, K, N)


_put_for_full = put_in_place(MANY, SOME, ONE, DOTS, LAYOUTS)
_put_for_bf16 = put_in_place(TILES, BY_AMX, BY_VECTORS)


def _write_for_full(zero: Any, _: int, turn: int) -> None:
    _put_for_full(zero)


def _write_for_bf16(zero: Any, _: int, turn: int) -> None:
    _put_for_bf16(zero)


_FOR_FULL = Unit(_write_for_full, prepares=True)
_FOR_BF16 = Unit(_write_for_bf16, prepares=True)


def _pack_tiles_unit(zero: Any, place: int, turn: int) -> None:
    """Do what `pack` and `pack_back` do, in bf16."""
    B, B_row, K, N, to, back = integers_at(place, 6)
    if not back:
        _to_tiles(zero, RIGHT, B, B_row, K, N, to)
        return
    for j in range(0, N, SIDE):
        tiles(zero, RIGHT_OF_TRANSPOSE, (B + j * B_row, B_row, N - j, K, to))
        to += _depth(K) * TILE


PACK_TILES = Unit(_pack_tiles_unit, _FOR_BF16)


def _by_tiles_unit(zero: Any, place: int, turn: int) -> None:
    """C = base + A B in bf16 for a packed B (K, N): two rows of tiles of A at a time, or one.

    From the last columns on if `turn` is odd.
    """
    C, C_row, base, base_row, A, A_row, M, K, N, right, left, kind = integers_at(place, 12)
    for i in range(0, M, 2 * SIDE):
        for r in range(i, min(i + 2 * SIDE, M), SIDE):
            to = left + (r - i) // SIDE * _depth(K) * TILE
            tiles(zero, LEFT, (A + r * A_row, A_row, M - r, K, to))
        places = (C + i * C_row, C_row, base + i * base_row, base_row, left, right)
        _walk_tiles(zero, kind, places, _depth(K), min(2 * SIDE, M - i), N, turn % 2)


BY_TILES = Unit(_by_tiles_unit, _FOR_BF16)


def _gradient_by_tiles_unit(zero: Any, place: int, turn: int) -> None:
    """C = A^T B in bf16, block by block: all of A in tiles, a panel of B in tiles, their product.

    They are laid out 32 rows at a time, as they lie in memory: rows may be a page apart.
    """
    C, C_row, zeros, zeros_row, A, A_row, B, B_row, right, left, kind, M, K, N = integers_at(
        place, 14
    )
    for begin in range(0, K, BF16_BLOCK):
        rows = min(BF16_BLOCK, K - begin)
        depth = _depth(rows)
        base, base_row = (C, C_row) if begin else (zeros, zeros_row)
        _to_tiles(zero, LEFT_OF_TRANSPOSE, A + begin * A_row, A_row, rows, M, left)
        for first in range(0, N, BF16_PANEL):
            wide = min(BF16_PANEL, N - first)
            _to_tiles(zero, RIGHT, B + begin * B_row + 4 * first, B_row, rows, wide, right)
            for i in range(0, M, 2 * SIDE):
                here, start = C + i * C_row, base + i * base_row
                sides = (here + 4 * first, C_row, start + 4 * first, base_row)
                places = (*sides, left + i // SIDE * depth * TILE, right)
                _walk_tiles(zero, kind, places, depth, min(2 * SIDE, M - i), wide, 0)


GRADIENT_BY_TILES = Unit(_gradient_by_tiles_unit, _FOR_BF16)


_pack_tiles, _by_tiles, _gradient_by_tiles = (
    PACK_TILES.call,
    BY_TILES.call,
    GRADIENT_BY_TILES.call,
)


def _pack_unit(zero: Any, place: int, turn: int) -> None:
    """Do what `pack` and `pack_back` do."""
    B, B_row, K, N, to, kind, back = integers_at(place, 7)
    item = bytes_of(zero)
    width = VECTOR_BYTES // item
    if kind:
        _pack_tiles(zero, (B, B_row, K, N, to, back), turn)
        return
    for j in range(0, N, 2 * width):
        step = _panel(N - j, width) * width
        if back:
            for c in range(0, step, width):
                here, there = B + (j + c) * B_row, to + (j * K + c) * item
                layout(zero, TRANSPOSE, (here, B_row, N - j - c, K, there, step))
        else:
            layout(zero, COPY, (B + j * item, B_row, K, N - j, to + j * K * item, step))


PACK = Unit(_pack_unit, _FOR_FULL)


def _by_panels_unit(zero: Any, place: int, turn: int) -> None:
    """C = base + A B for a packed B (K, N), panel by panel."""
    C, C_row, base, base_row, A, A_row, M, K, N, panel = integers_at(place, 10)
    item = bytes_of(zero)
    width = VECTOR_BYTES // item
    places = (C, C_row, base, base_row, A, A_row, item)
    for j in range(0, N, 2 * width):
        _walk_panel(zero, item, places, panel, M, K, N - j, j)
        panel += K * 2 * width * item


BY_PANELS = Unit(_by_panels_unit, _FOR_FULL)


_by_panels = BY_PANELS.call


@inner_kernel
def _walk_panel(
    zero: Any, item: int, places: Any, panel: int, M: int, K: int, left: int, j: int
) -> None:
    """Compute the columns of C that one panel of B gives: from j on, of `left` that remain."""
    C, C_row, base, base_row, A, A_row, A_column = places
    width = VECTOR_BYTES // item
    vectors = _panel(left, width)
    shape, B_row = 2 * vectors + (left < vectors * width), vectors * VECTOR_BYTES
    c, d, a, i = C + j * item, base + j * item, A, 0
    while i < M:
        arguments = (c, C_row, d, base_row, a, A_row, A_column, panel, B_row, K, left)
        if M - i >= ROWS:
            rows = ROWS
            tile_many(zero, shape, arguments)
        elif M - i >= ROWS // 2:
            rows = ROWS // 2
            tile_some(zero, shape, arguments)
        else:
            rows = 1
            tile_one(zero, 2 * vectors + 1, arguments)
        i, c, d, a = i + rows, c + rows * C_row, d + rows * base_row, a + rows * A_row


def _product_unit(zero: Any, place: int, turn: int) -> None:
    """Do what `product` does; of few rows tiles of one row, as wide as registers allow."""
    C, C_row, base, base_row, A, A_row, M, K, N, B, B_row, packed, rows, kind = integers_at(
        place, 14
    )
    if kind:
        _by_tiles(zero, (C, C_row, base, base_row, A, A_row, M, K, N, packed, rows, kind), turn)
        return
    if packed:
        _by_panels(zero, (C, C_row, base, base_row, A, A_row, M, K, N, packed), turn)
        return
    item = bytes_of(zero)
    width = VECTOR_BYTES // item
    n = (N + width - 1) // width
    tiles = (n + WIDTHS[-1] - 1) // WIDTHS[-1]
    vectors = WIDTHS[-1]
    for size in WIDTHS[::-1]:
        if size * tiles >= n:
            vectors = size
    for tile in range(tiles):
        j = (tiles - 1 - tile if turn % 2 else tile) * vectors * width
        at = j * item
        for i in range(M):
            if j < N:
                to, start = C + i * C_row + at, base + i * base_row + at
                arguments = (to, C_row, start, base_row, A + i * A_row, A_row, item)
                tile_one(zero, 2 * vectors + 1, (*arguments, B + at, B_row, K, N - j))


PRODUCT = Unit(_product_unit, _FOR_FULL, BY_PANELS)


def _back_product_unit(zero: Any, place: int, turn: int) -> None:
    """Do what `back_product` does; of few rows a register of dot products at a time."""
    C, C_row, base, base_row, A, A_row, M, K, N, B, B_row, packed, rows, kind = integers_at(
        place, 14
    )
    item = bytes_of(zero)
    width = VECTOR_BYTES // item
    if kind:
        _by_tiles(zero, (C, C_row, base, base_row, A, A_row, M, K, N, packed, rows, kind), turn)
    elif packed:
        _by_panels(zero, (C, C_row, base, base_row, A, A_row, M, K, N, packed), turn)
    elif N < width:
        for i in range(M):
            for j in range(N):
                out = array_at(zero, C + i * C_row, (N,))
                start = array_at(zero, base + i * base_row, (N,))
                x, y = array_at(zero, A + i * A_row, (K,)), array_at(zero, B + j * B_row, (K,))
                total = start[j]
                for k in range(K):
                    total += x[k] * y[k]
                out[j] = total
    else:
        tiles = (N + width - 1) // width
        for tile in range(tiles):
            # The last ends at N: what it covers twice comes out the same.
            j = min((tiles - 1 - tile if turn % 2 else tile) * width, N - width)
            for i in range(M):
                to, start = C + i * C_row + j * item, base + i * base_row + j * item
                dots(zero, 0, (to, start, A + i * A_row, B + j * B_row, B_row, K))


BACK_PRODUCT = Unit(_back_product_unit, _FOR_FULL, BY_PANELS)


def _gradient_product_unit(zero: Any, place: int, turn: int) -> None:
    """Do what `gradient_product` does."""
    C, C_row, zeros, zeros_row, A, A_row, B, B_row, to, rounded, kind, M, K, N = integers_at(
        place, 14
    )
    if kind:
        sides = (C, C_row, zeros, zeros_row, A, A_row, B, B_row)
        _gradient_by_tiles(zero, (*sides, to, rounded, kind, M, K, N), turn)
        return
    item = bytes_of(zero)
    width = VECTOR_BYTES // item
    for begin in range(0, K, BLOCK):
        rows = min(BLOCK, K - begin)
        base, base_row = (C, C_row) if begin else (zeros, zeros_row)
        places = (C, C_row, base, base_row, A + begin * A_row, item, A_row)
        for j in range(0, N, 2 * width):
            step = _panel(N - j, width) * width
            layout(zero, COPY, (B + begin * B_row + j * item, B_row, rows, N - j, to, step))
            _walk_panel(zero, item, places, to, M, rows, N - j, j)


GRADIENT_PRODUCT = Unit(_gradient_product_unit, _FOR_FULL)


def get_ready(dtype: DTypeLike, kind: int = FULL) -> None:
    """Compile what products of this type and kind take; kernels that call them rely on it."""
    for one in (PACK, PRODUCT, BACK_PRODUCT, GRADIENT_PRODUCT):
        one.get_ready(dtype)
    for one in (PACK_TILES, BY_TILES, GRADIENT_BY_TILES) if kind else ():
        one.get_ready(dtype)


@inlined_kernel
def _depth(K: int) -> int:
    """Return how many tiles in bf16 so many k's take."""
    return (K + DEEP - 1) // DEEP


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
