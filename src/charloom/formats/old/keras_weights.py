"""Keras' files of weights alone, which do not say of which layers: what the shapes of arrays tell.

    Embedding (V, D)        Dense (H, V), (V,)
    LSTM (D, 4H), (H, 4H), (4H,), GRU 3H, SimpleRNN H; with a bias for each product, twice as long
    LSTM, GRU of Keras 1: 12 and 9 arrays, three of each gate

They do not tell the functions, which are taken to be those that Keras has if nothing is said.
"""

import re
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from charloom.formats.old.found import RefusedError
from charloom.formats.old.keras_files import VERSION, Layer

_BY_GATES = {4: "LSTM", 3: "GRU", 1: "SimpleRNN"}
_BY_COUNT = {12: "LSTM", 9: "GRU"}
_CURE = "save the whole model, model.save('model.h5'), where it can still be made"
_ORDER = {"Embedding": 0, "Dense": 2}  # and recurrent layers between


def with_classes(layers: Sequence[Layer]) -> list[Layer]:
    """Return layers of weights alone with the classes and settings that they are taken to have."""
    found = []
    for _, config, arrays in layers:
        if arrays:
            kind = _class(str(config["name"]), arrays)
            found.append((kind, _settings(kind, str(config.get(VERSION)), arrays), arrays))
    if not found:
        raise RefusedError(f"it has no weights: {_CURE}")
    return sorted(found, key=lambda layer: _ORDER.get(layer[0], 1))


def _class(name: str, arrays: Sequence[NDArray[Any]]) -> str:
    shapes = [array.shape for array in arrays]
    match shapes:
        case [(_, _)]:
            return "Embedding"
        case [(_, columns), (size,)] if columns == size:
            return "Dense"
        case [(_, columns), (units, width), _] if columns == width and units:
            kind = _BY_GATES.get(width // units if width % units == 0 else 0)
        case _:
            kind = _BY_COUNT.get(len(shapes))
    if kind is None:
        shown = ", ".join(map(str, shapes[:12]))
        raise RefusedError(
            f"it has weights alone, and its layer {name[:40]} has arrays of the shapes {shown}, "
            f"which no Embedding, LSTM, GRU, SimpleRNN or Dense has: {_CURE}"
        )
    return kind


def _settings(kind: str, version: str, arrays: Sequence[NDArray[Any]]) -> dict[str, Any]:
    if kind == "Dense":
        return {"activation": "softmax"}
    if kind not in ("LSTM", "GRU"):
        return {"activation": "tanh", "return_sequences": True}
    of_cudnn = len(arrays) == 3 and arrays[2].ndim == 1 and arrays[2].size == 2 * _width(arrays)
    gate = "sigmoid" if of_cudnn or not _is_early(version) else "hard_sigmoid"
    return {
        "activation": "tanh",
        "recurrent_activation": gate,
        "return_sequences": True,
        VERSION: version,
    }


def _width(arrays: Sequence[NDArray[Any]]) -> int:
    return int(arrays[1].shape[1])


def _is_early(version: str) -> bool:
    """Whether gates were a hard_sigmoid if nothing was said: before Keras 2.3.

    TensorFlow's own Keras, whose versions end in "-tf", was 2.2.4 for long, in TensorFlow 2, too.
    """
    return not version.endswith("-tf") and not re.match(r"2\.([3-9]|1\d)|[3-9]\.", version)


def assumed(layers: Sequence[Layer]) -> str:
    """Return a note of what the layers are taken to be."""
    shown = ", ".join(kind for kind, _, _ in layers)
    gates = {config.get("recurrent_activation") for _, config, _ in layers} - {None}
    of_gates = f", gates of {gates.pop()}" if len(gates) == 1 else ""
    return f"it has weights alone, taken to be {shown} with tanh{of_gates} and a softmax"
