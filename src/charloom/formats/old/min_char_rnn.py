"""min-char-rnn's weights, which the program does not save: as .npz or a pickle, by their names.

min-char-rnn (Andrej Karpathy, 2015) has Wxh (H, V), Whh (H, H), Why (V, H), bh (H, 1) and by
(V, 1). An array `chars` (V,) of characters in the order of their ids may stand beside them.
"""

import io
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.config import DataConfig, ModelConfig
from charloom.formats.old.found import ALL_OF_IT, Found, MalformedError, RefusedError, trained
from charloom.formats.old.pickled import Made, read_pickle
from charloom.formats.old.pytorch import opened_zip
from charloom.presets import preset

_MOST_BYTES = 2**31  # of all arrays
_RATIO = 20  # times the size of the file: weights cannot be compressed like that
_NAMES = ("Wxh", "Whh", "Why", "bh", "by")
_NUMPY = re.compile(
    r"numpy\._?core\.(multiarray\._reconstruct|numeric\._frombuffer)|numpy\.(ndarray|dtype)"
    r"|_codecs\.encode"
)


def read_npz(content: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz by name; raises MalformedError. Objects in one are not read."""
    with opened_zip(content) as archive:
        sizes = sum(member.file_size for member in archive.infolist())
        if sizes > min(_MOST_BYTES, _RATIO * len(content)):
            raise MalformedError(f"its arrays would have {sizes:,} bytes")
        return {
            member.filename.removesuffix(".npy"): _array(archive.read(member))
            for member in archive.infolist()
        }


def read_pickled(content: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays of a pickled dict by name; raises MalformedError and RefusedError.

    Of NumPy, an array is `_reconstruct` with a state (1, shape, dtype, Fortran's order, bytes), or,
    since protocol 5, `_frombuffer` of bytes, a dtype, a shape and an order.
    """
    document = read_pickle(content, lambda name: _NUMPY.fullmatch(name) is not None)
    if not isinstance(document, dict):
        raise RefusedError(f"it is a pickle, but of no dict with {', '.join(_NAMES)}")
    found: dict[str, NDArray[Any]] = {}
    for name in (*_NAMES, "chars"):
        value = document.get(name)
        if isinstance(value, Made):
            found[name] = _unpickled(value)
        elif name == "chars" and isinstance(value, list) and all(isinstance(c, str) for c in value):
            found[name] = np.array(value)
    return found


def _unpickled(value: Made) -> NDArray[Any]:
    """Return the array that NumPy would make of it."""
    if value.name.endswith("_reconstruct"):
        _, shape, dtype, fortran, content = (*_parts(value.state), *[None] * 5)[:5]
        order = "F" if fortran else "C"
    else:
        content, dtype, shape, order = (*_parts(value.arguments), *[None] * 4)[:4]
    if isinstance(content, Made) and content.name == "_codecs.encode":  # of protocols 0 to 2
        text = _parts(content.arguments)[:1]
        try:
            content = text[0].encode("latin-1") if text and isinstance(text[0], str) else None
        except UnicodeEncodeError:
            content = None
    kind = [*_parts(dtype.arguments)[:1]] if isinstance(dtype, Made) else []
    little = isinstance(dtype, Made) and "<" in _parts(dtype.state)[1:2]
    if kind not in ([b"f4"], [b"f8"], ["f4"], ["f8"]) or not little:
        raise MalformedError("an array holds no floats of 4 or 8 bytes")
    sizes = _parts(shape)
    name = kind[0] if isinstance(kind[0], str) else kind[0].decode()
    if not all(isinstance(size, int) and 0 <= size < 2**31 for size in sizes) or order not in "CF":
        raise MalformedError("an array has no shape")
    if not isinstance(content, bytes | bytearray):
        raise MalformedError("an array has no elements")
    if math.prod(sizes) * int(name[1]) != len(content):
        raise MalformedError("an array has another size than it says")
    found = np.frombuffer(bytes(content), f"<{name}")
    return found.reshape(sizes, order="F" if order == "F" else "C")


def _parts(found: Any) -> tuple[Any, ...]:
    return tuple(found) if isinstance(found, tuple | list) else ()


def _array(content: bytes) -> NDArray[Any]:
    """Read an .npy whose header says as many bytes as there are."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise MalformedError("an array has a header that is not known")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if (
        dtype.hasobject
        or dtype.itemsize * int(np.prod(shape, dtype=object)) != len(content) - stream.tell()
    ):
        raise MalformedError("an array has another size than it says, or holds objects")
    found = np.frombuffer(content, dtype, offset=stream.tell())
    return found.reshape(shape, order="F" if fortran else "C")


def from_min_char_rnn(arrays: Mapping[str, NDArray[Any]]) -> Found:
    """Return the model that these weights are; raises MalformedError and RefusedError."""
    if missing := [name for name in _NAMES if name not in arrays]:
        raise RefusedError(f"it has no array {missing[0]}: min-char-rnn has {', '.join(_NAMES)}")
    Wxh, Whh, Why, bh, by = (arrays[name] for name in _NAMES)
    if any(a.dtype.kind != "f" for a in (Wxh, Whh, Why, bh, by)) or Wxh.ndim != 2 or not Wxh.size:
        raise MalformedError("an array holds no floats")
    H, V = Wxh.shape
    if not (Whh.shape == (H, H) and Why.shape == (V, H) and bh.size == H and by.size == V):
        raise MalformedError("its arrays do not fit one another")
    usual = preset("min-char-rnn")
    return Found(
        program="min-char-rnn",
        model=ModelConfig(cell="rnn", layers=1, hidden=H),
        weights={
            "layer0.Wx": Wxh.T,
            "layer0.Wh": Whh.T,
            "layer0.b": bh.reshape(-1),
            "head.W": Why.T,
            "head.b": by.reshape(-1),
        },
        size=V,
        tokens=_tokens(arrays.get("chars"), V),
        data=DataConfig(validation=0.0),
        train=trained(usual.train, 0, {}),
        held_out=ALL_OF_IT,
    )


def _tokens(found: NDArray[Any] | None, size: int) -> tuple[str, ...] | None:
    if found is None:
        return None
    tokens = tuple(map(str, found.reshape(-1)))
    if len(tokens) != size or any(len(token) != 1 for token in tokens):
        raise MalformedError(f"chars are not its {size:,} characters")
    return tokens
