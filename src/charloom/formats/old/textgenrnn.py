"""textgenrnn's weights (Max Woolf, 2017): LSTMs and attention over the last 40 characters.

The file has weights alone, in groups by the names of layers: embedding (V + 1, D), whose row 0
stands for what is before a text; rnn_1, rnn_2, ...; attention (F, 1); output (F, V + 1). It
trained CuDNNLSTM on a GPU, with a bias for each product, and plain LSTM without.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.config import AttentiveConfig, DataConfig, TrainConfig
from charloom.formats.old.found import (
    ALL_OF_IT,
    Found,
    MalformedError,
    RefusedError,
    check_fit,
    trained,
    whole,
)
from charloom.formats.old.keras_cells import cell_arrays
from charloom.models.weights import Weights

PROGRAM = "textgenrnn"
WINDOW = 40  # characters, unless its settings say otherwise
_MOST_BYTES = 2**20  # of the settings


def is_textgenrnn(layers: Mapping[str, Any]) -> bool:
    """Whether these are the names of its layers."""
    return "attention" in layers


def settings_beside(path: Path) -> dict[str, Any]:
    """Return the settings in NAME_config.json beside NAME_weights.hdf5; none if it is not there."""
    beside = path.with_name(path.name.replace("_weights.hdf5", "_config.json"))
    try:
        if beside == path or not beside.is_file() or beside.stat().st_size > _MOST_BYTES:
            return {}
        found = json.loads(beside.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise MalformedError(f"the settings beside it, {beside.name}, cannot be read") from None
    return found if isinstance(found, dict) else {}


def from_textgenrnn(
    layers: Mapping[str, Sequence[NDArray[Any]]], settings: Mapping[str, Any]
) -> Found:
    """Return the model of the arrays by layer; raises MalformedError and RefusedError."""
    window = whole(settings.get("max_length", WINDOW), 1, 65536)
    if settings.get("word_level") or settings.get("rnn_bidirectional"):
        raise RefusedError("it reads words, or in both directions, which charloom does not")
    if window is None:
        raise MalformedError("its window has no length that is known")
    L = sum(name.startswith("rnn_") and name != "rnn_concat" for name in layers)
    names = {"embedding": 1, "attention": 1, "output": 2}
    names |= {f"rnn_{n + 1}": 3 for n in range(L)}
    if "context_output" in layers:
        raise RefusedError("it was trained with contexts, which charloom does not read")
    for name, count in names.items():
        if len(layers.get(name, ())) != count:
            raise RefusedError(
                f"its layer {name} has {len(layers.get(name, ()))} arrays, not {count}: models of "
                "textgenrnn that read in both directions are not known"
            )
    (embedding,), (attention,), (head, bias) = (
        layers[name] for name in ("embedding", "attention", "output")
    )
    if not L or embedding.ndim != 2 or len(embedding) < 3 or head.ndim != 2 or bias.ndim != 1:
        raise MalformedError("its layers do not fit one another")
    V, D = len(embedding) - 1, embedding.shape[1]
    weights: Weights = {}
    for layer in range(L):
        parts, _ = cell_arrays(layers[f"rnn_{layer + 1}"], "lstm")
        weights |= {f"layer{layer}.{name}": array for name, array in parts.items()}
    weights["embedding"] = np.concatenate([embedding[1:], embedding[:1]])
    weights["attention"] = attention.reshape(-1)
    weights |= {"head.W": head[:, 1:], "head.b": bias[1:]}
    H = len(weights["layer0.Wh"])
    if not 0 < H <= 65536 or not 0 < D <= 65536 or L > 256:
        raise MalformedError("its layers have no size that is known")
    model = AttentiveConfig(layers=L, hidden=H, embedding=D, window=window)
    check_fit(weights, model, V)
    return Found(
        program=PROGRAM,
        model=model,
        weights=weights,
        size=V,
        data=DataConfig(validation=0.0),
        train=trained(TrainConfig(optimizer="adam"), 0, {}),
        held_out=ALL_OF_IT,
    )
