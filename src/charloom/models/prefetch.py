"""Memory asked for early: while it comes, the processor computes something else."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

_BYTES, _WORD = ir.IntType(8).as_pointer(), ir.IntType(32)
_TO_READ, _IN_EVERY_CACHE, _DATA = (ir.Constant(_WORD, value) for value in (0, 3, 1))


def prefetch(array: Any, place: int) -> None:
    """Ask for array.flat[place] of an array in C order; in plain Python, do nothing.

    A place beyond its ends does no harm.
    """


@overload(prefetch, strict=False)
def _compiled(array: Any, place: Any) -> Callable[[Any, Any], None]:
    return lambda array, place: _prefetch(array, place)


@intrinsic
def _prefetch(_: Any, array: Any, place: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        address = builder.bitcast(builder.gep(view.data, [args[1]]), _BYTES)
        kind = ir.FunctionType(ir.VoidType(), [_BYTES, _WORD, _WORD, _WORD])
        module, name = builder.module, "llvm.prefetch.p0i8"
        function = module.globals.get(name) or ir.Function(module, kind, name)
        builder.call(function, [address, _TO_READ, _IN_EVERY_CACHE, _DATA])
        return context.get_dummy_value()

    return types.void(array, types.int64), emit
