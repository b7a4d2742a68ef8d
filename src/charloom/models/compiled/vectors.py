"""Writing functions in LLVM's own vector instructions, for tiles.py and layouts.py.

numba's loops are vectorised only where LLVM can prove that no arrays overlap; what is written
here is vectorised because it says so.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir


def _machine() -> tuple[int, int]:
    """(bytes in a vector register, rows in a tile) for this CPU."""
    has = llvmlite.binding.get_host_cpu_features()
    if has.get("avx512f"):
        return 64, 8  # 32 registers of 64 bytes: 16 sums, 2 of w, 1 of a
    if has.get("avx2"):
        return 32, 4  # 16 registers of 32 bytes
    return 16, 8


VECTOR_BYTES, ROWS = _machine()
BYTES, SIZE, _INDEX = ir.IntType(8).as_pointer(), ir.IntType(64), ir.IntType(32)


class Writer:
    """Writes one tile's function: addresses are a pointer plus whole steps in bytes."""

    def __init__(self, function: ir.Function, bits: int):
        self.builder = ir.IRBuilder(function.append_basic_block())
        self.itemsize = bits // 8
        self.scalar: ir.Type = ir.FloatType() if bits == 32 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, VECTOR_BYTES // self.itemsize)
        self.suffix = f"v{self.vector.count}f{bits}"

    def address(self, pointer: Any, kind: ir.Type, *steps: tuple[Any, Any]) -> Any:
        """Return `pointer` moved by count x bytes for each of `steps`, as a pointer to `kind`."""
        for count, step in steps:
            size = ir.Constant(SIZE, step) if isinstance(step, int) else step
            times = ir.Constant(SIZE, count) if isinstance(count, int) else count
            pointer = self.builder.gep(pointer, [self.builder.mul(times, size)])
        return self.builder.bitcast(pointer, kind.as_pointer())

    def load(self, pointer: Any, kind: ir.Type, *steps: tuple[Any, Any]) -> Any:
        """Load a number or a register, which need not be aligned."""
        value = self.builder.load(self.address(pointer, kind, *steps))
        value.align = self.itemsize
        return value

    def store(self, value: Any, pointer: Any, *steps: tuple[Any, Any]) -> None:
        """Store a number or a register, which need not be aligned."""
        place = self.address(pointer, value.type, *steps)
        self.builder.store(value, place).align = self.itemsize

    def mask(self, left: Any, vector: int) -> Any:
        """Which places of this register of a row lie before its end, `left` numbers away."""
        count = self.vector.count
        kind = ir.VectorType(SIZE, count)
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
        """Store a register; where the mask is off, memory is not touched."""
        place = self.address(pointer, self.vector, *steps)
        align = ir.Constant(_INDEX, self.itemsize)
        kind = ir.FunctionType(ir.VoidType(), [self.vector, place.type, _INDEX, mask.type])
        name = f"llvm.masked.store.{self.suffix}.p0{self.suffix}"
        self.builder.call(self._intrinsic(name, kind), [value, place, align, mask])

    def _intrinsic(self, name: str, kind: ir.FunctionType) -> Any:
        known = self.builder.module.globals
        return known[name] if name in known else ir.Function(self.builder.module, kind, name)

    def fma(self, x: Any, y: Any, total: Any) -> Any:
        """Return x y + total, rounded once."""
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        return self.builder.call(self._intrinsic(f"llvm.fma.{self.suffix}", kind), [x, y, total])

    def zeros(self) -> Any:
        """Return a register of zeros."""
        return ir.Constant(self.vector, [0.0] * self.vector.count)

    def shuffle(self, x: Any, y: Any, places: list[int]) -> Any:
        """Return a register of these places of x, or, from its count of places on, of y."""
        mask = ir.Constant(ir.VectorType(_INDEX, len(places)), places)
        return self.builder.shuffle_vector(x, y, mask)

    def splat(self, value: Any) -> Any:
        """Return a register with a number in every place."""
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


def new_function(module: ir.Module, name: str, arguments: list[ir.Type]) -> ir.Function:
    """Begin a function that is never inlined: the many places that call it compile fast."""
    new = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    new.linkage = "linkonce_odr"
    new.attributes.add("noinline")
    return new
