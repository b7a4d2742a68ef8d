"""Keras' .h5: a stack of LSTM, GRU or SimpleRNN and a softmax over characters, of Keras 1 to 3.

A model is JSON in the attribute `model_config`; its arrays are in the group `model_weights`: for
each layer a group, whose attribute `weight_names` has the names of the arrays in their order: see
keras_cells.py. A file of weights alone says nothing of layers; those of textgenrnn are known by
their names.

Links to other files are not followed, and no array is read that would be larger than the file. HDF5
is read in a process of its own, which may take a minute: one of a thousand damaged files kept the
library busy for ever.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from charloom.config import Cell, DataConfig, Gate, ModelConfig, TrainConfig
from charloom.errors import needs_extra
from charloom.formats.old.found import Found, MalformedError, RefusedError, trained
from charloom.formats.old.keras_cells import cell_arrays
from charloom.formats.old.min_char_rnn import read_npz
from charloom.formats.old.textgenrnn import from_textgenrnn, settings_beside
from charloom.models.weights import Weights, weight_shapes

MAGIC = b"\x89HDF\r\n\x1a\n"
MOST_LAYERS = 300
READING_SECONDS = 60
VERSION, CHARACTERS = "keras_version", "characters"
WEIGHTS = "weights"  # in place of a class, if the file has none
_REFUSED = 3  # the status of a process that has read why, and says so

_PASSED = {"InputLayer", "Dropout", "SpatialDropout1D"}
_CELLS: dict[str, Cell] = {
    "LSTM": "lstm",
    "CuDNNLSTM": "lstm",
    "GRU": "gru",
    "CuDNNGRU": "gru",
    "SimpleRNN": "rnn",
}

Layer = tuple[str, dict[str, Any], list[NDArray[Any]]]  # class, config, arrays


def from_keras(path: Path) -> Found:
    """Return the model in a file.

    Raises MalformedError, RefusedError, and CharloomError without h5py.
    """
    layers = _read(path)
    if layers and layers[0][0] == WEIGHTS:
        named = {config["name"]: arrays for _, config, arrays in layers}
        return from_textgenrnn(named, settings_beside(path))
    stack = _stack(layers)
    recurrent = [layer for layer in stack if layer[0] in _CELLS]
    tables = [layer for layer in stack if layer[0] == "Embedding"]
    heads = [layer for layer in stack if layer[0] == "Dense"]
    characters = _characters(layers)
    order = [kind for kind, _, _ in stack]
    expected = ["Embedding"] * len(tables) + [kind for kind, _, _ in recurrent] + ["Dense"]
    if order != expected or len(tables) > 1 or not recurrent or len(heads) != 1:
        shown = ", ".join(kind[:40] for kind in order[:12]) or "no layers"
        raise RefusedError(
            f"it has {shown}: a stack of LSTM, GRU or SimpleRNN below one Dense layer is read"
        )
    cell = _CELLS[recurrent[0][0]]
    if len({_CELLS[kind] for kind, _, _ in recurrent}) > 1:
        raise RefusedError("its layers are of several kinds")
    head = _arrays(heads[0], 2)
    weights: Weights = {"embedding": _arrays(tables[0], 1)[0]} if tables else {}
    kinds = set()
    for number, layer in enumerate(recurrent):
        parts, reset = cell_arrays(layer[2], cell)
        kinds.add((reset, _gate(layer)))
        weights |= {f"layer{number}.{name}": array for name, array in parts.items()}
    if len(kinds) > 1:
        raise RefusedError("its layers are of several kinds")
    ((reset, gate),) = kinds
    if len({len(weights[f"layer{number}.Wh"]) for number in range(len(recurrent))}) > 1:
        raise RefusedError("its layers have different sizes, and charloom's all have one")
    weights |= {"head.W": head[0], "head.b": head[1]}
    V, H = head[1].size, weights["layer0.Wh"].shape[0]
    D = weights["embedding"].shape[-1] if tables else 0
    try:
        model = ModelConfig(
            cell=cell, layers=len(recurrent), hidden=H, embedding=D, reset=reset, gate=gate
        )
    except ValueError:
        raise MalformedError("its layers have no size") from None
    for name, shape in weight_shapes(model, V).items():
        if weights[name].shape != shape or weights[name].dtype.kind != "f":
            raise MalformedError(f"its weights do not fit one another ({name})")
    notes = ["its program trained on all of the text: nothing of it is held out"]
    if not recurrent[-1][1].get("return_sequences"):
        notes.append("it was trained on windows that begin from nothing; here its state is kept")
    return Found(
        program="Keras",
        model=model,
        weights=weights,
        size=V,
        tokens=characters,
        lowered=True,
        data=DataConfig(validation=0.0),
        train=trained(TrainConfig(optimizer="adam"), 0, {}),
        notes=tuple(notes),
    )


def _characters(layers: Sequence[Layer]) -> tuple[str, ...] | None:
    """Return those that `charloom export` writes beside a model; None if there are none."""
    codes = layers[0][1].get(CHARACTERS) if layers else None
    if not isinstance(codes, list) or not all(isinstance(code, int) for code in codes):
        return None
    if any(not 0 <= code < 0x110000 for code in codes):
        raise MalformedError("its characters are none")
    return tuple(map(chr, codes))


def _gate(layer: Layer) -> Gate | UnsetType:
    """Return the function of a layer's gates; UNSET for the sigmoid, and if it has none.

    It was the hard sigmoid unless told other before Keras 2.3, and has another slope in Keras 3.
    """
    kind, config, _ = layer
    has = config.get("recurrent_activation", config.get("inner_activation", "sigmoid"))
    if kind not in ("LSTM", "GRU") or has == "sigmoid":
        return UNSET
    if has != "hard_sigmoid":
        raise RefusedError(
            f"its gates are a {str(has)[:40]}, and charloom's a sigmoid or hard_sigmoid"
        )
    return "hard-sigmoid-1/6" if str(config.get(VERSION)).startswith("3.") else "hard-sigmoid-1/5"


def _stack(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers that have weights, checked to do what charloom's do."""
    found: list[Layer] = []
    for kind, config, arrays in layers:
        if kind == "TimeDistributed":
            inner = config.get("layer")
            inner = inner if isinstance(inner, dict) else {}
            kind, config = str(inner.get("class_name")), _dict(inner.get("config"))
        if "ttention" in kind:
            raise RefusedError(
                "it looks back over its last characters with attention: of such models, the "
                "weights that textgenrnn saves are read"
            )
        if kind in _PASSED:
            continue
        if kind == "Activation" and config.get("activation") == "softmax" and found:
            found[-1][1]["activation"] = "softmax"
            continue
        found.append((kind, config, arrays))
    for kind, config, _ in found:
        _check_activations(kind, config)
    return found


