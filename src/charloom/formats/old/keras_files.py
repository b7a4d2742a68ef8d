"""Keras' files as layers: .h5 of whole models and of weights alone, and .keras.

A whole model of Keras 1 and 2 is JSON in the attribute `model_config`; its arrays are in the group
`model_weights`, those of weights alone at the top: for each layer a group, whose attribute
`weight_names` has the names of the arrays in their order. Keras 3, and 2.12 before it, calls groups
by the classes of the layers in the order of the model, and arrays by their numbers:
layers/lstm_1/cell/vars/0. A .keras is a zip archive of such a file beside config.json.

Links to other files are not followed, and no array is read that would be larger than the file. HDF5
is read in a process of its own, which may take a minute: one of a thousand damaged files kept the
library busy for ever.
"""

import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.errors import needs_extra
from charloom.formats.old.found import MalformedError, RefusedError
from charloom.formats.old.min_char_rnn import read_npz
from charloom.formats.old.pytorch import opened_zip

MAGIC = b"\x89HDF\r\n\x1a\n"
IN_ARCHIVE = "model.weights.h5"
MOST_LAYERS = 300
MOST_DEPTH = 8
READING_SECONDS = 60
VERSION, CHARACTERS = "keras_version", "characters"
WEIGHTS = "weights"  # in place of a class, if the file has none
_REFUSED = 3  # the status of a process that has read why, and says so
_BY_CLASS = ("layers", "_layer_checkpoint_dependencies")  # since Keras 3; since 2.12
_NO_WEIGHTS = "seed_generator"  # of dropout

Layer = tuple[str, dict[str, Any], list[NDArray[Any]]]  # class, config, arrays


def read_layers(path: Path) -> list[Layer]:
    """Return the layers in a file; of weights alone, all have the class WEIGHTS and their name.

    Raises MalformedError, RefusedError, and CharloomError without h5py.
    """
    with needs_extra("keras", "a file of Keras"):
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
    """Write the layers in a file to standard output, as `read_layers` takes them."""
    path = Path(sys.argv[1])
    try:
        layers = [*_opened(path)]
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


def _opened(path: Path) -> Iterator[Layer]:
    """Yield the layers in a file; raises RefusedError, or others if it is damaged."""
    import h5py

    with path.open("rb") as file:
        whole_model = file.read(len(MAGIC)) == MAGIC
    if whole_model:
        with h5py.File(path, "r") as file:
            yield from _of_file(file, path.stat().st_size)
        return
    content = path.read_bytes()
    with opened_zip(content) as archive:
        if sum(member.file_size for member in archive.infolist()) > 2 * len(content):
            raise MalformedError("its archive would be larger than the file")
        config = json.loads(archive.read("config.json"))
        told = {VERSION: str(as_dict(json.loads(archive.read("metadata.json"))).get(VERSION))[:20]}
        weights = io.BytesIO(archive.read(IN_ARCHIVE))
    with h5py.File(weights, "r") as file:
        arrays = dict(_by_class(file, len(content)))
    for group, layer in _named_by_class(_layers(config)):
        kind = str(layer.get("class_name"))
        yield kind, as_dict(layer.get("config")) | told, arrays.get(group, [])


def _of_file(file: Any, size: int) -> Iterator[Layer]:
    told: dict[str, Any] = {VERSION: str(file.attrs.get(VERSION, ""))[:20]}
    config = file.attrs.get("model_config")
    if config is None:
        if by_class := _by_class(file, size):
            told[VERSION] = "3."
        for name, arrays in by_class or _by_name(file, size):
            yield WEIGHTS, {"name": name} | told, arrays
        return
    group = _within(file, "model_weights")
    if CHARACTERS in file:
        codes = _dataset(file, CHARACTERS, size, "u")
        told[CHARACTERS] = codes.reshape(-1).tolist()
    for layer in _layers(json.loads(config)):
        config = as_dict(layer.get("config"))
        own = config.get("name") or layer.get("name")
        arrays = _listed(group, own, size) if isinstance(own, str) else []
        yield str(layer.get("class_name")), config | told, arrays


def _layers(config: Any) -> list[dict[str, Any]]:
    found = as_dict(config).get("config")
    found = found.get("layers") if isinstance(found, dict) else found  # a list of Keras 1 and 2
    if not isinstance(found, list) or not 0 < len(found) <= MOST_LAYERS:
        raise MalformedError("its model_config has no list of layers")
    return [as_dict(layer) for layer in found]


def as_dict(found: Any) -> dict[str, Any]:
    """Return what was found in JSON if it is a dict, else an empty one."""
    return found if isinstance(found, dict) else {}


Named = list[tuple[str, list[NDArray[Any]]]]  # layers and their arrays


def _by_name(file: Any, size: int) -> Named:
    """Return what Keras 1 and 2 save of weights alone, in the order of the layers.

    Without that order they are told by their names, which textgenrnn's are.
    """
    names = [*map(_text, file.attrs.get("layer_names", ()))][:MOST_LAYERS]
    if any(name not in file or "weight_names" not in _within(file, name).attrs for name in names):
        raise MalformedError("a layer that it names is not there")
    if not names and "attention" not in file:
        raise RefusedError("it has arrays, but is no model of Keras, nor weights that it saved")
    return [(name, _listed(file, name, size)) for name in names or [*file][:MOST_LAYERS]]


def _listed(group: Any, name: str, size: int) -> list[NDArray[Any]]:
    """Return the arrays of a layer in the order of their names."""
    if name not in group:
        return []
    own = _within(group, name)
    return [_dataset(own, _text(path), size) for path in own.attrs.get("weight_names", [])]


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _by_class(file: Any, size: int) -> Named:
    """Return what Keras 3 saves of weights alone, sorted by what stands behind the classes."""
    top = next((name for name in _BY_CLASS if name in file), None)
    if top is None:
        return []
    group = _within(file, top)
    names = sorted([*group][:MOST_LAYERS], key=lambda name: (_number(name), name))
    return [(name, [*_below(_within(group, name), size, MOST_DEPTH)]) for name in names]


def _number(name: str) -> int:
    """Return the number at the end of lstm_2; 0 without one."""
    match = re.search(r"(?:\A|_)(\d{1,9})\Z", name)
    return int(match[1]) if match else 0


def _below(group: Any, size: int, depth: int) -> Iterator[NDArray[Any]]:
    """Yield all arrays in a group and in those within."""
    import h5py

    if not isinstance(group, h5py.Group) or not depth:
        raise MalformedError("its groups are no layers")
    for name in sorted(group, key=lambda name: (_number(name), name)):
        if name == _NO_WEIGHTS:
            continue
        if isinstance(part := _within(group, name), h5py.Group):
            yield from _below(part, size, depth - 1)
        else:
            yield _dataset(group, name, size)


def _named_by_class(layers: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield layers with the names of their groups: simple_rnn and simple_rnn_1 are SimpleRNN's."""
    before: Counter[str] = Counter()
    for layer in layers:
        kind = str(layer.get("class_name"))
        name = re.sub(r"([a-z])([A-Z])", r"\1_\2", kind).lower()
        yield f"{name}_{before[name]}" if before[name] else name, layer
        before[name] += 1


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
