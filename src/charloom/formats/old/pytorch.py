"""Files of torch.save, both layouts, read without PyTorch; nothing that they name is executed.

Since PyTorch 1.6: a zip archive with NAME/data.pkl and an uncompressed NAME/data/KEY for each
storage. Before: five pickles (a magic number, 1001, the system, the object, a list of keys), and
then for each key an int64 count and the elements. In the object, a persistent id stands for a
storage: ("storage", its class, key, place, count).

A model may be saved whole. Its modules are then objects whose state has `_parameters` and
`_modules`: `tensors` gives them the names that a state_dict has.
"""

import io
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.formats.old.found import MalformedError, RefusedError
from charloom.formats.old.pickled import Made, Name, read_pickles

Arrays = Mapping[str, NDArray[Any]]

LEGACY = 0x1950A86A20F9469CFC6C
MOST_MODULES = 10_000
MOST_DIMENSIONS = 8
_DTYPES = {
    "Float": "<f4",
    "Double": "<f8",
    "Half": "<f2",
    "BFloat16": "<u2",
    "Long": "<i8",
    "Int": "<i4",
    "Short": "<i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "u1",
}
_STORAGE = re.compile(r"torch\.(?:cuda\.)?(\w+)Storage")
_ALLOWED = re.compile(
    r"torch\.(cuda\.)?\w+Storage|torch\._utils\._rebuild_(tensor(_v2)?|parameter)"
    r"|torch\.nn\.modules\.\w+\.\w+|torch\.nn\.parameter\.Parameter|torch\.nn\.Parameter"
    r"|torch\.nn\.backends\.thnn\._get_thnn_function_backend|torch\.(Size|device|Tensor)"
    r"|torch\.(float|int|uint)\d+|torch\.(bool|bfloat16)|torch\.autograd\.variable\.Variable"
    r"|collections\.(OrderedDict|defaultdict)|(copy_reg|copyreg)\._reconstructor"
    r"|(__builtin__|builtins)\.(object|set|list|dict|int|float|long)|_codecs\.encode"
    r"|numpy(\._?core\.multiarray\.(scalar|_reconstruct)|\.dtype|\.ndarray)"
    r"|((__main__|\w*model\w*|\w*rnn\w*)\.)?(CharRNN|RNN|CharLSTM)"
)


class Storage:
    """So many elements of a type; `load` reads them, or raises MalformedError."""

    def __init__(self, dtype: str, count: int) -> None:
        self.dtype, self.count = dtype, count
        self.size = count * np.dtype(dtype).itemsize
        self.load: Callable[[], bytes] = lambda: b""


def is_legacy(head: bytes) -> bool:
    """Whether a file begins with the magic number, as a pickle of any protocol since 2."""
    number = LEGACY.to_bytes(10, "little")
    return head[:1] == b"\x80" and number in head[:32]


def read_torch(content: bytes) -> Any:
    """Return the object in a file of torch.save; raises MalformedError and RefusedError."""
    storages: dict[str, Storage] = {}

    def persistent(of: Any) -> Any:
        if not (isinstance(of, tuple) and of):
            raise MalformedError("a persistent id is no tuple")
        if of[0] == "module" and len(of) > 1:
            return of[1]  # a class, with its source, which is not looked at
        kind = of[1] if len(of) > 4 and of[0] == "storage" else None
        match = _STORAGE.fullmatch(kind.name) if isinstance(kind, Name) else None
        if match is None or match[1] not in _DTYPES or not isinstance(of[2], str):
            raise MalformedError("a tensor has a storage that is not known")
        if not isinstance(of[4], int) or not 0 <= of[4] <= len(content):
            raise MalformedError("a tensor is larger than the file")
        return storages.setdefault(of[2], Storage(_DTYPES[match[1]], of[4]))

    read = _zipped if content.startswith(b"PK") else _legacy
    return read(content, storages, persistent)


