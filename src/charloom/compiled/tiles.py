"""The innermost loops of products.py, in LLVM's own vector instructions.

A tile is written once for each shape as a function of its own in the machine code, never
inlined: the many places that call it stay small and compile fast.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


def _machine() -> tuple[int, int]:
    """(bytes in a vector register, rows in a tile) for this CPU."""
    has = llvmlite.binding.get_host_cpu_features()
    if has.get("avx512f"):
        return 64, 8  # 32 registers of 64 bytes: 16 sums, 2 of w, 1 of a
    if has.get("avx2"):
        return 32, 4  # 16 registers of 32 bytes
    return 16, 8


VECTOR_BYTES, ROWS = _machine()
# Registers that a tile of one row may be wide.
WIDTHS = (1, 2, 4, 7, 10, 13, 16) if VECTOR_BYTES == 64 else (1, 2, 4, 8, 12)

_BYTES, _SIZE, _INDEX = ir.IntType(8).as_pointer(), ir.IntType(64), ir.IntType(32)
# out, row step, base, row step, a, row and column steps, w, row step, K, columns left of out
_ARGUMENTS = [_BYTES, _SIZE, _BYTES, _SIZE, _BYTES, _SIZE, _SIZE, _BYTES, _SIZE, _SIZE, _SIZE]


class _Writer:
    """Writes one tile's function: addresses are a pointer plus whole steps in bytes."""

    def __init__(self, function: ir.Function, bits: int):
        self.builder = ir.IRBuilder(function.append_basic_block())
        self.itemsize = bits // 8
        self.scalar: ir.Type = ir.FloatType() if bits == 32 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, VECTOR_BYTES // self.itemsize)
        self.suffix = f"v{self.vector.count}f{bits}"

    def address(self, pointer: Any, kind: ir.Type, *steps: tuple[Any, Any]) -> Any:
        for count, step in steps:
            size = ir.Constant(_SIZE, step) if isinstance(step, int) else step
            times = ir.Constant(_SIZE, count) if isinstance(count, int) else count
            pointer = self.builder.gep(pointer, [self.builder.mul(times, size)])
        return self.builder.bitcast(pointer, kind.as_pointer())

    def load(self, pointer: Any, kind: ir.Type, *steps: tuple[Any, Any]) -> Any:
        value = self.builder.load(self.address(pointer, kind, *steps))
        value.align = self.itemsize
        return value

    def store(self, value: Any, pointer: Any, *steps: tuple[Any, Any]) -> None:
        place = self.address(pointer, value.type, *steps)
        self.builder.store(value, place).align = self.itemsize

    def mask(self, left: Any, vector: int) -> Any:
        """Which places of this register of a row lie before its end, `left` numbers away."""
        count = self.vector.count
        kind = ir.VectorType(_SIZE, count)
        places = ir.Constant(kind, [vector * count + place for place in range(count)])
        return self.builder.icmp_signed("<", places, self.splat(left))

    def load_masked(self, mask: Any, pointer: Any, *steps: tuple[Any, Any]) -> Any:
        """Load a register; where the mask is off, memory is not touched and 0 is read."""
        place, zero = self.address(pointer, self.vector, *steps), self.zeros()
        align = ir.Constant(_INDEX, self.itemsize)
        kind = ir.FunctionType(self.vector, [place.type, _INDEX, mask.type, self.vector])
        name = f"llvm.masked.load.{self.suffix}.p0{self.suffix}"
        return self.builder.call(self._intrinsic(name, kind), [place, align, mask, zero])

    def store_masked(self, value: Any, mask: Any, pointer: Any, *steps: tuple[Any, Any]) -> None:
        place = self.address(pointer, self.vector, *steps)
        align = ir.Constant(_INDEX, self.itemsize)
        kind = ir.FunctionType(ir.VoidType(), [self.vector, place.type, _INDEX, mask.type])
        name = f"llvm.masked.store.{self.suffix}.p0{self.suffix}"
        self.builder.call(self._intrinsic(name, kind), [value, place, align, mask])

    def _intrinsic(self, name: str, kind: ir.FunctionType) -> Any:
        known = self.builder.module.globals
        return known[name] if name in known else ir.Function(self.builder.module, kind, name)

    def fma(self, x: Any, y: Any, total: Any) -> Any:
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        return self.builder.call(self._intrinsic(f"llvm.fma.{self.suffix}", kind), [x, y, total])

    def zeros(self) -> Any:
        return ir.Constant(self.vector, [0.0] * self.vector.count)

    def shuffle(self, x: Any, y: Any, places: list[int]) -> Any:
        mask = ir.Constant(ir.VectorType(_INDEX, len(places)), places)
        return self.builder.shuffle_vector(x, y, mask)

    def splat(self, value: Any) -> Any:
        undefined = ir.Constant(ir.VectorType(value.type, self.vector.count), ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(_INDEX, 0))
        return self.shuffle(first, undefined, [0] * self.vector.count)

    def loop(
        self, step: int, end: Any, begin: list[Any], body: Callable[[Any, list[Any]], list[Any]]
    ) -> list[Any]:
        """`for k in range(0, end, step): values = body(k, values)`; the last values."""
        builder = self.builder
        entry = builder.block
        head, inside, done = (builder.append_basic_block(n) for n in ("head", "inside", "done"))
        builder.branch(head)
        builder.position_at_end(head)
        k = builder.phi(_SIZE)
        values = [builder.phi(value.type) for value in begin]
        builder.cbranch(builder.icmp_signed("<", k, end), inside, done)
        builder.position_at_end(inside)
        after = [builder.add(k, ir.Constant(_SIZE, step)), *body(k, values)]
        before = [ir.Constant(_SIZE, 0), *begin]
        for phi, x, y in zip([k, *values], before, after, strict=True):
            phi.add_incoming(x, entry)
            phi.add_incoming(y, builder.block)
        builder.branch(head)
        builder.position_at_end(done)
        return values


