"""Numbers too small for a float32's full precision, below 1e-38, become 0 while kernels compute.

A processor takes a hundred times as long for one, and nothing is learned from it. What is normal
keeps every bit. This is a setting of the processor for each thread (the bits FTZ and DAZ of MXCSR
on x86), so whoever sets it puts it back, and raises nothing in between: Python has its own sums.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from charloom.models.compiled.bf16 import ON_X86

_FLUSH = 0x8040  # results and arguments
_WORD = ir.IntType(32)


def _call(builder: Any, name: str, place: Any) -> None:
    address = builder.bitcast(place, ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [address.type])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    builder.call(function, [address])


@intrinsic
def flush(_: Any) -> Any:
    """Flush such numbers from here on; return the setting before, for `restore`."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not ON_X86:
            return ir.Constant(_WORD, 0)
        place = builder.alloca(_WORD)
        _call(builder, "llvm.x86.sse.stmxcsr", place)
        before = builder.load(place)
        builder.store(builder.or_(before, ir.Constant(_WORD, _FLUSH)), place)
        _call(builder, "llvm.x86.sse.ldmxcsr", place)
        return before

    return types.int32(), emit


@intrinsic
def restore(_: Any, before: Any) -> Any:
    """Compute as before `flush`, which returned `before`."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if ON_X86:
            place = builder.alloca(_WORD)
            builder.store(args[0], place)
            _call(builder, "llvm.x86.sse.ldmxcsr", place)
        return context.get_dummy_value()

    return types.void(types.int32), emit
