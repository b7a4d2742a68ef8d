"""The rules of `charloom.optimizers`, whose formulas stand there, over one flat vector.

Ids look up rows of the vector's first matrix: in one update most of its rows have a
gradient of zero. SGD and Adagrad leave such a row exactly as it is, so it is passed over.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from charloom.config import TrainConfig
from charloom.jit import kernel
from charloom.optimizers import EPSILON

SGD, ADAGRAD, RMSPROP, ADAM, ADAMW = range(5)
_NAMES = ("sgd", "adagrad", "rmsprop", "adam", "adamw")


class Rule(NamedTuple):
    """What a TrainConfig says of a step, in the vector's own type; no clipping is infinity."""

    name: int
    clip_norm: np.floating
    clip_value: np.floating
    beta1: np.floating
    beta2: np.floating
    decay: np.floating
    weight_decay: np.floating
    epsilon: np.floating


def rule(config: TrainConfig, dtype: DTypeLike) -> Rule:
    """Put the settings into the types that kernels take."""
    real: Any = np.dtype(dtype).type
    return Rule(
        _NAMES.index(config.optimizer),
        real(np.inf if config.clip_norm is None else config.clip_norm),
        real(np.inf if config.clip_value is None else config.clip_value),
        real(config.beta1),
        real(config.beta2),
        real(config.decay),
        real(config.weight_decay if config.optimizer == "adamw" else 0),
        real(EPSILON),
    )


@kernel
def move(
    w: Any,
    dw: Any,
    slots: Any,
    seen: Any,
    width: int,
    matrices: int,
    rule: Any,
    rate: float,
    updates: int,
) -> None:
    """One optimiser step: clip dw (P,), then move w (P,) and its slots, all in place.

    `slots` is a pair of arrays (P,), empty where the rule has none. seen (V,) marks the
    rows, `width` numbers each, of the first matrix that have a gradient; the first
    `matrices` numbers decay (adamw); `updates` counts this step, from 1.
    """
    real = type(rule.decay)
    first, second = slots
    factor = _clip_factor(dw, rule.clip_norm)
    if rule.name == ADAGRAD or rule.name == SGD:
        for row in range(seen.size + 1):
            start = row * width
            end = start + width if row < seen.size else w.size
            if row == seen.size or seen[row]:
                if rule.name == SGD:
                    _sgd(w[start:end], dw[start:end], rule, real(rate), factor)
                else:
                    _adagrad(
                        w[start:end], dw[start:end], first[start:end], rule, real(rate), factor
                    )
    elif rule.name == RMSPROP:
        _rmsprop(w, dw, first, rule, real(rate), factor)
    else:
        keep = real(1 - rate * rule.weight_decay)
        for i in range(matrices if rule.weight_decay > 0 else 0):
            w[i] *= keep
        _adam(w, dw, first, second, rule, real(rate), factor, updates)


@kernel
def _clip_factor(dw: Any, limit: Any) -> Any:
    if limit == np.inf:
        return type(limit)(1)
    squares = 0.0
    for i in range(dw.size):
        squares += float(dw[i]) * float(dw[i])
    norm = np.sqrt(squares)
    return type(limit)(limit / norm if norm > limit else 1.0)


@kernel
def _clip(g: Any, factor: Any, rule: Any) -> Any:
    return min(max(g * factor, -rule.clip_value), rule.clip_value)


@kernel
def _sgd(w: Any, dw: Any, rule: Any, rate: Any, factor: Any) -> None:
    for i in range(w.size):
        w[i] -= rate * _clip(dw[i], factor, rule)


@kernel
def _adagrad(w: Any, dw: Any, memory: Any, rule: Any, rate: Any, factor: Any) -> None:
    for i in range(w.size):
        g = _clip(dw[i], factor, rule)
        total = memory[i] + g * g
        memory[i] = total
        w[i] -= rate * g / np.sqrt(total + rule.epsilon)


@kernel
def _rmsprop(w: Any, dw: Any, square: Any, rule: Any, rate: Any, factor: Any) -> None:
    for i in range(w.size):
        g = _clip(dw[i], factor, rule)
        s = rule.decay * square[i] + (1 - rule.decay) * g * g
        square[i] = s
        w[i] -= rate * g / (np.sqrt(s) + rule.epsilon)


@kernel
def _adam(w: Any, dw: Any, m: Any, v: Any, rule: Any, rate: Any, factor: Any, updates: int) -> None:
    real = type(rate)
    correct_m = real(1 / (1 - float(rule.beta1) ** updates))
    correct_v = real(1 / (1 - float(rule.beta2) ** updates))
    for i in range(w.size):
        g = _clip(dw[i], factor, rule)
        m_i = rule.beta1 * m[i] + (1 - rule.beta1) * g
        v_i = rule.beta2 * v[i] + (1 - rule.beta2) * g * g
        m[i] = m_i
        v[i] = v_i
        w[i] -= rate * (m_i * correct_m) / (np.sqrt(v_i * correct_v) + rule.epsilon)
