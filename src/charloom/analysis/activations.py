"""Activations of a recurrent network that reads a text: its states, and how open its gates are.

The reference engine computes them, whose forward pass keeps them all, in windows side by side. It
opens the weights of every engine.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.config import (
    EnsembleConfig,
    ModelConfig,
    NetworkConfig,
    NgramConfig,
    TransformerConfig,
)
from charloom.data.tokenizer import Ids
from charloom.errors import CharloomError
from charloom.evaluation import Cut, windows
from charloom.models.protocols import LanguageModel
from charloom.models.reference import ReferenceModel, network
from charloom.models.reference.transformer import ReferenceTransformer

LEFT, RIGHT = 0.1, 0.9  # below and above, a gate is saturated (Karpathy, Johnson & Fei-Fei 2015)
WINDOW_LENGTH = 2048  # characters that a window has at least, if there are several
MAX_WINDOWS = 64
HELD_NUMBERS = 2**21  # of a state that are in memory at once
GATES: dict[str, dict[str, int]] = {  # with their places in what `forward` keeps of a layer
    "rnn": {},
    "lstm": {"i": 3, "f": 4, "o": 5},
    "gru": {"r": 2, "z": 3},
}
GATE_NAMES = {"i": "input", "f": "forget", "o": "output", "r": "reset", "z": "update"}


@dataclass(frozen=True)
class Gate:
    """The share of the text, for each cell (H,), for which a gate of a layer is saturated.

    `left` is the share below 0.1 (nearly closed), `right` that above 0.9 (nearly open).
    """

    layer: int
    name: str
    left: NDArray[np.float64]
    right: NDArray[np.float64]

    @property
    def full_name(self) -> str:
        """What the letter of the gate stands for."""
        return GATE_NAMES[self.name]


@dataclass(frozen=True)
class States:
    """The states of C cells after each of the N characters of a text: `values` (N, C), by layers.

    `name` says what they are: tanh(c) of an LSTM, h of all others; `bounded` says that a tanh
    keeps them between -1 and 1. `gates` are those of each layer (i, f, o; r, z), by layers.
    """

    name: str
    layers: int
    values: NDArray[np.float16]
    gates: tuple[Gate, ...] = ()
    bounded: bool = True


def read_states(model: LanguageModel, ids: Ids) -> States:
    """Read ids (N,) with a recurrent model of the reference engine.

    A long text is read in windows; each but the first begins at least 256 characters before its
    own. Raises CharloomError for a model that carries no state from character to character.
    """
    if isinstance(model, ReferenceModel):
        return _read_network(model, ids)
    if isinstance(model, ReferenceTransformer) and is_recurrent(model.config):
        return _read_scanned(model, ids)
    raise not_recurrent()


def not_recurrent() -> CharloomError:
    """Return the error for a model that has no cells."""
    message = (
        "this model is not recurrent and has no cells: name a run of an rnn, lstm, gru, mingru or "
        "minlstm"
    )
    return CharloomError(message, "unsupported", field="model")


def is_recurrent(config: NetworkConfig | NgramConfig) -> bool:
    """Return whether a model has cells: a state that it carries from character to character."""
    if isinstance(config, TransformerConfig):
        return config.mixer != "attention"
    return isinstance(config, ModelConfig | EnsembleConfig)


def _read_network(model: ReferenceModel, ids: Ids) -> States:
    config, lstm = model.config, model.config.cell == "lstm"
    weights = {name: w.astype(np.float32) for name, w in model.weights.items()}
    gates, L, H, N = GATES[config.cell], config.layers, config.hidden, len(ids)
    values = np.empty((N, L * H), np.float16)
    left, right = np.zeros((2, L, len(gates), H))
    starts, length, own = _windows(N)
    state = network.zero_states(config, len(starts), "float32")
    step = max(1, HELD_NUMBERS // (len(starts) * H))
    for t in range(0, length, step):
        places = starts[:, None] + np.arange(t, min(t + step, length))  # (B, T)
        _, state, cache = network.forward(config, weights, ids[places].T, state)
        new = (places >= own).T  # (T, B)
        for layer, cell in enumerate(cache.cells):
            states = cell[2 if lstm else 1][: len(new)][new]
            values[places.T[new], layer * H : (layer + 1) * H] = np.tanh(states) if lstm else states
            for k, place in enumerate(gates.values()):
                gate = cell[place][new]
                left[layer, k] += (gate < LEFT).sum(axis=0)
                right[layer, k] += (gate > RIGHT).sum(axis=0)
    saturated = (
        Gate(layer, name, left[layer, k] / N, right[layer, k] / N)
        for layer in range(L)
        for k, name in enumerate(gates)
    )
    return States("tanh(c)" if lstm else "h", L, values, tuple(saturated))


def _read_scanned(model: ReferenceTransformer, ids: Ids) -> States:
    """Read with minGRU or minLSTM, whose state is h, one character of all windows at a time."""
    L, D, N = model.config.layers, model.config.width, len(ids)
    values = np.empty((N, L * D), np.float16)
    starts, length, own = _windows(N)
    state = model.start(len(starts))
    for t in range(length):
        _, state = model.step(ids[starts + t], state)
        new = starts + t >= own[:, 0]
        values[(starts + t)[new]] = np.concatenate(state, axis=1)[new]
    return States("h", L, values, bounded=False)


def _windows(N: int) -> Cut:
    return windows(N, max(1, min(MAX_WINDOWS, N // WINDOW_LENGTH)))