@contextmanager
def opened_zip(content: bytes) -> Iterator[zipfile.ZipFile]:
    """Open an archive; raises MalformedError if it, or what is read of it meanwhile, is damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, RuntimeError, EOFError) as error:
        raise MalformedError(f"its archive is damaged: {error}") from None
    except (KeyError, NotImplementedError, zipfile.LargeZipFile) as error:
        raise MalformedError(f"its archive is of a kind that is not read: {error}") from None


def _allowed(name: str) -> bool:
    return _ALLOWED.fullmatch(name) is not None


def _zipped(content: bytes, storages: Mapping[str, Storage], persistent: Any) -> Any:
    with opened_zip(content) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if sum(member.file_size for member in members.values()) > 2 * len(content):
            raise MalformedError("its archive would be larger than the file")
        pickle = next((name for name in members if name.endswith("data.pkl")), None)
        if pickle is None:
            raise RefusedError("it is an archive without a model of PyTorch")
        folder = pickle.removesuffix("data.pkl")
        if (order := f"{folder}byteorder") in members and archive.read(order) != b"little":
            raise RefusedError("its numbers are big-endian, which is not read")
        found = read_pickles(archive.read(pickle), _allowed, 1, persistent)[0][0]

    def load(name: str) -> bytes:
        with opened_zip(content) as archive:
            return archive.read(name)

    for key, storage in storages.items():
        storage.load = partial(load, f"{folder}data/{key}")
    return found


def _legacy(content: bytes, storages: Mapping[str, Storage], persistent: Any) -> Any:
    (magic, version, _, found, keys), at = read_pickles(content, _allowed, 5, persistent)
    if (magic, version) != (LEGACY, 1001) or not isinstance(keys, list):
        raise MalformedError("it is no file of PyTorch's earlier layout")
    for key in keys:
        storage = storages.get(key) if isinstance(key, str) else None
        count = int.from_bytes(content[at : at + 8], "little")
        if storage is None or count != storage.count:
            raise MalformedError("its storages are not those of its tensors")
        storage.load = partial(_part, content, at + 8, storage.size)
        at += 8 + storage.size
    if at != len(content):
        raise MalformedError("it has another length than it says")
    return found


def _part(content: bytes, at: int, size: int) -> bytes:
    return content[at : at + size]


def tensors(found: Any) -> dict[str, NDArray[Any]]:
    """Return the arrays of a state_dict, or of a module saved whole, by their names."""
    arrays: dict[str, NDArray[Any]] = {}
    modules = [("", found)]
    seen = 0
    while modules:
        prefix, module = modules.pop()
        seen += 1
        if seen > MOST_MODULES:
            raise MalformedError("its modules have no end")
        state = module.state if isinstance(module, Made) else None
        if isinstance(state, dict) and "_parameters" in state:
            modules += [
                (f"{prefix}{name}.", part) for name, part in entries(state.get("_modules")).items()
            ]
            own = entries(state["_parameters"])
        else:
            own = entries(module)
        for name, value in own.items():
            if (array := _array(value)) is not None and isinstance(name, str):
                arrays[prefix + name] = array
    return arrays


def scalar(value: Any) -> float | None:
    """Return the one number that a float, or a tensor without dimensions, is; else None."""
    if isinstance(value, float):
        return value
    array = _array(value)
    return float(array) if array is not None and array.shape == () else None


def entries(found: Any) -> dict[Any, Any]:
    """Return what is in a dict, or in an OrderedDict; nothing if it is neither."""
    if isinstance(found, Made) and found.name.startswith("collections."):
        pairs = [*found.items]
        first = found.arguments[0] if isinstance(found.arguments, tuple) and found.arguments else []
        if isinstance(first, list):
            pairs = [*(tuple(pair) for pair in first if isinstance(pair, list | tuple)), *pairs]
        if not all(len(pair) == 2 and isinstance(pair[0], str | int) for pair in pairs):
            raise MalformedError("its pickle is damaged")
        return dict(pairs)
    return found if isinstance(found, dict) else {}


def _array(value: Any) -> NDArray[Any] | None:
    """Return the elements of a tensor or parameter; None if it is neither."""
    for _ in range(3):
        if not isinstance(value, Made) or not isinstance(value.arguments, tuple):
            return None
        if "_rebuild_tensor" in value.name:
            if len(value.arguments) < 4:
                raise MalformedError("a tensor has no shape")
            return _view(*value.arguments[:4])
        if not value.arguments or not value.name.endswith(("arameter", "Variable")):
            return None
        value = value.arguments[0]
    return None


def _view(storage: Any, offset: Any, sizes: Any, strides: Any) -> NDArray[Any]:
    if not (isinstance(storage, Storage) and isinstance(sizes, tuple)):
        raise MalformedError("a tensor has no storage")
    if not isinstance(strides, tuple) or len(sizes) != len(strides) or len(sizes) > MOST_DIMENSIONS:
        raise MalformedError("a tensor has no shape")
    if not all(isinstance(n, int) and 0 <= n < 2**40 for n in (offset, *sizes, *strides)):
        raise MalformedError("a tensor has a negative or a huge size")
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if math.prod(sizes) > storage.count or last >= storage.count:
        raise MalformedError("a tensor is larger than its storage")
    content = storage.load()
    if len(content) != storage.size:
        raise MalformedError("a storage has another size than it says")
    flat: NDArray[Any] = np.frombuffer(content, storage.dtype)
    if storage.dtype == "<u2":  # bfloat16: the upper half of a float32
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    steps = [stride * flat.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(flat[offset:], sizes, steps, writeable=False)