def _write_tile(write: _Writer, arguments: Any, rows: int, vectors: int, edge: bool) -> None:
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


def _write_dots(write: _Writer, arguments: Any, rows: int, vectors: int, edge: bool) -> None:
    """A register of out: dot products of one row of `a` with as many contiguous rows of w."""
    out, _, base, _, a, _, _, w, w_step, K, _ = arguments
    builder, item, count = write.builder, write.itemsize, write.vector.count
    whole = builder.and_(K, ir.Constant(_SIZE, -count))
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


def _sums_of(write: _Writer, vectors: list[Any]) -> Any:
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


def _write_copy(write: _Writer, arguments: Any) -> None:
    """Copy the first `step` columns of a, row after row without a gap; zeros beyond its end."""
    a, a_row, rows, columns, to, step = arguments
    builder, item, count = write.builder, write.itemsize, write.vector.count

    def copy_row(k: Any, _: list[Any]) -> list[Any]:
        def copy_register(c: Any, _: list[Any]) -> list[Any]:
            mask = write.mask(builder.sub(columns, c), 0)
            value = write.load_masked(mask, a, (k, a_row), (c, item))
            write.store(value, to, (builder.add(builder.mul(k, step), c), item))
            return []

        return write.loop(count, step, [], copy_register)

    write.loop(1, rows, [], copy_row)
    builder.ret_void()


