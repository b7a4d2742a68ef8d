"""A checkpoint of TensorFlow (tensorflow/core/util/tensor_bundle): NAME.index and its data files.

The index is a table of LevelDB (table_format.md): blocks of entries with shared beginnings of
keys, an index of the blocks, and a footer of 48 bytes. A key is the name of an array, and its
value a BundleEntryProto: dtype 1, shape 2, shard 3, offset 4, size 5, crc32c 6. Blocks and arrays
are checked by their CRC-32C, masked as LevelDB does.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charloom.files import unreadable
from charloom.formats.old.found import MalformedError, RefusedError

MAGIC = bytes.fromhex("57fb808b247547db")
MOST_BYTES = 2**24  # of an index: some hundred thousand names
_FLOAT = {1: "<f4", 2: "<f8"}  # tensorflow.DataType
_CRC = np.arange(256, dtype=np.uint32)
for _ in range(8):
    _CRC = np.where(_CRC & 1, (_CRC >> 1) ^ 0x82F63B78, _CRC >> 1).astype(np.uint32)
_CRC_TABLE: list[int] = _CRC.tolist()


class Entry(NamedTuple):
    """Where an array is, and what; `dtype` is TensorFlow's number for it."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int


class Bundle:
    """The arrays of a checkpoint by their names; each is read when it is asked for."""

    def __init__(self, index: Path, content: bytes) -> None:
        """Read the index; raises MalformedError and RefusedError."""
        self._stem = index.name.removesuffix(".index")
        self._folder = index.parent
        entries = dict(_table(content))
        header = _fields(entries.pop(b"", b""))
        self._shards = _number(header, 1)
        if not self._shards or not all(entries):
            raise RefusedError(
                "it is a checkpoint of TensorFlow's first format, in one file, which is not read: "
                "save it once more with TensorFlow 1"
            )
        if _number(header, 2):
            raise RefusedError("its numbers are big-endian, which is not read")
        self.entries = {_name(name): _entry(value) for name, value in entries.items()}

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array."""
        return self.entries[name].shape

    def array(self, name: str) -> NDArray[np.floating]:
        """Read an array of floats.

        Raises MalformedError, and CharloomError if its file cannot be read.
        """
        dtype, shape, shard, offset, size, crc = self.entries[name]
        if dtype not in _FLOAT:
            raise MalformedError(f"{name[:80]} holds no floats")
        if math.prod(shape) * np.dtype(_FLOAT[dtype]).itemsize != size:
            raise MalformedError(f"{name[:80]} has {size:,} bytes, which is not its shape")
        if shard >= self._shards:
            raise MalformedError(f"{name[:80]} is in file {shard + 1} of {self._shards}")
        path = self._folder / f"{self._stem}.data-{shard:05d}-of-{self._shards:05d}"
        try:
            with path.open("rb") as file:
                if offset + size > os.fstat(file.fileno()).st_size:
                    raise MalformedError(f"{path.name} ends before {name[:80]}")
                file.seek(offset)
                content = file.read(size)
        except OSError as error:
            raise unreadable(path, error) from None
        if _crc32c(content) != crc:
            raise MalformedError(f"{name[:80]} in {path.name} is not what was saved")
        return np.frombuffer(content, _FLOAT[dtype]).reshape(shape)


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys of a table with their values."""
    if len(content) < 48 or content[-8:] != MAGIC:
        raise MalformedError("it is not an index of TensorFlow's")
    _, at = _handle(content, len(content) - 48)
    index, _ = _handle(content, at)
    for _, handle in _block(content, index):
        yield from _block(content, _handle(handle, 0)[0])


def _handle(content: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = _varint(content, at)
    size, at = _varint(content, at)
    return (offset, size), at


def _block(content: bytes, handle: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries of a block, checked."""
    start, size = handle
    end = start + size
    if size < 4 or end + 5 > len(content):
        raise MalformedError("it ends in the middle of a block")
    if content[end]:
        raise RefusedError("its index is compressed, which is not read")
    if _crc32c(content[start : end + 1]) != _unmasked(content[end + 1 : end + 5]):
        raise MalformedError("its index is not what was saved")
    restarts = int.from_bytes(content[end - 4 : end], "little")
    entries_end = end - 4 * (restarts + 1)
    at, key = start, b""
    while at < entries_end:
        shared, at = _varint(content, at)
        rest, at = _varint(content, at)
        length, at = _varint(content, at)
        if shared > len(key) or at + rest + length > entries_end:
            raise MalformedError("its index is damaged")
        key = key[:shared] + content[at : at + rest]
        at += rest + length
        yield key, content[at - length : at]


def _entry(value: bytes) -> Entry:
    fields = _fields(value)
    sizes = [_number(_fields(size), 1) for size in _fields(_bytes(fields, 2)).get(2, [])]
    dtype, shard, offset, size = (_number(fields, field) for field in (1, 3, 4, 5))
    return Entry(dtype, tuple(sizes), shard, offset, size, _unmasked(_bytes(fields, 6)))


def _fields(message: int | bytes) -> dict[int, list[int | bytes]]:
    """Return the fields of a message of protocol buffers: numbers as such, all else as bytes."""
    if isinstance(message, int):
        raise MalformedError("its index is damaged")
    found: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        value: int | bytes
        if key & 7 == 0:
            value, at = _varint(message, at)
        else:
            size = {1: 8, 5: 4}.get(key & 7)
            if key & 7 == 2:
                size, at = _varint(message, at)
            if size is None or at + size > len(message):
                raise MalformedError("its index is damaged")
            value, at = message[at : at + size], at + size
        found.setdefault(key >> 3, []).append(value)
    return found


def _number(fields: dict[int, list[int | bytes]], field: int) -> int:
    value = fields.get(field, [0])[-1]
    if not isinstance(value, int) or value >= 2**63:
        raise MalformedError("its index is damaged")
    return value


def _bytes(fields: dict[int, list[int | bytes]], field: int) -> bytes:
    value = fields.get(field, [b""])[-1]
    if not isinstance(value, bytes):
        raise MalformedError("its index is damaged")
    return value


def _varint(content: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(content) and shift < 70:
        byte = content[at]
        number, at, shift = number | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return number, at
    raise MalformedError("its index is damaged")


def _name(key: bytes) -> str:
    return key.decode("utf-8", "replace")


def _unmasked(masked: bytes) -> int:
    """LevelDB stores ((crc >> 15) | (crc << 17)) + 0xa282ead8."""
    rotated = (int.from_bytes(masked, "little") - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def _crc32c(content: bytes) -> int:
    crc, table = 0xFFFFFFFF, _CRC_TABLE
    for byte in content:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF
