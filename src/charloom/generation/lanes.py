"""Texts written side by side, each by rules of its own: the slow twin of models' kernels.

No kernel keeps to a copy limit: what one has drawn is cut to it afterwards, which has a slow twin,
too.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charloom.config import SampleConfig
from charloom.data.tokenizer import Ids
from charloom.generation.copy_limit import CopyLimit
from charloom.generation.draw import draw
from charloom.models.lanes import Rules, WritesLanes
from charloom.models.protocols import LanguageModel, State
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
    configs = [_config(rules, b) for b in range(len(ids))]
    for t in range(uniforms.shape[1]):
        predicted, state = model.step(ids, state)
        if log_probs is not None:
            log_probs[:, t] = predicted
        for b, row in enumerate(predicted):
            drawn[b, t] = draw(_biased(row, rules, b), configs[b], uniforms[b, t])
            _note(rules, b, drawn[b, t])
        ids = drawn[:, t]
    return drawn, state


def write_within(
    model: LanguageModel,
    ids: Ids,
    state: State,
    uniforms: NDArray[np.float64],
    rules: Rules,
    limit: CopyLimit,
    written: str,
    log_probs: Array | None = None,
) -> tuple[NDArray[np.int32], State]:
    """Do what `write` does with one text, of which `written` is the end, within a copy limit.

    Where it leaves nothing to draw, the text ends: from there on drawn ids are -1. Raises what
    `write` raises.
    """
    drawn = np.full(uniforms.shape, -1, np.int32)
    config = _config(rules, 0)
    for t in range(uniforms.shape[1]):
        predicted, state = model.step(ids, state)
        if log_probs is not None:
            log_probs[:, t] = predicted
        row, u = _biased(predicted[0], rules, 0), float(uniforms[0, t])
        id = limit.redraw(model.vocabulary, written, row, config, u, draw(row, config, u))
        if id < 0:
            break
        _note(rules, 0, id)
        drawn[0, t] = id
        written = (written + model.vocabulary.decode([id]))[-limit.most :]
        ids = drawn[:, t]
    return drawn, state


class Cut(NamedTuple):
    """What is left of a lane within its copy limit: ids (k,), the state before the last of them,
    and the rules (of one lane) after it.
    """

    drawn: NDArray[np.int32]
    state: State
    rules: Rules


def cut_to(
    limit: CopyLimit,
    written: str,
    model: LanguageModel,
    writer: WritesLanes,
    place: tuple[Ids, State, NDArray[np.float64], Rules],
    drawn: NDArray[np.int32],
    log_probs: Array,
) -> Cut | None:
    """Cut what a kernel has drawn in one lane, ids (n,), to a copy limit; None if it is within.

    Up to the first that may not stand after `written` they stay; that one is drawn again, as in
    `write_within`, and is the last. `place` is what the kernel was called with for this lane: ids
    (1,), state, uniforms (n,) and rules as they were; log_probs (n, V) are what was predicted.
    """
    ids, state, uniforms, rules = place
    piece = model.vocabulary.decode(drawn)
    k = limit.within(written, piece)
    if k == len(piece):
        return None
    again = rules.pick(np.array([0]))  # a copy
    _, state = writer.write(ids, state, uniforms[None, : k + 1], again)
    for id in drawn[:k]:
        _note(rules, 0, id)
    row, config, u = _biased(log_probs[k], rules, 0), _config(rules, 0), float(uniforms[k])
    id = limit.redraw(model.vocabulary, written + piece[:k], row, config, u, int(drawn[k]))
    if id >= 0:
        _note(rules, 0, id)
    return Cut(np.append(drawn[:k], np.int32(id)), state, rules)


def _config(rules: Rules, b: int) -> SampleConfig:
    temperature, top_k, top_p, min_p = rules.filters[b].tolist()
    return SampleConfig(temperature=temperature, top_k=int(top_k), top_p=top_p, min_p=min_p)


def _biased(log_probs: Array, rules: Rules, b: int) -> Array:
    return log_probs + rules.bias[b] if rules.biased[b] else log_probs


def _note(rules: Rules, b: int, drawn: int) -> None:
    """Lower the bias of what was drawn in lane b."""
    if rules.biased[b]:
        presence, frequency = rules.penalties[b]
        rules.bias[b, drawn] -= frequency + (0 if rules.seen[b, drawn] else presence)
        rules.seen[b, drawn] = 1