def _write_transpose(write: _Writer, arguments: Any) -> None:
    """A register's count of rows of a become columns of rows that are `step` numbers apart.

    By blocks of as many columns: round after round, rows a bit apart change the places
    where their numbers' bits differ.
    """
    a, a_row, rows, columns, to, step = arguments
    builder, item, count = write.builder, write.itemsize, write.vector.count

    def block(k: Any, _: list[Any]) -> list[Any]:
        left = builder.sub(columns, k)
        mask = write.mask(left, 0)
        lines = []
        for r in range(count):
            there = write.splat(builder.icmp_signed("<", ir.Constant(_SIZE, r), rows))
            both = builder.and_(mask, there)
            lines.append(write.load_masked(both, a, (r, a_row), (k, item)))
        bit = 1
        while bit < count:
            low = [p if not p & bit else (p ^ bit) + count for p in range(count)]
            high = [p + count if p & bit else p ^ bit for p in range(count)]
            for r in range(count):
                if not r & bit:
                    x, y = lines[r], lines[r | bit]
                    lines[r], lines[r | bit] = write.shuffle(x, y, low), write.shuffle(x, y, high)
            bit *= 2
        for c, line in enumerate(lines):
            there = write.splat(builder.icmp_signed("<", ir.Constant(_SIZE, c), left))
            place = builder.mul(builder.add(k, ir.Constant(_SIZE, c)), step)
            write.store_masked(line, there, to, (place, item))
        return []

    write.loop(count, columns, [], block)
    builder.ret_void()


def _new_function(module: ir.Module, name: str, arguments: list[ir.Type]) -> ir.Function:
    new = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    new.linkage = "linkonce_odr"
    new.attributes.add("noinline")
    return new


def _packer(write_body: Callable[[_Writer, Any], None]) -> Callable[..., None]:
    """Make the intrinsic of a way to lay out a[row:, column:] from packed[to] on."""

    def function(module: ir.Module, bits: int) -> ir.Function:
        name = f"charloom{write_body.__name__}_f{bits}"
        if name in module.globals:
            return module.globals[name]
        new = _new_function(module, name, [_BYTES, _SIZE, _SIZE, _SIZE, _BYTES, _SIZE])
        write_body(_Writer(new, bits), new.args)
        return new

    @intrinsic
    def lay_out(_: Any, a: Any, packed: Any, row: Any, column: Any, to: Any, step: Any) -> Any:
        signature = types.void(a, packed, *[types.intp] * 4)

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            row, column, to, step = args[2:]
            kinds = zip(sig.args[:2], args[:2], strict=True)
            source, target = [context.make_array(k)(context, builder, value) for k, value in kinds]
            a_row, a_column = cgutils.unpack_tuple(builder, source.strides)
            rows, columns = cgutils.unpack_tuple(builder, source.shape)
            (item,) = cgutils.unpack_tuple(builder, target.strides)
            at = builder.bitcast(source.data, _BYTES)
            at = builder.gep(at, [builder.mul(row, a_row)])
            at = builder.gep(at, [builder.mul(column, a_column)])
            there = builder.gep(builder.bitcast(target.data, _BYTES), [builder.mul(to, item)])
            left = [builder.sub(rows, row), builder.sub(columns, column)]
            callee = function(builder.module, sig.args[0].dtype.bitwidth)
            builder.call(callee, [at, a_row, *left, there, step])
            return context.get_dummy_value()

        return signature, emit

    return lay_out  # type: ignore[no-any-return]


