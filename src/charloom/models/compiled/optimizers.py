"""The rules of `charloom.models.optimizers`, whose formulas stand there, over one flat vector.

Ids look up rows of the vector's first matrix: in one update most of its rows have a
gradient of zero. SGD and Adagrad leave such a row exactly as it is, so it is passed over.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from charloom.config import TrainConfig
from charloom.models.compiled.flushing import flush, restore
from charloom.models.jit import inner_kernel, kernel
from charloom.models.optimizers import EPSILON, SLOTS
from charloom.models.weights import Array

_NAMES = [*SLOTS]
SGD, ADAGRAD, RMSPROP = (_NAMES.index(name) for name in ("sgd", "adagrad", "rmsprop"))


class Rule(NamedTuple):
    """The settings of an optimizer step, as kernels take them fastest."""

    name: int  # its place in SLOTS
    settings: Array  # (7,), see `rule`; no clipping is infinity
    norm: Array  # (1,) float64, written to: of the last gradient, if it is computed; else NaN


def rule(config: TrainConfig, dtype: DTypeLike) -> Rule:
    """Put the settings into an array of the weights' own type."""
    settings = [
        np.inf if config.clip_norm is None else config.clip_norm,
        np.inf if config.clip_value is None else config.clip_value,
        config.beta1,
        config.beta2,
        config.decay,
        config.weight_decay if config.optimizer == "adamw" else 0.0,
        EPSILON,
    ]
    return Rule(_NAMES.index(config.optimizer), np.array(settings, dtype), np.full(1, np.nan))


@kernel
def move(
    w: Any,
    dw: Any,
    slots: Any,
    seen: Any,
    width: int,
    matrices: int,
    rule: Any,
    learning_rate: float,
    updates: int,
) -> bool:
    """One optimizer step: clip dw (P,), then move w (P,) and its slots, all in place.

    `slots` is a pair of arrays (P,), empty if the rule has none. seen (V,) marks the
    rows, `width` numbers each, of the first matrix that have a gradient; the first
    `matrices` numbers decay (adamw); `updates` counts this step, from 1. Returns whether
    it moved: it does not if a value of dw, or the norm to clip, is NaN or infinite.
    """
    first = slots[0]
    clip_norm, clip_value, beta1, beta2, decay, weight_decay, epsilon = rule.settings
    rate = type(decay)(learning_rate)
    factor = _clip_factor(dw, clip_norm, seen, width, rule.norm)
    if np.isnan(factor):
        return False
    before = flush()
    step = (rate, factor, clip_value)
    if rule.name == SGD or rule.name == ADAGRAD:
        for row in range(seen.size + 1):
            start = row * width
            end = start + width if row < seen.size else w.size
            if row == seen.size or seen[row]:
                here, dhere = w[start:end], dw[start:end]
                if rule.name == SGD:
                    _sgd(here, dhere, step)
                else:
                    _adagrad(here, dhere, first[start:end], step, epsilon)
    elif rule.name == RMSPROP:
        _rmsprop(w, dw, first, step, decay, epsilon)
    else:
        if weight_decay > 0:
            keep = 1 - rate * weight_decay
            for i in range(matrices):
                w[i] *= keep
        correct_m = type(rate)(1 / (1 - float(beta1) ** updates))
        correct_v = type(rate)(1 / (1 - float(beta2) ** updates))
        _adam(w, dw, slots, step, (beta1, beta2), (correct_m, correct_v), epsilon)
    restore(before)
    return True


@inner_kernel
def _clip_factor(dw: Any, limit: Any, seen: Any, width: int, norm_of_dw: Any) -> Any:
    """Return what to scale dw by; NaN if a value of it, or the norm to clip, is not finite."""
    if limit == np.inf:
        return type(limit)(1 if _is_finite(dw, seen, width) else np.nan)
    squares = 0.0
    for i in range(dw.size):
        squares += np.float64(dw[i]) * np.float64(dw[i])
    norm = np.sqrt(squares)
    norm_of_dw[0] = norm
    if not norm < np.inf:
        return type(limit)(np.nan)
    return type(limit)(limit / norm if norm > limit else 1.0)


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


@inner_kernel
def _sgd(w: Any, dw: Any, step: Any) -> None:
    rate, factor, limit = step
    for i in range(w.size):
        w[i] -= rate * _clip(dw[i], factor, limit)


@inner_kernel
def _adagrad(w: Any, dw: Any, memory: Any, step: Any, epsilon: Any) -> None:
    rate, factor, limit = step
    for i in range(w.size):
        g = _clip(dw[i], factor, limit)
        total = memory[i] + g * g
        memory[i] = total
        w[i] -= rate * g / np.sqrt(total + epsilon)


@inner_kernel
def _rmsprop(w: Any, dw: Any, square: Any, step: Any, decay: Any, epsilon: Any) -> None:
    rate, factor, limit = step
    for i in range(w.size):
        g = _clip(dw[i], factor, limit)
        s = decay * square[i] + (1 - decay) * g * g
        square[i] = s
        w[i] -= rate * g / (np.sqrt(s) + epsilon)


@inner_kernel
def _adam(w: Any, dw: Any, slots: Any, step: Any, betas: Any, correct: Any, epsilon: Any) -> None:
    (rate, factor, limit), (m, v), (beta1, beta2) = step, slots, betas
    correct_m, correct_v = correct
    for i in range(w.size):
        g = _clip(dw[i], factor, limit)
        m_i = beta1 * m[i] + (1 - beta1) * g
        v_i = beta2 * v[i] + (1 - beta2) * g * g
        m[i] = m_i
        v[i] = v_i
        w[i] -= rate * (m_i * correct_m) / (np.sqrt(v_i * correct_v) + epsilon)