def _check_activations(kind: str, config: Mapping[str, Any]) -> None:
    """Raise RefusedError unless a layer has the functions that charloom's has."""
    functions = {
        "LSTM": {"activation": "tanh"},
        "GRU": {"activation": "tanh"},
        "SimpleRNN": {"activation": "tanh"},
        "Dense": {"activation": "softmax"},
    }
    wanted = functions.get(kind, {})
    for name, function in wanted.items():
        if (has := config.get(name)) != function:
            raise RefusedError(
                f"a layer's {name} is {str(has)[:40]}, and charloom's is {function}: the model "
                "would predict something else"
            )
    if config.get("go_backwards"):
        raise RefusedError("it reads the text backwards")


def _arrays(layer: Layer, count: int) -> list[NDArray[Any]]:
    kind, _, arrays = layer
    if len(arrays) != count:
        raise RefusedError(f"its {kind[:40]} has {len(arrays)} arrays, not {count}")
    return arrays


def _read(path: Path) -> list[Layer]:
    """Read the layers in a process of its own: a damaged file can keep HDF5's library for ever."""
    with needs_extra("keras", "an .h5 file"):
        import h5py  # noqa: F401
    command = [sys.executable, "-c", f"from {__name__} import main; main()", str(path.absolute())]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, env=environment, timeout=READING_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise MalformedError(f"HDF5 has not read it in {READING_SECONDS} seconds") from None
    if done.returncode == _REFUSED:
        raise RefusedError(done.stderr.decode(errors="replace"))
    if done.returncode:
        raise MalformedError("HDF5 cannot read it")
    arrays = read_npz(done.stdout)
    layers = json.loads(arrays["layers"].tobytes())
    return [
        (kind, config, [arrays[f"{n}.{m}"] for m in range(count)])
        for n, (kind, config, count) in enumerate(layers)
    ]


