"""The innermost loops of products.py: rows of sums that stay in registers.

A tile is written once for each shape, as a function of its own in the machine code.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from charloom.models.compiled.vectors import BYTES, ROWS, SIZE, VECTOR_BYTES, Writer, new_function

# Registers that a tile of one row may be wide.
WIDTHS = (1, 2, 4, 7, 10, 13, 16) if VECTOR_BYTES == 64 else (1, 2, 4, 8, 12)

# out, row step, base, row step, a, row and column steps, w, row step, K, columns left of out
_ARGUMENTS = [BYTES, SIZE, BYTES, SIZE, BYTES, SIZE, SIZE, BYTES, SIZE, SIZE, SIZE]


def _write_tile(write: Writer, arguments: Any, rows: int, vectors: int, edge: bool) -> None:
    """`rows` rows of `vectors` registers of out; `edge` if out may end in them."""
    out, out_step, base, base_step, a, a_row, a_column, w, w_step, K, left = arguments
    size = VECTOR_BYTES
    places = [(r, v) for r in range(rows) for v in range(vectors)]
    masks = [write.mask(left, v) for v in range(vectors)] if edge else []

    def add_outer(k: Any, sums: list[Any]) -> list[Any]:
        w_k = [write.load(w, write.vector, (k, w_step), (v, size)) for v in range(vectors)]
        a_k = [
            write.splat(write.load(a, write.scalar, (r, a_row), (k, a_column))) for r in range(rows)
        ]
        return [write.fma(a_k[r], w_k[v], x) for (r, v), x in zip(places, sums, strict=True)]

    def start(r: int, v: int) -> Any:
        steps = ((r, base_step), (v, size))
        if edge:
            return write.load_masked(masks[v], base, *steps)
        return write.load(base, write.vector, *steps)

    sums = write.loop(1, K, [start(r, v) for r, v in places], add_outer)
    for (r, v), total in zip(places, sums, strict=True):
        steps = ((r, out_step), (v, size))
        if edge:
            write.store_masked(total, masks[v], out, *steps)
        else:
            write.store(total, out, *steps)
    write.builder.ret_void()


def _write_dots(write: Writer, arguments: Any, rows: int, vectors: int, edge: bool) -> None:
    """A register of out: dot products of one row of `a` with as many contiguous rows of w."""
    out, _, base, _, a, _, _, w, w_step, K, _ = arguments
    builder, item, count = write.builder, write.itemsize, write.vector.count
    whole = builder.and_(K, ir.Constant(SIZE, -count))
    rest = write.mask(builder.sub(K, whole), 0)

    def fma_rows(x: Any, ys: list[Any], sums: list[Any]) -> list[Any]:
        return [write.fma(x, y, total) for y, total in zip(ys, sums, strict=True)]

    def add_products(k: Any, sums: list[Any]) -> list[Any]:
        ys = [write.load(w, write.vector, (r, w_step), (k, item)) for r in range(count)]
        return fma_rows(write.load(a, write.vector, (k, item)), ys, sums)

    def add_rest(_: Any, sums: list[Any]) -> list[Any]:
        ys = [write.load_masked(rest, w, (r, w_step), (whole, item)) for r in range(count)]
        return fma_rows(write.load_masked(rest, a, (whole, item)), ys, sums)

    sums = write.loop(count, whole, [write.zeros()] * count, add_products)
    sums = write.loop(count, builder.sub(K, whole), sums, add_rest)  # once or never
    start = write.load(base, write.vector)
    write.store(builder.fadd(start, _sums_of(write, sums)), out)
    builder.ret_void()


def _sums_of(write: Writer, vectors: list[Any]) -> Any:
    """Register whose place r is the sum of all places of vectors[r]; as many as it has places.

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


def _function(
    module: ir.Module, write_body: Callable[..., None], rows: int, bits: int, width: int, edge: bool
) -> ir.Function:
    name = f"charloom{write_body.__name__}_{rows}x{width}_{'edge' if edge else ''}f{bits}"
    if name in module.globals:
        return module.globals[name]
    new = new_function(module, name, _ARGUMENTS)
    write_body(Writer(new, bits), new.args, rows, width, edge)
    return new


