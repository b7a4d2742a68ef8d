"""The two loops that take longest, in LLVM's vector instructions; in plain Python they are loops.

LLVM itself unrolls loops of so few numbers before it would vectorise them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

INPUTS = 24  # logits that are mixed: a multiple of WIDE
WIDE = 8
_NARROW, _FULL = ir.VectorType(ir.IntType(32), WIDE), ir.VectorType(ir.IntType(64), WIDE)


def dot(weights: np.ndarray, x: np.ndarray) -> int:
    """Return the sum of weights (INPUTS,) times logits (INPUTS,), both int32, in 64 bits."""
    return sum(int(weights[i]) * int(x[i]) for i in range(INPUTS))


def learn(weights: np.ndarray, x: np.ndarray, step: int) -> None:
    """Add x (INPUTS,) times step, of 32 bits, out of 2^20 and rounded, to weights (INPUTS,)."""
    for i in range(INPUTS):
        weights[i] += (int(x[i]) * step + (1 << 19)) >> 20


@overload(dot, strict=False)
def _compiled_dot(weights: Any, x: Any) -> Callable[[Any, Any], int]:
    return lambda weights, x: _dot(weights, x)


@overload(learn, strict=False)
def _compiled_learn(weights: Any, x: Any, step: Any) -> Callable[[Any, Any, Any], None]:
    return lambda weights, x, step: _learn(weights, x, step)


def _start(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return builder.bitcast(
        context.make_array(kind)(context, builder, array).data, _NARROW.as_pointer()
    )


def _place(builder: Any, start: Any, k: int) -> Any:
    return builder.gep(start, [ir.Constant(ir.IntType(32), k)])


def _wide(builder: Any, start: Any, k: int) -> Any:
    """Load WIDE numbers, the k-th such, as 64 bits each."""
    value = builder.load(_place(builder, start, k))
    value.align = 4
    return builder.sext(value, _FULL)


def _all(value: int) -> Any:
    return ir.Constant(_FULL, [value] * WIDE)


@intrinsic
def _dot(_: Any, weights: Any, x: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        starts = [
            _start(context, builder, *pair) for pair in zip(signature.args, args, strict=True)
        ]
        total = _all(0)
        for k in range(INPUTS // WIDE):
            w, x = (_wide(builder, start, k) for start in starts)
            total = builder.add(total, builder.mul(w, x))
        name, word = f"llvm.vector.reduce.add.v{WIDE}i64", ir.IntType(64)
        function = builder.module.globals.get(name) or ir.Function(
            builder.module, ir.FunctionType(word, [_FULL]), name
        )
        return builder.call(function, [total])

    return types.int64(weights, x), emit


@intrinsic
def _learn(_: Any, weights: Any, x: Any, step: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        starts = [
            _start(context, builder, *pair)
            for pair in zip(signature.args[:2], args[:2], strict=True)
        ]
        one = builder.trunc(args[2], ir.IntType(32))
        undefined = ir.Constant(_NARROW, ir.Undefined)
        first = builder.insert_element(undefined, one, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), WIDE), [0] * WIDE)
        steps = builder.sext(builder.shuffle_vector(first, undefined, zeros), _FULL)
        loaded = [[_wide(builder, start, k) for start in starts] for k in range(INPUTS // WIDE)]
        for k, (w, x) in enumerate(loaded):
            moved = builder.add(builder.mul(x, steps), _all(1 << 19))
            after = builder.add(w, builder.ashr(moved, _all(20)))
            builder.store(builder.trunc(after, _NARROW), _place(builder, starts[0], k)).align = 4
        return context.get_dummy_value()

    return types.void(weights, x, types.int64), emit
