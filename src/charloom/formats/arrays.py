"""A run in; its weights as a file of arrays out: for NumPy, or for PyTorch, without charloom.

For NumPy, an .npz: arrays under the names of models/weights.py, and `characters` (V,), the code
points in the order of their ids; and `reset` and `gate`, texts, if a GRU's reset gate multiplies
something else than the recurrent product, and if gates have another function than the sigmoid.

For PyTorch, a state_dict as .safetensors, of which nothing can be executed: rnn.weight_ih_l0
(G H, D) and so on as nn.LSTM, nn.GRU and nn.RNN have them, head.weight (V, H), head.bias (V,), and
embedding.weight (V, D) if inputs are not one-hot. Its metadata are texts: `cell`, `layers`,
`hidden`, `embedding` (D, or 0), and `characters` as a JSON list.
"""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from charloom.config import ModelConfig
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError
from charloom.files import write_output
from charloom.models.weights import Array, Weights
from charloom.runs.run import Run


def export_npz(run: Run, path: Path, free: bool = False) -> tuple[Path, int]:
    """Write the weights of the best checkpoint for NumPy; return the path and its size in bytes.

    It is written as `write_output` says. Raises CharloomError if there are no such weights.
    """
    config, vocabulary = run.config, run.vocabulary
    if not isinstance(config.model, ModelConfig):
        raise _unsupported(run, "a recurrent network")
    arrays: dict[str, Array] = run.load_weights()
    stream = io.BytesIO()
    facts: dict[str, NDArray[Any]] = {}
    if isinstance(vocabulary, Vocabulary):
        facts["characters"] = np.array([*map(ord, vocabulary.characters)], np.uint32)
    for name, kind in (("reset", config.model.reset), ("gate", config.model.gate)):
        if kind is not UNSET:
            facts[name] = np.array(kind)
    np.savez(stream, **arrays, **facts)  # type: ignore[arg-type]
    content = stream.getvalue()
    return write_output(path, content, free), len(content)


def export_torch(run: Run, path: Path, free: bool = False) -> tuple[Path, int]:
    """Write the weights of the best checkpoint for PyTorch, as `export_npz` does for NumPy."""
    from safetensors.numpy import save

    model, vocabulary = run.config.model, run.vocabulary
    if not isinstance(model, ModelConfig):
        raise _unsupported(run, "a recurrent network")
    if not isinstance(vocabulary, Vocabulary):
        raise _unsupported(run, "a model of characters")
    if model.reset == "state" or model.gate is not UNSET:
        message = (
            f"{run.path} has a cell that PyTorch does not have, with a reset before the recurrent "
            "product or gates of a hard sigmoid: export it with --onnx or --npz"
        )
        raise CharloomError(message, "unsupported", path=str(run.path))
    arrays = state_dict(model, run.load_weights())
    metadata = {name: str(getattr(model, name)) for name in ("layers", "hidden", "embedding")}
    metadata |= {"cell": model.cell, "characters": json.dumps(vocabulary.characters)}
    content = save({name: np.ascontiguousarray(a) for name, a in arrays.items()}, metadata)
    return write_output(path, content, free), len(content)


def state_dict(model: ModelConfig, weights: Weights) -> Weights:
    """Return a recurrent network's weights under PyTorch's names and in its layout.

    Its gates are i f g o for an LSTM, and r z n as here for a GRU; its second bias is 0, but for a
    GRU's `bhn`.
    """
    found = {"head.weight": weights["head.W"].T, "head.bias": weights["head.b"]}
    if model.embedding:
        found["embedding.weight"] = weights["embedding"]
    for layer in range(model.layers):
        for ours, theirs in (("Wx", "weight_ih"), ("Wh", "weight_hh"), ("b", "bias_ih")):
            array = weights[f"layer{layer}.{ours}"]
            if model.cell == "lstm":
                i, f, o, g = np.split(array, 4, axis=-1)
                array = np.concatenate([i, f, g, o], axis=-1)
            found[f"rnn.{theirs}_l{layer}"] = array.T
        second = np.zeros_like(weights[f"layer{layer}.b"])
        if model.reset == "biased-product":
            second[-model.hidden :] = weights[f"layer{layer}.bhn"]
        found[f"rnn.bias_hh_l{layer}"] = second
    return found


def _unsupported(run: Run, needed: str) -> CharloomError:
    message = f"{run.path} is not {needed}, and no other can be written like this"
    return CharloomError(message, "unsupported", path=str(run.path))
