"""Compressed files, recognised by how they begin and read as a stream: nothing goes to the disk."""

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import PurePath
from typing import IO, BinaryIO, NamedTuple, cast

from charloom.data.readers.members import Unpacked
from charloom.errors import needs_extra

_SUFFIXES = {".gz": "", ".bz2": "", ".xz": "", ".zst": ""} | dict.fromkeys(
    (".tgz", ".tbz", ".tbz2", ".txz", ".tzst"), ".tar"
)
_NO_LIMIT = 2**63  # but that of the ratio: it is not unpacked to memory
_ZSTD_CHUNK = 2**10  # bytes that are unpacked at once: they may become 32,000 times as many
_LARGEST_WINDOW = 2**31  # bytes, which archives made with zstd --long=31 need


class Packing(NamedTuple):
    """A way to compress a file, and what such files begin with."""

    magic: tuple[bytes, ...]
    open: Callable[[BinaryIO], IO[bytes]]


def _gzip(file: BinaryIO) -> IO[bytes]:
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file))


class _Zstandard(io.RawIOBase):
    """What is in the frames of a Zstandard file, one after another.

    The library's own stream ends without a word where a file is cut off.
    """

    def __init__(self, file: BinaryIO) -> None:
        with needs_extra("text", "reading Zstandard files"):
            import zstandard
        self._file = file
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
        self._frame = self._decompressor.decompressobj()
        self._rest, self._ready, self._begun = b"", memoryview(b""), False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Unpack so many bytes at most, and return how many those are; 0 at the end."""
        while not self._ready:
            data = self._rest or self._file.read(_ZSTD_CHUNK)
            if not data:
                if self._begun:
                    raise EOFError("it is cut off")
                return 0
            self._ready = memoryview(self._frame.decompress(data))
            self._rest, self._begun = b"", True
            if self._frame.eof:
                self._rest, self._begun = self._frame.unused_data, False
                self._frame = self._decompressor.decompressobj()
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


_PACKINGS = (
    Packing((b"\x1f\x8b",), _gzip),
    Packing(
        tuple(b"BZh%d" % n + mark for n in range(1, 10) for mark in (b"1AY&SY", b"\x17rE8P\x90")),
        bz2.BZ2File,
    ),
    Packing((b"\xfd7zXZ\0",), lzma.LZMAFile),
    Packing(
        (b"\x28\xb5\x2f\xfd", *(b"%c\x2a\x4d\x18" % n for n in range(0x50, 0x60))),
        lambda file: cast("IO[bytes]", _Zstandard(file)),
    ),
)


def packing_of(start: bytes) -> Packing | None:
    """Return how a file is compressed that begins so; None if it is not."""
    found = (packing for packing in _PACKINGS if start.startswith(packing.magic))
    return next(found, None)


def unpack(file: BinaryIO, packing: Packing, label: str, size: int) -> BinaryIO:
    """Return what is in a compressed file of so many bytes, as a stream.

    Reading it raises CharloomError if it is damaged, or a bomb.
    """

    def begin() -> IO[bytes]:
        file.seek(0)
        return packing.open(file)

    return io.BufferedReader(Unpacked(begin, label, size, most=_NO_LIMIT))


def unpacked_name(name: str) -> str:
    """Return the name of a file without what says that it is compressed."""
    path = PurePath(name)
    suffix = _SUFFIXES.get(path.suffix.lower())
    return name if suffix is None else path.stem + suffix
