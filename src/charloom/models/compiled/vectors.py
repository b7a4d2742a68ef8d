"""Functions written in LLVM's own vector instructions, for tiles.py and layouts.py.

numba's loops are vectorised only if LLVM can prove that no arrays overlap; what is written here
is vectorised because it says so. Kernels call such functions through `Written`, and pass
them addresses and steps in bytes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from charloom.models.compiled.units import WORD as SIZE
from charloom.models.compiled.units import Cells


def _machine() -> tuple[int, int]:
    """Return (bytes in a vector register, rows in a tile) for this CPU."""
    has = llvmlite.binding.get_host_cpu_features()
    if has.get("avx512f"):
        return 64, 8  # 32 registers of 64 bytes: 16 sums, 2 of B, 1 of A
    if has.get("avx2"):
        return 32, 4  # 16 registers of 32 bytes
    return 16, 8


VECTOR_BYTES, ROWS = _machine()
_BYTES, _INDEX = ir.IntType(8).as_pointer(), ir.IntType(32)


class Writer:
    """Writes the body of one function; its arguments are integers: addresses, steps, counts."""

    def __init__(self, function: ir.Function, bits: int):
        self.builder = ir.IRBuilder(function.append_basic_block())
        self.itemsize = bits // 8
        self.scalar: ir.Type = ir.FloatType() if bits == 32 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, VECTOR_BYTES // self.itemsize)
        self.suffix = f"v{self.vector.count}f{bits}"

    def pointer(self, address: Any, kind: ir.Type, *steps: tuple[Any, Any]) -> Any:
        """Return `address` moved by count x bytes for each of `steps`, as a pointer to `kind`."""
        pointer = self.builder.inttoptr(address, _BYTES)
        for count, step in steps:
            size = ir.Constant(SIZE, step) if isinstance(step, int) else step
            times = ir.Constant(SIZE, count) if isinstance(count, int) else count
            pointer = self.builder.gep(pointer, [self.builder.mul(times, size)])
        return self.builder.bitcast(pointer, kind.as_pointer())

    def load(self, address: Any, kind: ir.Type, *steps: tuple[Any, Any]) -> Any:
        """Load a number or a register, which need not be aligned."""
        value = self.builder.load(self.pointer(address, kind, *steps))
        value.align = self.itemsize
        return value

    def store(self, value: Any, address: Any, *steps: tuple[Any, Any]) -> None:
        """Store a number or a register, which need not be aligned."""
        pointer = self.pointer(address, value.type, *steps)
        self.builder.store(value, pointer).align = self.itemsize

    def mask(self, left: Any, vector: int) -> Any:
        """Return which places of this register of a row lie before its end, `left` numbers away."""
        count = self.vector.count
        kind = ir.VectorType(SIZE, count)
        places = ir.Constant(kind, [vector * count + place for place in range(count)])
        return self.builder.icmp_signed("<", places, self.splat(left))

    def load_masked(self, mask: Any, address: Any, *steps: tuple[Any, Any]) -> Any:
        """Load a register; where the mask is off, memory is not touched and 0 is read."""
        pointer, zero = self.pointer(address, self.vector, *steps), self.zeros()
        name = f"llvm.masked.load.{self.suffix}.p0{self.suffix}"
        align = ir.Constant(_INDEX, self.itemsize)
        return self.call(name, self.vector, pointer, align, mask, zero)

    def store_masked(self, value: Any, mask: Any, address: Any, *steps: tuple[Any, Any]) -> None:
        """Store a register; where the mask is off, memory is not touched."""
        pointer, align = self.pointer(address, self.vector, *steps), self.itemsize
        name = f"llvm.masked.store.{self.suffix}.p0{self.suffix}"
        self.call(name, ir.VoidType(), value, pointer, ir.Constant(_INDEX, align), mask)

    def prefetch(self, level: int, address: Any, *steps: tuple[Any, Any]) -> None:
        """Ask for the line at `address` moved by steps, for the first- or second-level cache."""
        flags = (ir.Constant(_INDEX, flag) for flag in (0, 4 - level, 1))  # to read, of data
        place = self.pointer(address, ir.IntType(8), *steps)
        self.call("llvm.prefetch.p0i8", ir.VoidType(), place, *flags)

    def fma(self, x: Any, y: Any, total: Any) -> Any:
        """Return x y + total, rounded once."""
        return self.call(f"llvm.fma.{self.suffix}", self.vector, x, y, total)

    def call(self, name: str, result: ir.Type, *arguments: Any) -> Any:
        """Call a function of LLVM's own by its name."""
        module = self.builder.module
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        known = module.globals.get(name) or ir.Function(module, kind, name)
        return self.builder.call(known, arguments)

    def zeros(self) -> Any:
        """Return a register of zeros."""
        return ir.Constant(self.vector, [0.0] * self.vector.count)

    def shuffle(self, x: Any, y: Any, places: list[int]) -> Any:
        """Return a register of these places of x, or, from its count of places on, of y."""
        mask = ir.Constant(ir.VectorType(_INDEX, len(places)), places)
        return self.builder.shuffle_vector(x, y, mask)

    def transpose(self, lines: list[Any]) -> list[Any]:
        """Return the columns of as many registers as one has places.

        Round after round, registers a bit apart change the places where their numbers' bits differ.
        """
        lines, count, bit = [*lines], len(lines), 1
        while bit < count:
            low = [p if not p & bit else (p ^ bit) + count for p in range(count)]
            high = [p + count if p & bit else p ^ bit for p in range(count)]
            for r in range(count):
                if not r & bit:
                    x, y = lines[r], lines[r | bit]
                    lines[r], lines[r | bit] = self.shuffle(x, y, low), self.shuffle(x, y, high)
            bit *= 2
        return lines

    def splat(self, value: Any) -> Any:
        """Return a register with a number in every place."""
        undefined = ir.Constant(ir.VectorType(value.type, self.vector.count), ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(_INDEX, 0))
        return self.shuffle(first, undefined, [0] * self.vector.count)

    def loop(
        self, step: int, end: Any, begin: list[Any], body: Callable[[Any, list[Any]], list[Any]]
    ) -> list[Any]:
        """Write `for k in range(0, end, step): values = body(k, values)`; the last values."""
        builder = self.builder
        entry = builder.block
        head, inside, done = (builder.append_basic_block(n) for n in ("head", "inside", "done"))
        builder.branch(head)
        builder.position_at_end(head)
        k = builder.phi(SIZE)
        values = [builder.phi(value.type) for value in begin]
        builder.cbranch(builder.icmp_signed("<", k, end), inside, done)
        builder.position_at_end(inside)
        after = [builder.add(k, ir.Constant(SIZE, step)), *body(k, values)]
        before = [ir.Constant(SIZE, 0), *begin]
        for phi, x, y in zip([k, *values], before, after, strict=True):
            phi.add_incoming(x, entry)
            phi.add_incoming(y, builder.block)
        builder.branch(head)
        builder.position_at_end(done)
        return values


