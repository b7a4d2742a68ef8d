"""What goes on inside a recurrent network while it reads: its states, and how open its gates are.

The states are read off the reference engine, whose forward pass keeps them all, with many lanes
side by side. Weights of any engine are opened by it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.config import ModelConfig, NetworkConfig, NgramConfig, TransformerConfig
from charloom.data.tokenizer import Ids
from charloom.errors import CharloomError
from charloom.evaluation import Windows, windows
from charloom.models.engines import LanguageModel
from charloom.models.reference import ReferenceModel, network
from charloom.models.reference.transformer import ReferenceTransformer
from charloom.models.weights import Array

LEFT, RIGHT = 0.1, 0.9  # below and above, a gate is saturated (Karpathy, Johnson & Fei-Fei 2015)
LANE_LENGTH = 2048  # characters at least that a lane reads, where there are several
MAX_LANES = 64
PIECE = 2**21  # numbers of a state's array that are held at once
GATE_NAMES = {"rnn": "", "lstm": "ifo", "gru": "rz"}  # in the order in which `forward` keeps them
SHOWN = {"rnn": "h", "lstm": "tanh(c)", "gru": "h"}

REFUSED = (
    "neurons are those of recurrent networks, which carry a state from character to character: "
    "name a run of an rnn, lstm, gru, mingru or minlstm"
)

Saturation = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class States:
    """What C cells did on the N characters of a text, layer after layer: `values` (N, C).

    Entry t is after character t was read. `name` says what it is: tanh(c) of an LSTM, h of all
    others; `bounded` says that a tanh keeps it between -1 and 1. `left` and `right` hold for each
    gate (i, f, o; r, z) the share of the text (L, H) that each cell's was below 0.1 and above
    0.9; they are empty where there are no gates.
    """

    name: str
    layers: int
    values: NDArray[np.float16]
    left: Saturation
    right: Saturation
    bounded: bool = True


def read_states(model: LanguageModel, ids: Ids) -> States:
    """Read ids (N,) from nothing with a recurrent model, of the reference engine.

    A long text is read in lanes; each but the first begins at least 256 characters before its
    own. Raises CharloomError for a model that carries no state from character to character.
    """
    if isinstance(model, ReferenceModel):
        return _read_network(model, ids)
    if isinstance(model, ReferenceTransformer) and is_recurrent(model.config):
        return _read_scanned(model, ids)
    raise CharloomError(REFUSED)


def is_recurrent(config: NetworkConfig | NgramConfig) -> bool:
    """Whether a model has cells: a state that it carries from character to character."""
    if isinstance(config, TransformerConfig):
        return config.mixer != "attention"
    return isinstance(config, ModelConfig)


def _read_network(model: ReferenceModel, ids: Ids) -> States:
    config = model.config
    weights = {name: w.astype(np.float32) for name, w in model.weights.items()}
    names, L, H, N = GATE_NAMES[config.cell], config.layers, config.hidden, len(ids)
    values = np.empty((N, L * H), np.float16)
    left, right = ({name: np.zeros((L, H)) for name in names} for _ in range(2))
    lanes, length, own = _windows(N)
    state = network.zero_states(config, len(lanes), "float32")
    step = max(1, PIECE // (len(lanes) * H))
    for t in range(0, length, step):
        places = lanes[:, None] + np.arange(t, min(t + step, length))  # (B, T)
        _, state, cache = network.forward(config, weights, ids[places].T, state)
        new = (places >= own).T  # (T, B)
        for layer, cell in enumerate(cache.cells):
            values[places.T[new], layer * H : (layer + 1) * H] = _shown(config, cell, new)
            for name, gate in zip(names, _gates(config, cell), strict=True):
                left[name][layer] += (gate[new] < LEFT).sum(axis=0)
                right[name][layer] += (gate[new] > RIGHT).sum(axis=0)
    for counts in left, right:
        for name in names:
            counts[name] /= N
    return States(SHOWN[config.cell], L, values, left, right)


def _shown(config: ModelConfig, cell: tuple[Array, ...], new: NDArray[np.bool_]) -> Array:
    """What is shown of a layer's cache: (n, H) of the n that are new."""
    h, c = cell[1], cell[2] if config.cell == "lstm" else None
    return h[: len(new)][new] if c is None else np.tanh(c[: len(new)][new])


def _gates(config: ModelConfig, cell: tuple[Array, ...]) -> tuple[Array, ...]:
    """The gates (T, B, H) of a layer's cache that GATE_NAMES says."""
    match config.cell:
        case "lstm":
            return cell[3:6]
        case "gru":
            return cell[2:4]
        case _:
            return ()


def _read_scanned(model: ReferenceTransformer, ids: Ids) -> States:
    """minGRU and minLSTM, one character of all lanes at a time: h is the state itself."""
    L, D, N = model.config.layers, model.config.width, len(ids)
    values = np.empty((N, L * D), np.float16)
    lanes, length, own = _windows(N)
    state = model.start(len(lanes))
    for t in range(length):
        _, state = model.step(ids[lanes + t], state)
        new = lanes + t >= own[:, 0]
        values[(lanes + t)[new]] = np.concatenate(state, axis=1)[new]
    return States("h", L, values, {}, {}, bounded=False)


def _windows(N: int) -> Windows:
    return windows(N, max(1, min(MAX_LANES, N // LANE_LENGTH)))
