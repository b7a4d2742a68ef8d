"""Arrays on disk: which ones the settings of a run ask for, and files that hold just those.

A safetensors file is a JSON header, which names a dtype, a shape and a place for each array,
and then the arrays' bytes. The header is believed only if it says what the settings say, so no
array is allocated that the run does not ask for and the file does not hold.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from charloom.config import EnsembleConfig, NgramConfig, RunConfig
from charloom.errors import CharloomError
from charloom.files import Block, damaged, name_of, one_line
from charloom.models.learner_arrays import state_array_shapes
from charloom.models.weights import check_names, in_each, weight_shapes

_LARGEST_HEADER = 2**20  # bytes: 256 layers under Adam need a fifth of it
_BLOCK = 2**18  # bytes that are written at once
_DTYPES = {  # in the order in which safetensors files hold them
    "int64": "I64",
    "float64": "F64",
    "float32": "F32",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
}
_NUMPY_NAMES = {theirs: name for name, theirs in _DTYPES.items()}
CURE = "delete the folder of that checkpoint"

Array = NDArray[Any]


class Expected(NamedTuple):
    """What an array must be: one of these dtypes, and this shape, in which None is any length."""

    dtypes: tuple[str, ...]
    shape: tuple[int | None, ...]


def expected_arrays(config: RunConfig, vocabulary_size: int) -> dict[str, Expected]:
    """Return by name what each array of a checkpoint must be: of weights and training state.

    These are the arrays that every engine's learner gives for the settings. How many n-grams
    there are follows from the text: of their counts only names, dtypes and one dimension are
    known.
    """
    model = config.model
    if isinstance(model, NgramConfig):
        counts = Expected(("uint8", "uint16", "uint32"), (None,))
        arrays = dict.fromkeys(("character", "count", "children"), counts)
        if model.smoothing == "held-out":
            arrays["discount"] = Expected(("float64",), (model.order, 2, 2, 3))
        return arrays
    dtypes = {"optimizer.updates": "int64", "rng.seed": "int64", "optimizer.scale": "float32"}
    shapes = weight_shapes(model, vocabulary_size)
    shapes |= state_array_shapes(model, config.train, vocabulary_size)
    if isinstance(model, EnsembleConfig):
        dtypes = in_each(model, dtypes)
    return {n: Expected((dtypes.get(n, config.dtype),), shape) for n, shape in shapes.items()}


def to_blocks(arrays: Mapping[str, Array]) -> Iterator[Block]:
    """Yield the bytes of a safetensors file with these arrays, a block of their memory at a time.

    They are those of `safetensors.numpy.save`, which makes them all at once in memory. (Its
    `save_file` tells no error number of a full disk, and the file is the owner's alone.)
    """
    order = sorted(arrays, key=lambda name: ([*_DTYPES].index(str(arrays[name].dtype)), name))
    header, end = {}, 0
    for name in order:
        begin, end = end, end + arrays[name].nbytes
        entry = {"dtype": _DTYPES[str(arrays[name].dtype)], "shape": arrays[name].shape}
        header[name] = entry | {"data_offsets": (begin, end)}
    text = msgspec.json.encode(header)
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        content = np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data
        yield from (content[at : at + _BLOCK] for at in range(0, len(content), _BLOCK))


def read_arrays(path: Path, file: BinaryIO, expected: Mapping[str, Expected]) -> dict[str, Array]:
    """Read an open file that holds the `expected` arrays and no others, without NaN or infinity.

    Raises CharloomError that names its `path`; if the header is wrong, before anything is
    allocated.
    """
    try:
        file.seek(0)
        header, size = int.from_bytes(file.read(8), "little"), os.fstat(file.fileno()).st_size
        if header > min(_LARGEST_HEADER, size - 8):
            raise damaged(path, f"its header claims {header:,} bytes", CURE)
        with safe_open(name_of(path, file), framework="numpy") as content:
            check_names(content.keys(), expected, str(path))
            for name, wanted in expected.items():
                _check_header(content.get_slice(name), wanted, path, name)
            arrays = {name: content.get_tensor(name) for name in expected}
    except MemoryError:
        message = f"{path} does not fit into the free memory: free some"
        raise CharloomError(message, "unreadable", path=str(path)) from None
    except (SafetensorError, OSError, OverflowError) as error:
        raise damaged(path, one_line(error), CURE) from None
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            message = f"{path}: {name} holds NaN or infinity: {CURE}"
            raise CharloomError(message, "damaged", path=str(path), array=name)
    return arrays


def _check_header(header: Any, wanted: Expected, path: Path, name: str) -> None:
    """Raise CharloomError unless safetensors' slice, which has read no array yet, fits."""
    dtype, shape = header.get_dtype(), header.get_shape()
    pairs = zip(shape, wanted.shape, strict=False)
    fits = len(shape) == len(wanted.shape) and all(w in (None, n) for n, w in pairs)
    if not fits or _NUMPY_NAMES.get(dtype) not in wanted.dtypes:
        sizes = "x".join("?" if n is None else f"{n}" for n in wanted.shape)
        message = (
            f"{path}: {name} is of type {_NUMPY_NAMES.get(dtype, dtype)} and shape "
            f"{'x'.join(map(str, shape[:4]))}, but the settings need "
            f"{' or '.join(wanted.dtypes)} and {sizes}: restore config.json and vocabulary.json, "
            f"or {CURE}"
        )
        raise CharloomError(message, "bad-array", path=str(path), array=name)
