"""The rules of `charloom.models.optimizers`, whose formulas stand there, over one flat vector.

Ids look up rows of the vector's first matrix: in one update most of its rows have a
gradient of zero. SGD and Adagrad leave such a row exactly as it is, so it is passed over.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.config import TrainConfig
from charloom.models.compiled.program import Program
from charloom.models.compiled.units import Unit, bytes_of, integers_at
from charloom.models.jit import array_at, inner_kernel
from charloom.models.optimizers import EPSILON
from charloom.models.weights import Array


class Moves:
    """Moves w (P,) and its slots (P,) by the gradient dw (P,), all in place, as `config` says.

    `slots` are as many as the rule has. seen (V,) marks the rows, `width` numbers each, of the
    first matrix that have a gradient; the first `matrices` numbers decay (adamw). The norm of the
    last gradient is put into norm (1,), if it is computed.
    """

    def __init__(
        self,
        config: TrainConfig,
        w: Array,
        dw: Array,
        slots: tuple[Array, ...],
        seen: NDArray[np.uint8],
        width: int,
        matrices: int,
        norm: NDArray[np.float64],
    ) -> None:
        limits = [
            np.inf if limit is None else limit for limit in (config.clip_norm, config.clip_value)
        ]
        decays = config.beta1, config.beta2, config.decay
        weight_decay = config.weight_decay if config.optimizer == "adamw" else 0.0
        settings = np.array([*limits, *decays, weight_decay, EPSILON], w.dtype)
        self._rate, self._updates = np.zeros(1), np.zeros(1, np.int64)
        self._program = program = Program(w.dtype)
        factor, sizes = np.zeros(1, w.dtype), (w.size, len(seen), width)
        program.add(CLIP, dw, seen, *sizes, settings, norm, factor, program.failed)
        given = (w, dw, *slots, factor, settings, self._rate)
        match config.optimizer:
            case "sgd" | "adagrad" as name:
                program.add(SGD if name == "sgd" else ADAGRAD, *given, seen, *sizes)
            case "rmsprop":
                program.add(RMSPROP, *given, w.size)
            case _:
                program.add(ADAM, *given, w.size, matrices, self._updates)

    def __call__(self, learning_rate: float, updates: int) -> bool:
        """Take one step, `updates` counting it, from 1. Return whether it moved.

        It does not if a value of dw, or the norm to clip, is NaN or infinite.
        """
        self._rate[0], self._updates[0] = learning_rate, updates
        return self._program.ends()


def _clip_unit(zero: Any, place: int, turn: int) -> None:
    """Set what to scale dw by; fail if a value of it, or the norm to clip, is not finite."""
    dw_at, seen_at, P, V, width, settings, norm, factor, failed = integers_at(place, 9)
    dw, seen = array_at(zero, dw_at, (P,)), array_at(np.uint8(0), seen_at, (V,))
    limit, found = array_at(zero, settings, (1,))[0], type(zero)(1)
    if limit == np.inf:
        if not _is_finite(dw, seen, width):
            array_at(P, failed, (1,))[0] = 1
    else:
        squares = 0.0
        for i in range(dw.size):
            squares += np.float64(dw[i]) * np.float64(dw[i])
        length = np.sqrt(squares)
        array_at(0.0, norm, (1,))[0] = length
        if not length < np.inf:
            array_at(P, failed, (1,))[0] = 1
        if length > limit:
            found = type(zero)(limit / length)
    array_at(zero, factor, (1,))[0] = found


CLIP = Unit(_clip_unit)


@inner_kernel
def _is_finite(dw: Any, seen: Any, width: int) -> bool:
    for row in range(seen.size):
        if seen[row] and _has_nonfinite(dw[row * width : row * width + width]):
            return False
    return not _has_nonfinite(dw[seen.size * width :])


@inner_kernel
def _has_nonfinite(x: Any) -> bool:
    found = False
    for i in range(x.size):
        found |= not abs(x[i]) < np.inf
    return found


@inner_kernel
def _clip(g: Any, factor: Any, limit: Any) -> Any:
    return min(max(g * factor, -limit), limit)


def _sgd_unit(zero: Any, place: int, turn: int) -> None:
    """Move those rows of w that have a gradient, and what comes after them."""
    w_at, dw_at, factor_at, settings, rate_at, seen_at, P, V, width = integers_at(place, 9)
    factor, limit = array_at(zero, factor_at, (1,))[0], array_at(zero, settings, (2,))[1]
    rate, seen = type(zero)(array_at(0.0, rate_at, (1,))[0]), array_at(np.uint8(0), seen_at, (V,))
    for row in range(V + 1):
        if row == V or seen[row]:
            start, size = row * width * bytes_of(zero), width if row < V else P - V * width
            w, dw = array_at(zero, w_at + start, (size,)), array_at(zero, dw_at + start, (size,))
            for i in range(size):
                w[i] -= rate * _clip(dw[i], factor, limit)


SGD = Unit(_sgd_unit)


def _adagrad_unit(zero: Any, place: int, turn: int) -> None:
    """Move those rows of w and of its memory that have a gradient, and what comes after them."""
    w_at, dw_at, memory_at, factor_at, settings, rate_at, seen_at, P, V, width = integers_at(
        place, 10
    )
    factor, given = array_at(zero, factor_at, (1,))[0], array_at(zero, settings, (7,))
    rate, seen = type(zero)(array_at(0.0, rate_at, (1,))[0]), array_at(np.uint8(0), seen_at, (V,))
    limit, epsilon = given[1], given[6]
    for row in range(V + 1):
        if row == V or seen[row]:
            start, size = row * width * bytes_of(zero), width if row < V else P - V * width
            w, dw = array_at(zero, w_at + start, (size,)), array_at(zero, dw_at + start, (size,))
            memory = array_at(zero, memory_at + start, (size,))
            for i in range(size):
                g = _clip(dw[i], factor, limit)
                total = memory[i] + g * g
                memory[i] = total
                w[i] -= rate * g / np.sqrt(total + epsilon)


ADAGRAD = Unit(_adagrad_unit)


def _rmsprop_unit(zero: Any, place: int, turn: int) -> None:
    """Move w and its mean square."""
    w_at, dw_at, square_at, factor_at, settings, rate_at, P = integers_at(place, 7)
    w, dw = array_at(zero, w_at, (P,)), array_at(zero, dw_at, (P,))
    square, given = array_at(zero, square_at, (P,)), array_at(zero, settings, (7,))
    limit, decay, epsilon = given[1], given[4], given[6]
    factor = array_at(zero, factor_at, (1,))[0]
    rate = type(zero)(array_at(0.0, rate_at, (1,))[0])
    for i in range(P):
        g = _clip(dw[i], factor, limit)
        s = decay * square[i] + (1 - decay) * g * g
        square[i] = s
        w[i] -= rate * g / (np.sqrt(s) + epsilon)


RMSPROP = Unit(_rmsprop_unit)


def _adam_unit(zero: Any, place: int, turn: int) -> None:
    """Move w and its two means; of adamw the matrices decay."""
    w_at, dw_at, m_at, v_at, factor_at, settings, rate_at, P, matrices, updates_at = integers_at(
        place, 10
    )
    w, dw = array_at(zero, w_at, (P,)), array_at(zero, dw_at, (P,))
    m, v = array_at(zero, m_at, (P,)), array_at(zero, v_at, (P,))
    factor, given = array_at(zero, factor_at, (1,))[0], array_at(zero, settings, (7,))
    limit, beta1, beta2, weight_decay, epsilon = given[1], given[2], given[3], given[5], given[6]
    rate, updates = type(zero)(array_at(0.0, rate_at, (1,))[0]), array_at(P, updates_at, (1,))[0]
    if weight_decay > 0:
        keep = 1 - rate * weight_decay
        for i in range(matrices):
            w[i] *= keep
    correct_m = type(zero)(1 / (1 - float(beta1) ** updates))
    correct_v = type(zero)(1 / (1 - float(beta2) ** updates))
    for i in range(P):
        g = _clip(dw[i], factor, limit)
        m_i = beta1 * m[i] + (1 - beta1) * g
        v_i = beta2 * v[i] + (1 - beta2) * g * g
        m[i] = m_i
        v[i] = v_i
        w[i] -= rate * (m_i * correct_m) / (np.sqrt(v_i * correct_v) + epsilon)


ADAM = Unit(_adam_unit)