def _tile(
    write_body: Callable[..., None], rows: int, widths: tuple[int, ...], place: str
) -> Callable[..., None]:
    """Make the intrinsic tile(out, base, a, w, i, j, at, vectors).

    It fills out[i : i + rows, j : j + vectors * register]. `place` says where in w it finds what
    it needs: in a "panel" of a packed w (P,) that begins at `at`; in the "columns" of w (K, N)
    that out has, read from the last row to the first where `at` is not 0; or in as many "rows" of
    w (N, K) as out has columns there.
    """
    masked = (True,) if rows == 1 else (False, True)

    def function(module: ir.Module, bits: int, vectors: int, edge: bool) -> ir.Function:
        name = f"charloom{write_body.__name__}_{rows}x{vectors}_{'edge' if edge else ''}f{bits}"
        if name in module.globals:
            return module.globals[name]
        new = _new_function(module, name, _ARGUMENTS)
        write_body(_Writer(new, bits), new.args, rows, vectors, edge)
        return new

    def choose(builder: Any, bits: int, arguments: list[Any], vectors: Any) -> None:
        """Call the function for so many registers."""
        done = builder.append_basic_block("done")
        choice = builder.switch(vectors, done)
        for width in widths:
            block = builder.append_basic_block()
            choice.add_case(ir.Constant(_SIZE, width), block)
            builder.position_at_end(block)
            whole = ir.Constant(_SIZE, width * (VECTOR_BYTES * 8 // bits))
            fits = builder.icmp_signed(">=", arguments[-1], whole)
            callees = [function(builder.module, bits, width, edge) for edge in masked]
            if len(callees) == 2:
                with builder.if_else(fits) as (then, otherwise):
                    with then:
                        builder.call(callees[0], arguments)
                    with otherwise:
                        builder.call(callees[1], arguments)
            else:
                builder.call(callees[0], arguments)
            builder.branch(done)
        builder.position_at_end(done)

    @intrinsic
    def tile(
        _: Any, out: Any, base: Any, a: Any, w: Any, i: Any, j: Any, at: Any, vectors: Any
    ) -> Any:
        signature = types.void(out, base, a, w, *[types.intp] * 4)

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            i, j, at, vectors = args[4:]
            kinds = zip(sig.args[:4], args[:4], strict=True)
            arrays = [context.make_array(kind)(context, builder, value) for kind, value in kinds]
            steps = [cgutils.unpack_tuple(builder, array.strides) for array in arrays]
            zero, one = ir.Constant(_SIZE, 0), ir.Constant(_SIZE, 1)
            base_rows = cgutils.unpack_tuple(builder, arrays[1].shape)[0]
            # A base of one row serves every row of out, as in NumPy's broadcasting.
            one_row = builder.icmp_signed("==", base_rows, one)
            steps[1][0] = builder.select(one_row, zero, steps[1][0])

            def pointer(array: int, *places: Any) -> Any:
                at = builder.bitcast(arrays[array].data, _BYTES)
                for index, step in zip(places, steps[array], strict=False):
                    at = builder.gep(at, [builder.mul(index, step)])
                return at

            K = cgutils.unpack_tuple(builder, arrays[2].shape)[1]
            left = builder.sub(cgutils.unpack_tuple(builder, arrays[0].shape)[1], j)
            a_step, first = steps[2][1], zero
            if place == "panel":
                w_pointer = pointer(3, at)
                w_step = builder.mul(vectors, ir.Constant(_SIZE, VECTOR_BYTES))
            elif place == "rows":
                w_pointer, w_step = pointer(3, j), steps[3][0]
            else:
                back = builder.icmp_signed("!=", at, zero)
                first = builder.select(back, builder.sub(K, one), zero)
                w_pointer = pointer(3, first, j)
                w_step, a_step = (
                    builder.select(back, builder.neg(step), step) for step in (steps[3][0], a_step)
                )
            arguments = [
                *(pointer(0, i, j), steps[0][0], pointer(1, i, j), steps[1][0]),
                *(pointer(2, i, first), steps[2][0], a_step, w_pointer, w_step, K, left),
            ]
            choose(builder, sig.args[0].dtype.bitwidth, arguments, vectors)
            return context.get_dummy_value()

        return signature, emit

    return tile  # type: ignore[no-any-return]


tile_many = _tile(_write_tile, ROWS, (1, 2), "panel")
tile_some = _tile(_write_tile, ROWS // 2, (1, 2), "panel")
tile_last = _tile(_write_tile, 1, (1, 2), "panel")
tile_row = _tile(_write_tile, 1, WIDTHS, "columns")
dots = _tile(_write_dots, 1, (1,), "rows")
copy_columns = _packer(_write_copy)
transpose_rows = _packer(_write_transpose)
