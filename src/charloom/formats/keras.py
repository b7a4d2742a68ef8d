"""A run's recurrent network as an .h5 file that Keras 3 opens, and Keras 2.3 or newer.

A Sequential: ids (B, T) come in, probabilities (B, T, V) of what follows each come out. One-hot
inputs are an Embedding whose matrix is the identity. Keras has the gates i f c o and z r h, and two
biases if a GRU's reset gate acts after the recurrent product. Beside the model stands a dataset
`characters` (V,), the code points in the order of their ids.
"""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import UNSET

from charloom.config import ModelConfig
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError, needs_extra
from charloom.files import write_output
from charloom.models.weights import Array, Weights
from charloom.runs.run import Run

_KINDS = {"lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN"}
_ORDER = {"lstm": (0, 1, 3, 2), "gru": (1, 0, 2), "rnn": (0,)}
_VERSION = "3.0.0"  # of Keras, by which it knows what its hard_sigmoid is

Layer = tuple[str, dict[str, Any], dict[str, Array]]  # class, settings, arrays by name


def export_keras(run: Run, path: Path, free: bool = False) -> tuple[Path, int]:
    """Write the best checkpoint for Keras; return the path and its size in bytes.

    It is written as `write_output` says. Raises CharloomError if Keras has no such network.
    """
    model, vocabulary = run.config.model, run.vocabulary
    if not isinstance(model, ModelConfig) or model.cell not in _KINDS:
        message = f"{run.path} is not a recurrent network, and no other can be written for Keras"
        raise CharloomError(message, "unsupported", path=str(run.path))
    if not isinstance(vocabulary, Vocabulary):
        message = f"{run.path} is not a model of characters, and no other can be written for Keras"
        raise CharloomError(message, "unsupported", path=str(run.path))
    if model.gate == "hard-sigmoid-1/5":
        message = (
            f"{run.path} has the hard_sigmoid of Keras 1 and 2, which Keras 3 does not have any "
            "more: export it with --onnx or --npz"
        )
        raise CharloomError(message, "unsupported", path=str(run.path))
    with needs_extra("keras", "an .h5 file"):
        import h5py
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        _write(file, _layers(model, run.load_weights(), len(vocabulary)))
        file["characters"] = np.array([*map(ord, vocabulary.characters)], np.uint32)
    content = stream.getvalue()
    return write_output(path, content, free), len(content)


def _layers(model: ModelConfig, weights: Weights, V: int) -> list[Layer]:
    table = weights["embedding"] if model.embedding else np.eye(V)
    sizes = {"input_dim": V, "output_dim": table.shape[1], "trainable": bool(model.embedding)}
    layers: list[Layer] = [("Embedding", {"name": "embedding"} | sizes, {"embeddings": table})]
    for number in range(model.layers):
        settings: dict[str, Any] = {
            "name": f"layer{number}",
            "units": model.hidden,
            "return_sequences": True,
            "activation": "tanh",
        }
        if model.cell != "rnn":
            hard = model.gate is not UNSET
            settings["recurrent_activation"] = "hard_sigmoid" if hard else "sigmoid"
        if model.cell == "gru":
            settings["reset_after"] = model.reset != "state"
        Wx, Wh, b = (_ordered(weights[f"layer{number}.{n}"], model) for n in ("Wx", "Wh", "b"))
        if model.cell == "gru" and model.reset != "state":
            second = np.zeros_like(b)
            if model.reset == "biased-product":
                second[-model.hidden :] = weights[f"layer{number}.bhn"]
            b = np.stack([b, second])
        arrays = {"kernel": Wx, "recurrent_kernel": Wh, "bias": b}
        layers.append((_KINDS[model.cell], settings, arrays))
    head = {"kernel": weights["head.W"], "bias": weights["head.b"]}
    layers.append(("Dense", {"name": "head", "units": V, "activation": "softmax"}, head))
    return layers


def _ordered(array: Array, model: ModelConfig) -> Array:
    """Return the last axis' gates in Keras' order."""
    gates = np.split(array, len(_ORDER[model.cell]), axis=-1)
    return np.concatenate([gates[place] for place in _ORDER[model.cell]], axis=-1)


def _write(file: Any, layers: list[Layer]) -> None:
    first = {"name": "ids", "batch_shape": [None, None], "dtype": "int32"}
    configs = [{"class_name": "InputLayer", "config": first}]
    configs += [{"class_name": kind, "config": settings} for kind, settings, _ in layers]
    whole = {"class_name": "Sequential", "config": {"name": "charloom", "layers": configs}}
    file.attrs["model_config"] = json.dumps(whole)
    file.attrs["keras_version"] = _VERSION
    group = file.create_group("model_weights")
    group.attrs["keras_version"] = _VERSION
    group.attrs["layer_names"] = [settings["name"].encode() for _, settings, _ in layers]
    for _, settings, arrays in layers:
        own = group.create_group(settings["name"])
        names = [f"{settings['name']}/{name}:0" for name in arrays]
        own.attrs["weight_names"] = [name.encode() for name in names]
        for name, array in zip(names, arrays.values(), strict=True):
            own[name] = np.asarray(array, np.float32)
