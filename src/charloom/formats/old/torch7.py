"""Torch7's serialization (torch/File.lua): a stream of tagged objects, little-endian.

    nil 0 · number 1: float64 · string 2: int32 length, bytes · boolean 5: int32
    table 3: int32 index; if it is new, int32 size and so many pairs of objects
    torch object 4: int32 index; if it is new, a string "V 1", the class, and what that writes
    function 6, 7, 8: bytecode, which is skipped, and a table

A tensor writes int32 dimensions; sizes, strides and a 1-based offset as longs; and its storage,
which several share: a long and the elements. A long has 8 bytes, or 4 where Torch ran on 32 bits.
Any other class writes one object, its fields. Objects may refer to one another in circles.
"""

import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.formats.old.found import MalformedError

MOST_VALUES = 3_000_000  # in all tables: a loss for each of a million steps, and the model
MOST_OBJECTS = 200_000
MOST_DIMENSIONS = 8

_ELEMENTS = {
    "Byte": "u1",
    "Char": "i1",
    "Short": "<i2",
    "Int": "<i4",
    "Half": "<f2",
    "Float": "<f4",
    "Double": "<f8",
    "Cuda": "<f4",
    "CudaDouble": "<f8",
    "CudaHalf": "<f2",
    "CudaInt": "<i4",
    "CudaByte": "u1",
    "CudaChar": "i1",
    "CudaShort": "<i2",
    "Cl": "<f4",
}


class Table:
    """A table of Lua: `items` are its keys and values in turn; bytes stand for strings."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._by_name: dict[Any, Any] | None = None

    def pairs(self) -> Iterator[tuple[Any, Any]]:
        """Yield each key with its value."""
        return zip(self.items[::2], self.items[1::2], strict=True)

    def get(self, name: str) -> Any:
        """Return what a name stands for; None if nothing."""
        if self._by_name is None:
            self._by_name = {key: value for key, value in self.pairs() if isinstance(key, bytes)}
        return self._by_name.get(name.encode())

    def by_number(self) -> dict[int, Any]:
        """Return the values whose keys are whole numbers, by these."""
        return {
            int(key): value
            for key, value in self.pairs()
            if isinstance(key, float) and key.is_integer()
        }

    def listed(self) -> list[Any]:
        """Return the values of 1, 2, ..., as far as there are any."""
        numbered, found = self.by_number(), list[Any]()
        while len(found) + 1 in numbered:
            found.append(numbered[len(found) + 1])
        return found


class Object:
    """An object of a class that is no tensor: `items` is the one thing that it wrote."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.items: list[Any] = []

    @property
    def fields(self) -> Table:
        """Its fields; none if it wrote something else."""
        return self.items[0] if self.items and isinstance(self.items[0], Table) else Table()


class Tensor:
    """A view of a storage, which is the one in `items`."""

    def __init__(self, sizes: tuple[int, ...], strides: tuple[int, ...], offset: int) -> None:
        self.sizes, self._strides, self._offset = sizes, strides, offset
        self.items: list[Any] = []

    def array(self) -> NDArray[Any]:
        """Return its elements, read-only; raises MalformedError unless they are in the storage."""
        storage = self.items[0]
        if storage is None and not self.sizes:
            return np.empty(0, np.float32)
        if not isinstance(storage, np.ndarray):
            raise MalformedError("a tensor has no storage")
        steps = zip(self.sizes, self._strides, strict=True)
        last = self._offset + sum((size - 1) * stride for size, stride in steps)
        if math.prod(self.sizes) > len(storage) or last >= len(storage):
            raise MalformedError("a tensor is larger than its storage")
        strides = [stride * storage.itemsize for stride in self._strides]
        return np.lib.stride_tricks.as_strided(
            storage[self._offset :], self.sizes, strides, writeable=False
        )


def read_torch7(content: bytes) -> Any:
    """Return the object in a .t7 file; raises MalformedError."""
    try:
        return _Reader(content, 8).read()
    except MalformedError as error:
        try:
            return _Reader(content, 4).read()
        except MalformedError:
            raise error from None