def _call(builder: Any, plain: Any, edge: Any, arguments: list[Any], fits: Any) -> None:
    """Call `plain` where the tile fits into out, else `edge`; one row is always taken by edge."""
    if plain is None:
        builder.call(edge, arguments)
        return
    with builder.if_else(fits) as (then, otherwise):
        with then:
            builder.call(plain, arguments)
        with otherwise:
            builder.call(edge, arguments)


def _arguments(context: Any, builder: Any, kinds: Any, args: Any, place: str) -> list[Any]:
    """Return _ARGUMENTS for the arrays out, base, a, w and the places i, j, at of `_tile`."""
    i, j, at, vectors = args[4:]
    arrays = [
        context.make_array(kind)(context, builder, value)
        for kind, value in zip(kinds[:4], args[:4], strict=True)
    ]
    steps = [cgutils.unpack_tuple(builder, array.strides) for array in arrays]
    zero, one = ir.Constant(SIZE, 0), ir.Constant(SIZE, 1)
    base_rows = cgutils.unpack_tuple(builder, arrays[1].shape)[0]
    # A base of one row serves every row of out, as in NumPy's broadcasting.
    one_row = builder.icmp_signed("==", base_rows, one)
    steps[1][0] = builder.select(one_row, zero, steps[1][0])

    def pointer(array: int, *places: Any) -> Any:
        address = builder.bitcast(arrays[array].data, BYTES)
        for index, step in zip(places, steps[array], strict=False):
            address = builder.gep(address, [builder.mul(index, step)])
        return address

    K = cgutils.unpack_tuple(builder, arrays[2].shape)[1]
    left = builder.sub(cgutils.unpack_tuple(builder, arrays[0].shape)[1], j)
    a_step, first = steps[2][1], zero
    if place == "panel":
        w, w_step = pointer(3, at), builder.mul(vectors, ir.Constant(SIZE, VECTOR_BYTES))
    elif place == "rows":
        w, w_step = pointer(3, j), steps[3][0]
    else:
        back = builder.icmp_signed("!=", at, zero)
        first = builder.select(back, builder.sub(K, one), zero)
        w, w_step = pointer(3, first, j), steps[3][0]
        w_step, a_step = (builder.select(back, builder.neg(x), x) for x in (w_step, a_step))
    out, base, a = pointer(0, i, j), pointer(1, i, j), pointer(2, i, first)
    return [out, steps[0][0], base, steps[1][0], a, steps[2][0], a_step, w, w_step, K, left]


def _tile(
    write_body: Callable[..., None], rows: int, widths: tuple[int, ...], place: str
) -> Callable[..., None]:
    """Make the intrinsic tile(out, base, a, w, i, j, at, vectors).

    It fills out[i : i + rows, j : j + vectors * register]. `place` says where in w it finds what
    it needs: in a "panel" of a packed w (P,) that begins at `at`; in the "columns" of w (K, N)
    that out has, read from the last row to the first where `at` is not 0; or in as many "rows" of
    w (N, K) as out has columns there.
    """

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = sig.args[0].dtype.bitwidth
        arguments = _arguments(context, builder, sig.args, args, place)
        done = builder.append_basic_block("done")
        choice = builder.switch(args[-1], done)
        for width in widths:
            block = builder.append_basic_block()
            choice.add_case(ir.Constant(SIZE, width), block)
            builder.position_at_end(block)
            whole = ir.Constant(SIZE, width * (VECTOR_BYTES * 8 // bits))
            fits = builder.icmp_signed(">=", arguments[-1], whole)
            edge, plain = _function(builder.module, write_body, rows, bits, width, True), None
            if rows > 1:
                plain = _function(builder.module, write_body, rows, bits, width, False)
            _call(builder, plain, edge, arguments, fits)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    @intrinsic
    def tile(
        _: Any, out: Any, base: Any, a: Any, w: Any, i: Any, j: Any, at: Any, vectors: Any
    ) -> Any:
        return types.void(out, base, a, w, *[types.intp] * 4), emit

    return tile  # type: ignore[no-any-return]


tile_many = _tile(_write_tile, ROWS, (1, 2), "panel")
tile_some = _tile(_write_tile, ROWS // 2, (1, 2), "panel")
tile_last = _tile(_write_tile, 1, (1, 2), "panel")
tile_row = _tile(_write_tile, 1, WIDTHS, "columns")
dots = _tile(_write_dots, 1, (1,), "rows")
