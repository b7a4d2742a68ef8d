"""Functions that are compiled once, by themselves, and called at their address.

What numba's kernels call becomes part of their machine code, is compiled anew for each of them,
and whether it is needed or not. A unit is compiled when it is needed for the first time
(`get_ready`), for one type of numbers. From then on its address lies in a cell of memory, which
kernels know by name. It takes integers alone: addresses, steps, counts.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import DTypeLike

from charloom.models.jit import address_of_code

WORD = ir.IntType(64)
_C_TYPES = {32: ctypes.c_float, 64: ctypes.c_double}


class Cells:
    """Words of memory, known to machine code as a symbol of this name, one for each type."""

    def __init__(self, name: str, count: int) -> None:
        self._name, self._kind = name, ir.ArrayType(WORD, count)
        self.words = {bits: (ctypes.c_uint64 * count)() for bits in (32, 64)}
        for bits, words in self.words.items():
            llvmlite.binding.add_symbol(self._symbol(bits), ctypes.addressof(words))

    def _symbol(self, bits: int) -> str:
        return f"charloom_{self._name}_f{bits}"

    def pointer(self, builder: ir.IRBuilder, bits: int, index: Any) -> Any:
        """Write where the cell of this index lies."""
        name, module = self._symbol(bits), builder.module
        cells = module.globals.get(name) or ir.GlobalVariable(module, self._kind, name)
        return builder.gep(cells, [ir.Constant(WORD, 0), index])

    def call(self, builder: ir.IRBuilder, bits: int, index: Any, arguments: list[Any]) -> None:
        """Write a call to the function whose address is in a cell."""
        _call(builder, builder.load(self.pointer(builder, bits, index)), arguments)


def _call(builder: ir.IRBuilder, address: Any, arguments: list[Any]) -> None:
    kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    builder.call(builder.inttoptr(address, kind.as_pointer()), arguments)


class Unit:
    """A function (zero, place, turn): a number of the type to compute in, where integers lie.

    `turn` counts time steps (see products.py). `call(zero, integers, turn)` is for other units, of
    which it is one of the `needs`; for programs see program.py. A unit that `prepares` is called
    once when it is compiled, with no integers.
    """

    def __init__(
        self, function: Callable[..., None], *needs: "Unit", prepares: bool = False
    ) -> None:
        name = f"{function.__module__.rpartition('.')[2]}_{function.__name__}"
        self._function, self._needs, self._prepares = function, needs, prepares
        self._cells = Cells(name, 1)
        self.call = _caller(self._cells)

    def get_ready(self, dtype: DTypeLike) -> int:
        """Return its address for numbers of this type; first compile it, and what it needs."""
        bits = 8 * np.dtype(dtype).itemsize
        cell = self._cells.words[bits]
        if cell[0]:
            return int(cell[0])
        for unit in self._needs:
            unit.get_ready(dtype)
        zero = types.float32 if bits == 32 else types.float64
        address = address_of_code(self._function, (zero, types.int64, types.int64))
        if self._prepares:
            kind = ctypes.CFUNCTYPE(None, _C_TYPES[bits], ctypes.c_int64, ctypes.c_int64)
            kind(address)(0, 0, 0)
        cell[0] = address
        return address


def _caller(cells: Cells) -> Any:
    @intrinsic
    def call(_: Any, zero: Any, integers: Any, turn: Any) -> Any:
        count = len(integers)

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            with builder.goto_entry_block():
                room = builder.alloca(ir.ArrayType(WORD, count))
            for k in range(count):
                place = builder.gep(room, [ir.Constant(WORD, 0), ir.Constant(WORD, k)])
                builder.store(builder.extract_value(args[1], k), place)
            first, word = ir.Constant(WORD, 0), builder.ptrtoint(room, WORD)
            cells.call(builder, zero.bitwidth, first, [args[0], word, args[2]])
            return context.get_dummy_value()

        return types.void(zero, types.UniTuple(types.int64, count), types.int64), emit

    return call


@intrinsic(prefer_literal=True)
def integers_at(_: Any, place: Any, count: Any) -> Any:
    """Return the tuple of so many integers, a constant, that lie there."""
    size = count.literal_value
    kind = types.UniTuple(types.int64, size)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = builder.inttoptr(args[0], WORD.as_pointer())
        words = [builder.load(builder.gep(first, [ir.Constant(WORD, k)])) for k in range(size)]
        return context.make_tuple(builder, kind, words)

    return kind(place, count), emit


@intrinsic
def address_of(_: Any, array: Any) -> Any:
    """Return where the first element of an array lies."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.ptrtoint(view.data, WORD)

    return types.int64(array), emit


@intrinsic
def bytes_of(_: Any, zero: Any) -> Any:
    """Return how many bytes a number of this type takes."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(WORD, zero.bitwidth // 8)

    return types.int64(zero), emit


@intrinsic
def call_at(_: Any, zero: Any, address: Any, place: Any, turn: Any) -> Any:
    """Call the unit at `address`, whose integers lie at `place`."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first, code, *rest = args
        _call(builder, code, [first, *rest])
        return context.get_dummy_value()

    return types.void(zero, types.int64, types.int64, types.int64), emit
