"""The whole network, forward and backward: embedding, layers of cells with dropout, and head.

    x = embedding[ids]                   or the ids themselves, which stand for one-hot vectors
    x = cell(x) * mask                   layer by layer, the mask the same at every time
    logits = x W + b                     softmax(logits) are the probabilities of what comes next

Cells differ in what happens at one time step (rnn.py, lstm.py, gru.py, gru_of_state.py); all else
is here.
"""

from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

import numpy as np

from charloom import config as settings
from charloom.config import ModelConfig
from charloom.data.tokenizer import Ids
from charloom.errors import CharloomError
from charloom.models.reference import gru, gru_of_state, lstm, rnn
from charloom.models.reference.operations import HardSigmoid
from charloom.models.weights import GATES, Array, Weights, gate_slope


class CellMaths(Protocol):
    """A cell, as rnn.py has it: a module or any object with both functions."""

    forward: Any  # (x, state, Wx, Wh, b) -> (h (T, B, H), the state after, cache)
    backward: Any  # (dout (T, B, H), cache, Wx, Wh) -> (dx or None, dWx, dWh, db)


CELLS: dict[str, CellMaths] = {"rnn": rnn, "lstm": lstm, "gru": gru}
WEIGHTS = ("Wx", "Wh", "b", "bhn")  # of a layer; the last of a GRU with two biases

States = tuple[tuple[Array, ...], ...]  # one layer's state after another, each array (B, H)
Masks = Sequence[Array]  # (B, H) for each layer; empty for no dropout


class Cache(NamedTuple):
    """What `forward` leaves for `backward`."""

    ids: Ids
    cells: list[tuple[Any, ...]]
    masks: Masks
    top: Array


def add_cell(name: str, cell: CellMaths, gates: int) -> None:
    """Make a cell of your own known by name: ModelConfig(cell=name), charloom.train(model=name).

    Its state is (h (B, H),), and its weights Wx (D, gates H), Wh (H, gates H) and b (gates H,). The
    reference engine trains it. It is known in this process: a program that opens such a run adds
    the cell first. Raises CharloomError if there is a cell of that name.
    """
    if name in settings.CELLS:
        raise CharloomError(f"there is a cell {name!r} already: take another name", "taken")
    GATES[name] = gates
    CELLS[name] = cell
    settings.CELLS.append(name)


def cell_of(config: ModelConfig) -> CellMaths:
    """Return what has the layers' `forward` and `backward`: a cell's file, with its gates."""
    cell: CellMaths = gru_of_state if config.reset == "state" else CELLS[config.cell]
    slope = gate_slope(config)
    if not slope:
        return cell
    hard = HardSigmoid(slope)
    return SimpleNamespace(
        forward=partial(cell.forward, sigmoid=hard),
        backward=partial(cell.backward, gate_gradient=hard.gradient),
    )


def zero_states(config: ModelConfig, lanes: int, dtype: str = "float64") -> States:
    """Return the states before any character."""
    shape = (2 if config.cell == "lstm" else 1, lanes, config.hidden)  # h, and an LSTM's c
    return tuple(tuple(np.zeros(shape, dtype)) for _ in range(config.layers))


def forward(
    config: ModelConfig, weights: Weights, ids: Ids, states: States, masks: Masks = ()
) -> tuple[Array, States, Cache]:
    """Read ids (T, B) after `states`; return logits (T, B, V), the states after, and the cache.

    Dropout acts on what a layer passes up, never on what it passes on in time (Zaremba,
    Sutskever & Vinyals 2014, section 3.2), and drops the same units at every time of a step
    (Gal & Ghahramani 2016, section 4.1).
    """
    cell = cell_of(config)
    x: Any = weights["embedding"][ids] if config.embedding else ids
    after, cells = [], []
    for layer in range(config.layers):
        own = [weights[name] for name in _names(weights, layer)]
        x, state, cache = cell.forward(x, states[layer], *own)
        if masks:
            x = x * masks[layer]
        after.append(state)
        cells.append(cache)
    logits = x @ weights["head.W"] + weights["head.b"]
    return logits, tuple(after), Cache(ids, cells, masks, x)


def backward(config: ModelConfig, weights: Weights, dlogits: Array, cache: Cache) -> Weights:
    """Return the gradient of every weight, by its name, from dlogits (T, B, V).

    logits = x W + b gives dW = sum over t of x[t]^T dlogits[t], db = sum of dlogits[t], and
    dx = dlogits W^T, which goes down through the layers.
    """
    cell = cell_of(config)
    d = {name: np.zeros_like(w) for name, w in weights.items()}
    for top, dlogit in zip(cache.top, dlogits, strict=True):
        d["head.W"] += top.T @ dlogit
        d["head.b"] += dlogit.sum(axis=0)
    dx = dlogits @ weights["head.W"].T
    for layer in reversed(range(config.layers)):
        if cache.masks:
            dx = dx * cache.masks[layer]
        names = _names(weights, layer)
        Wx, Wh = (weights[name] for name in names[:2])
        dx, *gradients = cell.backward(dx, cache.cells[layer], Wx, Wh)
        d |= zip(names, gradients, strict=False)  # without that of a bias which is not there
    if config.embedding:
        np.add.at(d["embedding"], cache.ids, dx)
    return d


def _names(weights: Weights, layer: int) -> list[str]:
    """Return the names of a layer's weights, as the functions of a cell take and give them."""
    return [name for part in WEIGHTS if (name := f"layer{layer}.{part}") in weights]
