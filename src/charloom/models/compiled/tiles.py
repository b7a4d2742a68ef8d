"""The innermost loops of products.py: a tile of C = base + A B, its sums in registers.

                      B[k]   | b0 b0 b0 b0 | b1 b1 b1 b1 |     2 registers, loaded
                             +-------------+-------------+
    A[0, k]  splat -> a  a   | sums[0][0]  | sums[0][1]  |
    A[1, k]  splat -> a  a   | sums[1][0]  | sums[1][1]  |     rows x 2 registers of sums,
      ...                    |     ...     |     ...     |     never in memory while k runs
    A[7, k]  splat -> a  a   | sums[7][0]  | sums[7][1]  |
                             +-------------+-------------+

    sums = base[i : i + rows, j : j + columns]
    for k in range(K):
        b = [load(B, k, v) for v in range(vectors)]
        for r in range(rows):
            a = splat(A[i + r, k])                       the same number in every place
            for v in range(vectors):
                sums[r][v] = fma(a, b[v], sums[r][v])    one instruction
    C[i : i + rows, j : j + columns] = sums

The loops over r and v are unrolled: for each shape there is a function of its own.
"""

from functools import partial
from typing import Any

from llvmlite import ir

from charloom.models.compiled.units import WORD as SIZE
from charloom.models.compiled.vectors import ROWS, VECTOR_BYTES, Writer, Written

# Registers that a tile of one row may be wide.
WIDTHS = (1, 2, 4, 7, 10, 13, 16) if VECTOR_BYTES == 64 else (1, 2, 4, 8, 12)


def _write_tile(rows: int, vectors: int, edge: bool, write: Writer, arguments: list[Any]) -> None:
    """`rows` rows of `vectors` registers of C; `edge` if C may end in them."""
    C, C_row, base, base_row, A, A_row, A_column, B, B_row, K, left = arguments
    places = [(r, v) for r in range(rows) for v in range(vectors)]
    masks = [write.mask(left, v) for v in range(vectors)] if edge else []

    def add_outer(k: Any, sums: list[Any]) -> list[Any]:
        b = [write.load(B, write.vector, (k, B_row), (v, VECTOR_BYTES)) for v in range(vectors)]
        a = [
            write.splat(write.load(A, write.scalar, (r, A_row), (k, A_column))) for r in range(rows)
        ]
        return [write.fma(a[r], b[v], x) for (r, v), x in zip(places, sums, strict=True)]

    def start(r: int, v: int) -> Any:
        steps = ((r, base_row), (v, VECTOR_BYTES))
        if edge:
            return write.load_masked(masks[v], base, *steps)
        return write.load(base, write.vector, *steps)

    begin = [start(r, v) for r, v in places]
    for r, v in places if rows > 1 else []:  # the tile below comes next
        write.prefetch(2, C, (rows + r, C_row), (v, VECTOR_BYTES))
    sums = write.loop(1, K, begin, add_outer)
    for (r, v), total in zip(places, sums, strict=True):
        steps = ((r, C_row), (v, VECTOR_BYTES))
        if edge:
            write.store_masked(total, masks[v], C, *steps)
        else:
            write.store(total, C, *steps)


def _write_dots(write: Writer, arguments: list[Any]) -> None:
    """A register of C: dot products of one row of A with as many contiguous rows of B."""
    C, base, A, B, B_row, K = arguments
    builder, item, count = write.builder, write.itemsize, write.vector.count
    whole = builder.and_(K, ir.Constant(SIZE, -count))
    rest = write.mask(builder.sub(K, whole), 0)

    def fma_rows(x: Any, ys: list[Any], sums: list[Any]) -> list[Any]:
        return [write.fma(x, y, total) for y, total in zip(ys, sums, strict=True)]

    def add_products(k: Any, sums: list[Any]) -> list[Any]:
        ys = [write.load(B, write.vector, (r, B_row), (k, item)) for r in range(count)]
        return fma_rows(write.load(A, write.vector, (k, item)), ys, sums)

    def add_rest(_: Any, sums: list[Any]) -> list[Any]:
        ys = [write.load_masked(rest, B, (r, B_row), (whole, item)) for r in range(count)]
        return fma_rows(write.load_masked(rest, A, (whole, item)), ys, sums)

    sums = write.loop(count, whole, [write.zeros()] * count, add_products)
    sums = write.loop(count, builder.sub(K, whole), sums, add_rest)  # once or never
    write.store(builder.fadd(write.load(base, write.vector), _sums_of(write, sums)), C)


def _sums_of(write: Writer, vectors: list[Any]) -> Any:
    """Return a register whose place r is the sum of all places of vectors[r], as many as it has.

    Each round halves the vectors: of x and y the places with and without a bit change sides
    (x where the bit is 0, y where it is 1), so that both are half summed in one register.
    """
    count, bit = write.vector.count, 1
    while bit < count:
        mine = [place + (count if place & bit else 0) for place in range(count)]
        other = [(place ^ bit) + (count if place & bit else 0) for place in range(count)]
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [
            write.builder.fadd(write.shuffle(x, y, mine), write.shuffle(x, y, other))
            for x, y in pairs
        ]
        bit *= 2
    return vectors[0]


def _tiles(rows: int, widths: tuple[int, ...]) -> Written:
    """Return tile(zero, shape, arguments): shape is twice the registers wide, + 1 at C's edge.

    The arguments: C, its row step, base, its row step, A, its row and column steps, B, its row
    step (addresses of the first number of each, and bytes), K, and the columns left of C.
    A tile of one row is always one at the edge.
    """
    bodies = {
        2 * vectors + edge: partial(_write_tile, rows, vectors, bool(edge))
        for vectors in widths
        for edge in ((0, 1) if rows > 1 else (1,))
    }
    return Written(f"tile_{rows}x", 11, bodies)


MANY, SOME, ONE = _tiles(ROWS, (1, 2)), _tiles(ROWS // 2, (1, 2)), _tiles(1, WIDTHS)
DOTS = Written("dots", 6, {0: _write_dots})
tile_many, tile_some, tile_one = MANY.call, SOME.call, ONE.call
dots = DOTS.call  # dots(zero, 0, (C, base, A, B, B's row step, K))