class _Reader:
    def __init__(self, content: bytes, long: int) -> None:
        self._content, self._at = content, 0
        self._long = long
        self._elements = _ELEMENTS | dict.fromkeys(("Long", "CudaLong"), f"<i{long}")
        self._known: dict[int, Any] = {}
        self._values = 0

    def read(self) -> Any:
        """Read one object and all that it holds, without recursion: a graph is hundreds deep."""
        root: list[Any] = []
        open_ = [(root, 1)]
        while open_:
            items, wanted = open_[-1]
            if len(items) == wanted:
                open_.pop()
                continue
            value, within = self._value()
            items.append(value)
            if within:
                open_.append((value.items, within))
        if self._at != len(self._content):
            raise MalformedError(f"{len(self._content) - self._at:,} bytes follow its end")
        return root[0]

    def _value(self) -> tuple[Any, int]:
        """Read the beginning of an object, and how many others it is followed by that it holds."""
        self._values += 1
        if self._values > MOST_VALUES:
            raise MalformedError(f"it holds more than {MOST_VALUES:,} values")
        tag = self._int()
        if tag == 0:
            return None, 0
        if tag == 1:
            return self._unpack("<d", 8), 0
        if tag == 2:
            return self._string(), 0
        if tag == 5:
            return self._int() == 1, 0
        if tag == 6:
            return self._function(), 1
        if tag not in (3, 4, 7, 8):
            raise MalformedError(f"there is no object of type {tag}")
        index = self._int()
        if index in self._known:
            return self._known[index], 0
        if len(self._known) >= MOST_OBJECTS:
            raise MalformedError(f"it holds more than {MOST_OBJECTS:,} objects")
        value: Any
        if tag == 3:
            value, within = Table(), 2 * self._count(self._int(), 8)
        elif tag == 4:
            value, within = self._object()
        else:
            value, within = self._function(), 1
        self._known[index] = value
        return value, within

    def _function(self) -> Object:
        self._string()  # bytecode
        return Object("function")

    def _object(self) -> tuple[Any, int]:
        name = self._string()
        if name.startswith(b"V "):
            name = self._string()
        kind = name.decode("latin-1")
        for suffix in ("Tensor", "Storage"):
            element = self._elements.get(kind.removeprefix("torch.").removesuffix(suffix))
            if kind.startswith("torch.") and kind.endswith(suffix):
                if element is None:
                    raise MalformedError(f"it has a {kind[:40]}, which is not known")
                return (self._tensor(), 1) if suffix == "Tensor" else (self._storage(element), 0)
        return Object(kind), 1

    def _tensor(self) -> Tensor:
        dimensions = self._int()
        if not 0 <= dimensions <= MOST_DIMENSIONS:
            raise MalformedError(f"a tensor has {dimensions} dimensions")
        sizes = tuple(self._read_long() for _ in range(dimensions))
        strides = tuple(self._read_long() for _ in range(dimensions))
        offset = self._read_long() - 1
        if min(*sizes, *strides, offset, 0) < 0 or max(*sizes, *strides, offset, 0) > 2**40:
            raise MalformedError("a tensor has a negative or a huge size")
        return Tensor(sizes, strides, offset)

    def _storage(self, element: str) -> NDArray[Any]:
        dtype = np.dtype(element)
        size = self._count(self._read_long(), dtype.itemsize)
        found = np.frombuffer(self._content, dtype, size, self._at)
        self._at += size * dtype.itemsize
        return found

    def _int(self) -> int:
        number: int = self._unpack("<i", 4)
        return number

    def _read_long(self) -> int:
        number: int = self._unpack("<q" if self._long == 8 else "<i", self._long)
        return number

    def _string(self) -> bytes:
        size = self._count(self._int(), 1)
        self._at += size
        return self._content[self._at - size : self._at]

    def _count(self, number: int, bytes_each: int) -> int:
        """Return a number of things, each of so many bytes at least, if there is room for them."""
        if not 0 <= number <= (len(self._content) - self._at) // bytes_each:
            raise MalformedError(f"it ends before {number:,} elements that it says it has")
        return number

    def _unpack(self, form: str, size: int) -> Any:
        if self._at + size > len(self._content):
            raise MalformedError("it ends in the middle of an object")
        self._at += size
        return struct.unpack_from(form, self._content, self._at - size)[0]