class Written:
    """Functions that are written by hand; which one is called is said by a number, its key.

    `call(zero, key, arguments)` is for kernels: it runs what bodies[key] writes. `zero` is a
    number of the type that it works in, `arguments` a tuple of integers, `count` of them, which the
    body gets as LLVM values. It relies on `put_in_place`.
    """

    def __init__(
        self, name: str, count: int, bodies: Mapping[int, Callable[[Writer, list[Any]], None]]
    ) -> None:
        self._name, self._count, self._bodies = name, count, bodies
        self._cells = cells = Cells(name, max(bodies) + 1)

        @intrinsic
        def call(_: Any, zero: Any, key: Any, arguments: Any) -> Any:
            def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                values = [builder.extract_value(args[2], k) for k in range(count)]
                cells.call(builder, zero.bitwidth, args[1], values)
                return context.get_dummy_value()

            integers = types.UniTuple(types.int64, count)
            return types.void(zero, types.int64, integers), emit

        self.call = call

    def write(self, builder: ir.IRBuilder, bits: int) -> None:
        """Write the functions, and in place what puts their addresses into cells."""
        for key, body in self._bodies.items():
            kind = ir.FunctionType(ir.VoidType(), [SIZE] * self._count)
            function = ir.Function(builder.module, kind, f"charloom_{self._name}_{key}_f{bits}")
            function.linkage = "internal"
            writer = Writer(function, bits)
            body(writer, list(function.args))
            writer.builder.ret_void()
            place = self._cells.pointer(builder, bits, ir.Constant(SIZE, key))
            builder.store(function.ptrtoint(SIZE), place)


def put_in_place(*groups: Written) -> Any:
    """Return what a unit calls with `zero` to have all of these compiled, and known to kernels."""

    @intrinsic
    def put(_: Any, zero: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            for group in groups:
                group.write(builder, zero.bitwidth)
            return context.get_dummy_value()

        return types.void(zero), emit

    return put