def main() -> None:
    """Write the layers in a file to standard output, as `_read` takes them."""
    path = Path(sys.argv[1])
    try:
        layers = _opened(path, path.stat().st_size)
    except RefusedError as error:
        sys.stderr.write(str(error))
        sys.exit(_REFUSED)
    if sum(array.nbytes for _, _, arrays in layers for array in arrays) > path.stat().st_size:
        sys.exit("its layers have more arrays than the file")
    listed = json.dumps([(kind, config, len(arrays)) for kind, config, arrays in layers])
    named = {"layers": np.frombuffer(listed.encode(), np.uint8)}
    for n, (_, _, arrays) in enumerate(layers):
        named |= {f"{n}.{m}": array for m, array in enumerate(arrays)}
    np.savez(sys.stdout.buffer, **named)  # type: ignore[arg-type]


def _opened(path: Path, size: int) -> list[Layer]:
    """Return the layers in a file of that size; raises RefusedError, or others if it is damaged."""
    import h5py

    with h5py.File(path, "r") as file:
        config = file.attrs.get("model_config")
        if config is None:
            if "attention" in file:  # textgenrnn's layers are known by their names
                named = [{"name": str(name)} for name in [*file][:MOST_LAYERS]]
                return [(WEIGHTS, layer, _of(file, layer, size)) for layer in named]
            raise RefusedError(
                "it has weights alone, and does not say of which layers: save the model"
            )
        group = _within(file, "model_weights")
        told: dict[str, Any] = {VERSION: str(file.attrs.get(VERSION, ""))[:20]}
        if CHARACTERS in file:
            codes = _dataset(file, CHARACTERS, size, "u")
            told[CHARACTERS] = codes.reshape(-1).tolist()
        return [
            (str(layer.get("class_name")), _dict(layer.get("config")) | told, arrays)
            for layer, arrays in (
                (layer, _of(group, layer, size)) for layer in _layers(json.loads(config))
            )
        ]


def _layers(config: Any) -> list[dict[str, Any]]:
    found = _dict(config).get("config")
    found = found.get("layers") if isinstance(found, dict) else found  # a list of Keras 1 and 2
    if not isinstance(found, list) or not 0 < len(found) <= MOST_LAYERS:
        raise MalformedError("its model_config has no list of layers")
    return [_dict(layer) for layer in found]


def _dict(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _of(group: Any, layer: dict[str, Any], size: int) -> list[NDArray[Any]]:
    """Return the arrays of a layer in the order of their names."""
    name = _dict(layer.get("config")).get("name") or layer.get("name")
    if not isinstance(name, str) or name not in group:
        return []
    own = _within(group, name)
    if "weight_names" not in own.attrs:
        return []
    names = [n.decode() if isinstance(n, bytes) else str(n) for n in own.attrs["weight_names"]]
    return [_dataset(own, path, size) for path in names]


def _within(group: Any, path: str) -> Any:
    """Follow a path of names, none of which may be a link out of the file."""
    import h5py

    for name in path.strip("/").split("/"):
        if not isinstance(group, h5py.Group):
            raise MalformedError("an array is in no group")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise MalformedError("it has links")
        group = group[name]
    return group


def _dataset(group: Any, path: str, most: int, kind: str = "f") -> NDArray[Any]:
    import h5py

    found = _within(group, path)
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
        raise MalformedError("an array is none, or in another file")
    if found.dtype.kind != kind or found.size * found.dtype.itemsize > most:
        raise MalformedError("an array holds other numbers, or more than there are")
    return np.asarray(found[()])
