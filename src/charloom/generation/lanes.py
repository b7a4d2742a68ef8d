"""Many texts written side by side, each by rules of its own: the slow twin of models' kernels."""

import numpy as np
from numpy.typing import NDArray

from charloom.config import SampleConfig
from charloom.data.tokenizer import Ids
from charloom.generation.draw import draw
from charloom.models.engines import LanguageModel, State
from charloom.models.lanes import Rules
from charloom.models.weights import Array


def write(
    model: LanguageModel,
    ids: Ids,
    state: State,
    uniforms: NDArray[np.float64],
    rules: Rules,
    log_probs: Array | None = None,
) -> tuple[NDArray[np.int32], State]:
    """Read ids (B,), then draw n characters in each lane with uniforms (B, n), by its rules.

    Returns the drawn ids (B, n) and the state before the last of them, which is the one to read
    next. `log_probs` (B, n, V) is filled with what the model itself predicts at each place, without
    bias and temperature. Raises what `charloom.generation.draw.draw` raises.
    """
    drawn = np.empty(uniforms.shape, np.int32)
    for t in range(uniforms.shape[1]):
        predicted, state = model.step(ids, state)
        if log_probs is not None:
            log_probs[:, t] = predicted
        for b, row in enumerate(predicted):
            drawn[b, t] = _draw(row, rules, b, uniforms[b, t])
        ids = drawn[:, t]
    return drawn, state


def _draw(log_probs: Array, rules: Rules, b: int, u: float) -> int:
    """Draw one id in lane b, and lower the bias of what was drawn."""
    temperature, top_k, top_p, min_p = rules.filters[b].tolist()
    config = SampleConfig(temperature=temperature, top_k=int(top_k), top_p=top_p, min_p=min_p)
    if not rules.biased[b]:
        return draw(log_probs, config, u)
    drawn = draw(log_probs + rules.bias[b], config, u)
    presence, frequency = rules.penalties[b]
    rules.bias[b, drawn] -= frequency + (0 if rules.seen[b, drawn] else presence)
    rules.seen[b, drawn] = 1
    return drawn
