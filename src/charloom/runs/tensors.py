"""Arrays on disk: which ones the settings of a run ask for, and files that hold just those.

A safetensors file is a JSON header, which names a dtype, a shape and a place for each array,
and then the numbers. The header is believed only where it says what the settings say, so no
array is allocated that the run does not ask for and the file does not hold.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from charloom.config import NgramConfig, RunConfig
from charloom.errors import CharloomError
from charloom.files import one_line, plain_size
from charloom.models.learner_arrays import state_array_shapes
from charloom.models.weights import check_names, weight_shapes

_LARGEST_HEADER = 2**20  # bytes: 256 layers under Adam need a fifth of it
_NUMPY_NAMES = {
    "F32": "float32",
    "F64": "float64",
    "I64": "int64",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
}

Array = NDArray[Any]


class Expected(NamedTuple):
    """What an array must be: one of these dtypes, and this shape, in which None is any length."""

    dtypes: tuple[str, ...]
    shape: tuple[int | None, ...]


def expected_arrays(config: RunConfig, vocabulary_size: int) -> dict[str, Expected]:
    """Return by name what each array of a checkpoint must be: of weights and training state.

    These are the arrays that every engine's learner gives for the settings. How many n-grams
    there are follows from the text: of an n-gram model only names, dtypes and one dimension
    are known.
    """
    model = config.model
    if isinstance(model, NgramConfig):
        counts = Expected(("uint8", "uint16", "uint32"), (None,))
        return dict.fromkeys(("character", "count", "children"), counts)
    dtypes = {"optimizer.updates": "int64", "rng.seed": "int64", "optimizer.scale": "float32"}
    shapes = weight_shapes(model, vocabulary_size)
    shapes |= state_array_shapes(model, config.train, vocabulary_size)
    return {n: Expected((dtypes.get(n, config.dtype),), shape) for n, shape in shapes.items()}


def to_bytes(arrays: Mapping[str, Array]) -> bytes:
    """Return the contents of a file that holds these arrays."""
    # safetensors copies memory as it lies: what is no C-ordered block would be saved scrambled.
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def read_arrays(path: Path, expected: Mapping[str, Expected]) -> dict[str, Array]:
    """Read a file that holds the `expected` arrays and no others, without NaN or infinity.

    Raises CharloomError, before anything is allocated where it is the header that is wrong.
    """
    _check_header_size(path)
    try:
        with safe_open(path, framework="numpy") as file:
            check_names(file.keys(), expected, str(path))
            for name, wanted in expected.items():
                _check_header(file.get_slice(name), wanted, f"{path}: {name}")
            arrays = {name: file.get_tensor(name) for name in expected}
    except MemoryError:
        raise CharloomError(f"{path} is too large for the free memory: free some") from None
    except (SafetensorError, OSError, OverflowError) as error:
        raise CharloomError(f"{path} is damaged ({one_line(error)}): delete its folder") from None
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise CharloomError(f"{path}: {name} holds NaN or infinity: delete its folder")
    return arrays


def _check_header_size(path: Path) -> None:
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > min(_LARGEST_HEADER, plain_size(path) - 8):
        raise CharloomError(
            f"{path} is damaged: its header claims {header:,} bytes; delete its folder"
        )


def _check_header(header: Any, wanted: Expected, where: str) -> None:
    """Raise CharloomError unless safetensors' slice, which holds no numbers yet, fits."""
    dtype, shape = header.get_dtype(), header.get_shape()
    pairs = zip(shape, wanted.shape, strict=False)
    fits = len(shape) == len(wanted.shape) and all(w in (None, n) for n, w in pairs)
    if not fits or _NUMPY_NAMES.get(dtype) not in wanted.dtypes:
        sizes = "x".join("?" if n is None else f"{n}" for n in wanted.shape)
        raise CharloomError(
            f"{where} is of type {_NUMPY_NAMES.get(dtype, dtype)} and shape "
            f"{'x'.join(map(str, shape[:4]))}, but the settings ask for "
            f"{' or '.join(wanted.dtypes)} and {sizes}: restore config.json and vocabulary.json, "
            "or delete its folder"
        )
