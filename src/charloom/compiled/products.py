"""Matrix products in registers.

numba has no matrix product of its own, and neither its loops nor BLAS suit a recurrent
step: the loops are not vectorised (LLVM cannot rule out that the arrays overlap), and BLAS
packs the weights anew at every time step. Here the innermost loop is written in LLVM's own
vector instructions, with R x C sums held in registers from the first k to the last:

    out[i:i+R, j:j+C] = base[i:i+R, j:j+C] + sum over k of a[i:i+R, k] w[k, j:j+C]

A product is a walk over such tiles. Where R or C does not divide the shape, the last tile
is moved back to end at the edge: what it covers twice comes out the same, because `out` is
never read. See Goto & van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication".
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from charloom.jit import kernel


def _machine() -> tuple[int, int, int]:
    """(bytes in a vector register, rows in a tile, registers in a wide row) for this CPU."""
    has = llvmlite.binding.get_host_cpu_features()
    if has.get("avx512f"):
        return 64, 8, 24  # 32 registers of 64 bytes: 16 sums, 2 of w, 1 of a; or 24 sums
    if has.get("avx2"):
        return 32, 4, 12  # 16 registers of 32 bytes
    return 16, 8, 24


VECTOR_BYTES, ROWS, WIDE = _machine()
FEW = 4  # rows below which dot products beat transposing the weights for `product`

_BYTES, _SIZE = ir.IntType(8).as_pointer(), ir.IntType(64)
# out, its row step, base, its row step, a, its row and column steps, w, its row step, K
_ARGUMENTS = [_BYTES, _SIZE, _BYTES, _SIZE, _BYTES, _SIZE, _SIZE, _BYTES, _SIZE, _SIZE]


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

    def call(self, name: str, result: ir.Type, *values: Any, flags: tuple[str, ...] = ()) -> Any:
        """Call the LLVM intrinsic of this name for this vector type."""
        kind = ir.FunctionType(result, [value.type for value in values])
        function = self.builder.module.declare_intrinsic(f"llvm.{name}.{self.suffix}", (), kind)
        return self.builder.call(function, values, fastmath=flags)

    def splat(self, value: Any) -> Any:
        undefined = ir.Constant(ir.VectorType(value.type, self.vector.count), ir.Undefined)
        index = ir.IntType(32)
        first = self.builder.insert_element(undefined, value, ir.Constant(index, 0))
        zeros = ir.Constant(ir.VectorType(index, self.vector.count), [0] * self.vector.count)
        return self.builder.shuffle_vector(first, undefined, zeros)

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
            phi.add_incoming(y, inside)
        builder.branch(head)
        builder.position_at_end(done)
        return values


def _write_tile(write: _Writer, arguments: Any, rows: int, vectors: int) -> None:
    out, out_step, base, base_step, a, a_row, a_column, w, w_step, K = arguments
    register = VECTOR_BYTES
    places = [(r, v) for r in range(rows) for v in range(vectors)]

    def add_outer(k: Any, sums: list[Any]) -> list[Any]:
        w_k = [write.load(w, write.vector, (k, w_step), (v, register)) for v in range(vectors)]
        a_k = [
            write.splat(write.load(a, write.scalar, (r, a_row), (k, a_column))) for r in range(rows)
        ]
        return [
            write.call("fma", write.vector, a_k[r], w_k[v], total)
            for (r, v), total in zip(places, sums, strict=True)
        ]

    begin = [write.load(base, write.vector, (r, base_step), (v, register)) for r, v in places]
    sums = write.loop(1, K, begin, add_outer)
    for (r, v), total in zip(places, sums, strict=True):
        write.store(total, out, (r, out_step), (v, register))
    write.builder.ret_void()


def _write_dots(write: _Writer, arguments: Any, rows: int, _: int) -> None:
    """One row of `out` only, by dot products of contiguous rows; K is at least a register."""
    out, _, base, _, a, _, _, w, w_step, K = arguments
    builder, item, count = write.builder, write.itemsize, write.vector.count

    def add_products(k: Any, sums: list[Any]) -> list[Any]:
        return fma_rows(write.load(a, write.vector, (k, item)), k, sums)

    def fma_rows(x: Any, k: Any, sums: list[Any]) -> list[Any]:
        ys = [write.load(w, write.vector, (r, w_step), (k, item)) for r in range(rows)]
        return [write.call("fma", write.vector, x, y, z) for y, z in zip(ys, sums, strict=True)]

    whole = builder.and_(K, ir.Constant(_SIZE, -count))
    begin = [ir.Constant(write.vector, [0.0] * count)] * rows
    sums = write.loop(count, whole, begin, add_products)
    # The last register ends at K; what of it is summed already is taken as zero.
    last = builder.sub(K, ir.Constant(_SIZE, count))
    done = write.splat(builder.sub(whole, last))
    place = ir.Constant(done.type, list(range(count)))
    x = write.load(a, write.vector, (last, item))
    x = builder.select(builder.icmp_signed(">=", place, done), x, begin[0])
    for r, total in enumerate(fma_rows(x, last, sums)):
        start = write.load(base, write.scalar, (r, item))
        dot = write.call("vector.reduce.fadd", write.scalar, start, total, flags=("reassoc",))
        write.store(dot, out, (r, item))
    builder.ret_void()


def _tile(write_body: Callable[..., None], rows: int, vectors: int) -> Callable[..., None]:
    """Make the intrinsic tile(out, base, a, w, i, j).

    Its body is a function of its own in the machine code, never inlined: the many places
    that call it stay small and compile fast.
    """

    def function(module: ir.Module, bits: int) -> ir.Function:
        name = f"charloom{write_body.__name__}_{rows}x{vectors}_f{bits}"
        if name in module.globals:
            return module.globals[name]
        new = ir.Function(module, ir.FunctionType(ir.VoidType(), _ARGUMENTS), name)
        new.linkage = "linkonce_odr"
        new.attributes.add("noinline")
        write_body(_Writer(new, bits), new.args, rows, vectors)
        return new

    @intrinsic
    def tile(_: Any, out: Any, base: Any, a: Any, w: Any, i: Any, j: Any) -> Any:
        signature = types.void(out, base, a, w, types.intp, types.intp)

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            kinds = zip(sig.args[:4], args[:4], strict=True)
            arrays = [context.make_array(kind)(context, builder, value) for kind, value in kinds]
            steps = [cgutils.unpack_tuple(builder, array.strides, 2) for array in arrays]
            i, j = args[4:]
            zero, one = ir.Constant(_SIZE, 0), ir.Constant(_SIZE, 1)
            # A base of one row serves every row of out, as in NumPy's broadcasting.
            base_rows = cgutils.unpack_tuple(builder, arrays[1].shape, 2)[0]
            one_row = builder.icmp_signed("==", base_rows, one)
            steps[1][0] = builder.select(one_row, zero, steps[1][0])
            by_row = write_body is _write_dots
            places = [(i, j), (i, j), (i, zero), (j, zero) if by_row else (zero, j)]
            pointers = []
            for array, (row, column), (row_step, column_step) in zip(
                arrays, places, steps, strict=True
            ):
                offset = builder.add(builder.mul(row, row_step), builder.mul(column, column_step))
                pointers.append(builder.gep(builder.bitcast(array.data, _BYTES), [offset]))
            K = cgutils.unpack_tuple(builder, arrays[2].shape, 2)[1]
            (out_p, base_p, a_p, w_p), (out_s, base_s, a_s, w_s) = pointers, steps
            builder.call(
                function(builder.module, sig.args[0].dtype.bitwidth),
                [out_p, out_s[0], base_p, base_s[0], a_p, a_s[0], a_s[1], w_p, w_s[0], K],
            )
            return context.get_dummy_value()

        return signature, emit

    return tile  # type: ignore[no-any-return]


_block_2, _block_1 = _tile(_write_tile, ROWS, 2), _tile(_write_tile, ROWS, 1)
_half_2, _half_1 = _tile(_write_tile, ROWS // 2, 2), _tile(_write_tile, ROWS // 2, 1)
_row_wide, _row_8 = _tile(_write_tile, 1, WIDE), _tile(_write_tile, 1, 8)
_row_4, _row_1 = _tile(_write_tile, 1, 4), _tile(_write_tile, 1, 1)
_dots_8, _dots_1 = _tile(_write_dots, 8, 1), _tile(_write_dots, 1, 1)


@kernel
def product(out: Any, base: Any, a: Any, w: Any) -> None:
    """out (M, N) = base (M, N) or (1, >= N) + a (M, K) @ w (K, N).

    `out` shares memory with no other argument. `out`, `base` and `w` have contiguous rows;
    `a` may be a transposed view.
    """
    M, N = out.shape
    width = VECTOR_BYTES // out.itemsize
    if N < width:
        _narrow(out, base, a, w)
    elif M < ROWS // 2:
        for i in range(M):
            _row(out, base, a, w, i)
    else:
        registers = 2 if N >= 2 * width else 1
        for j in range(0, N, registers * width):
            if registers == 2 and N - j > width:
                _panel(out, base, a, w, min(j, N - 2 * width), True)
            else:
                _panel(out, base, a, w, min(j, N - width), False)


@kernel
def _panel(out: Any, base: Any, a: Any, w: Any, j: int, two: bool) -> None:
    """Columns j : j + C of a product with at least ROWS / 2 rows; C is two registers or one."""
    M = out.shape[0]
    i = 0
    while i < M:
        if M - i > ROWS // 2 and M >= ROWS:
            first = min(i, M - ROWS)
            if two:
                _block_2(out, base, a, w, first, j)
            else:
                _block_1(out, base, a, w, first, j)
            i += ROWS
        else:
            first = min(i, M - ROWS // 2)
            if two:
                _half_2(out, base, a, w, first, j)
            else:
                _half_1(out, base, a, w, first, j)
            i += ROWS // 2


@kernel
def _row(out: Any, base: Any, a: Any, w: Any, i: int) -> None:
    N = out.shape[1]
    width = VECTOR_BYTES // out.itemsize
    j = 0
    while j < N:
        left = N - j
        if left >= WIDE * width:
            _row_wide(out, base, a, w, i, j)
            j += WIDE * width
        elif left > 4 * width and N >= 8 * width:
            _row_8(out, base, a, w, i, min(j, N - 8 * width))
            j += 8 * width
        elif left > width and N >= 4 * width:
            _row_4(out, base, a, w, i, min(j, N - 4 * width))
            j += 4 * width
        else:
            _row_1(out, base, a, w, i, min(j, N - width))
            j += width


@kernel
def _narrow(out: Any, base: Any, a: Any, w: Any) -> None:
    step = 0 if base.shape[0] == 1 else 1
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            total = base[step * i, j]
            for k in range(w.shape[0]):
                total += a[i, k] * w[k, j]
            out[i, j] = total


@kernel
def copy(out: Any, x: Any) -> None:
    """out (M, N) = x (M, N)."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = x[i, j]


@kernel
def transpose_for(out: Any, w: Any, M: int) -> None:
    """out (K, N) = w (N, K).T, if `back_product` with M rows wants it; it must come first."""
    if M >= FEW:
        for i in range(w.shape[0]):
            for j in range(w.shape[1]):
                out[j, i] = w[i, j]


@kernel
def back_product(out: Any, base: Any, a: Any, w: Any, wT: Any) -> None:
    """out (M, N) = base + a (M, K) @ w (N, K).T, given wT (K, N) from `transpose_for`.

    With few rows each number is a dot product of two contiguous rows; with many, w is
    read less often as `product` does it.
    """
    M, N = out.shape
    if M >= FEW:
        product(out, base, a, wT)
        return
    for i in range(M):
        if a.shape[1] < VECTOR_BYTES // out.itemsize:
            for j in range(N):
                total = base[0 if base.shape[0] == 1 else i, j]
                for k in range(a.shape[1]):
                    total += a[i, k] * w[j, k]
                out[i, j] = total
        elif N < 8:
            for j in range(N):
                _dots_1(out, base, a, w, i, j)
        else:
            for j in range(0, N, 8):
                _dots_8(out, base, a, w, i, min(j, N - 8))
