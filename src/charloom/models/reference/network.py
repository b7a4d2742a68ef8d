"""The whole network: embedding, layers of cells with dropout after each, and the head.

    x = embedding[ids]                   or the ids themselves, which stand for one-hot vectors
    x = cell(x) * mask                   layer by layer, the mask the same at every time
    logits = x W + b                     softmax(logits) are the odds of the next character

The cells differ only in what happens at one time step; everything here is the same for all.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from charloom.config import ModelConfig
from charloom.models.reference import gru, lstm, rnn
from charloom.models.reference.operations import Ids
from charloom.models.weights import Array, Weights

CELLS: dict[str, ModuleType] = {"rnn": rnn, "lstm": lstm, "gru": gru}
STATE_NAMES = {"rnn": ("h",), "lstm": ("h", "c"), "gru": ("h",)}

States = tuple[tuple[Array, ...], ...]  # one layer's state after another, each array (B, H)
Masks = Sequence[Array]  # (B, H) for each layer; empty for no dropout


class Cache(NamedTuple):
    """What `forward` leaves for `backward`."""

    ids: Ids
    cells: list[tuple[Any, ...]]
    masks: Masks
    top: Array


def zero_states(config: ModelConfig, lanes: int, dtype: str = "float64") -> States:
    """Return the states before any character."""
    names = STATE_NAMES[config.cell]
    return tuple(
        tuple(np.zeros((lanes, config.hidden), dtype) for _ in names) for _ in range(config.layers)
    )


def forward(
    config: ModelConfig, weights: Weights, ids: Ids, states: States, masks: Masks = ()
) -> tuple[Array, States, Cache]:
    """Read ids (T, B) after `states`; return logits (T, B, V), the states after, and the cache.

    Dropout acts on what a layer hands up, never on what it hands on in time (Zaremba,
    Sutskever & Vinyals 2014), and drops the same units all through a step (Gal & Ghahramani
    2016).
    """
    cell = CELLS[config.cell]
    x: Any = weights["embedding"][ids] if config.embedding else ids
    after, cells = [], []
    for layer in range(config.layers):
        Wx, Wh, b = (weights[f"layer{layer}.{name}"] for name in ("Wx", "Wh", "b"))
        x, state, cache = cell.forward(x, states[layer], Wx, Wh, b)
        if masks:
            x = x * masks[layer]
        after.append(state)
        cells.append(cache)
    logits = x @ weights["head.W"] + weights["head.b"]
    return logits, tuple(after), Cache(ids, cells, masks, x)


def backward(config: ModelConfig, weights: Weights, dlogits: Array, cache: Cache) -> Weights:
    """Gradient of every weight, by its name, from dlogits (T, B, V)."""
    cell = CELLS[config.cell]
    d = {name: np.zeros_like(w) for name, w in weights.items()}
    for top, dlogit in zip(cache.top, dlogits, strict=True):
        d["head.W"] += top.T @ dlogit
        d["head.b"] += dlogit.sum(axis=0)
    dx = dlogits @ weights["head.W"].T
    for layer in reversed(range(config.layers)):
        if cache.masks:
            dx = dx * cache.masks[layer]
        Wx, Wh, b = (f"layer{layer}.{name}" for name in ("Wx", "Wh", "b"))
        dx, d[Wx], d[Wh], d[b] = cell.backward(dx, cache.cells[layer], weights[Wx], weights[Wh])
    if config.embedding:
        np.add.at(d["embedding"], cache.ids, dx)
    return d
