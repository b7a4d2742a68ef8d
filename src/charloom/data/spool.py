"""Documents that were made from files of other kinds, as parts of a text that can be read again.

They are UTF-8 in memory or, if they are large, in one temporary file without a name.
"""

import codecs
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from charloom.data.boundary import BOUNDARY
from charloom.data.utf8 import CHUNK, Changes
from charloom.errors import CharloomError
from charloom.files import unwritable

IN_MEMORY = 2**24  # bytes
MANY = 10_000  # documents, above which several that follow one another are one part


class Spool:
    """Bytes that are written once, at the end, and read anywhere. Raises CharloomError."""

    def __init__(self) -> None:
        self._memory = bytearray()  # what is not in the file yet
        self._descriptor: int | None = None
        self._on_disk = 0

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return self._on_disk + len(self._memory)

    def write(self, data: bytes) -> None:
        """Add bytes; raises CharloomError if the disk is full."""
        self._memory += data
        if len(self._memory) > IN_MEMORY:
            try:
                self._flush()
            except OSError as error:
                cure = "free some space, or name another folder in TMPDIR"
                raise unwritable(Path(tempfile.gettempdir()), error, cure) from None

    def read(self, place: int, count: int) -> bytes:
        """Return bytes from a place on: `count` or fewer, but some, unless it is the end."""
        if place >= self._on_disk:
            place -= self._on_disk
            return bytes(self._memory[place : place + count])
        assert self._descriptor is not None
        data = os.pread(self._descriptor, min(count, self._on_disk - place), place)
        if not data:
            folder = tempfile.gettempdir()
            message = f"a temporary file in {folder} was cut: begin again"
            raise CharloomError(message, "unreadable", path=folder)
        return data

    def read_all(self, place: int, count: int) -> bytes:
        """Return `count` bytes from a place on."""
        data = b""
        while len(data) < count:
            data += self.read(place + len(data), count - len(data))
        return data

    def cut(self, size: int) -> None:
        """Keep so many of the bytes."""
        if size < self._on_disk:
            self._memory.clear()
            self._on_disk = size
        else:
            del self._memory[size - self._on_disk :]

    def _flush(self) -> None:
        if self._descriptor is None:
            file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            weakref.finalize(self, file.close)
            self._descriptor = file.fileno()
        rest = memoryview(self._memory)
        while rest:
            written = os.pwrite(self._descriptor, rest, self._on_disk)
            rest = rest[written:]
            self._on_disk += written
        self._memory = bytearray()


@dataclass(frozen=True, eq=False, slots=True)
class Kept:
    """Documents, mostly one, that are in a spool from `start` on; places are offsets in bytes.

    Between them are boundaries, which are left out unless they are `bounded`.
    """

    spool: Spool
    label: str
    start: int
    size: int
    documents: int
    bounded: bool

    def pieces(self, changes: Changes, place: int = 0) -> Iterator[tuple[str, int]]:
        """Yield the text from `place` on in pieces, with the place behind each."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        while place < self.size:
            data = self.spool.read(self.start + place, min(CHUNK, self.size - place))
            place += len(data)
            text = decoder.decode(data)
            if text := text if self.bounded else text.replace(BOUNDARY, ""):
                yield text, place - len(decoder.getstate()[0])


class Shelf:
    """What puts documents into a spool; several that are one part are `bounded` if asked for."""

    def __init__(self, bounded: bool = False) -> None:
        self._spool, self._documents, self._bounded = Spool(), 0, bounded

    def put(self, documents: Iterable[tuple[str, Iterable[str]]]) -> list[Kept]:
        """Return parts with the documents, each of which has a label and pieces of text.

        If they are many, a part has several. What reading them raises leaves nothing behind.
        """
        begin, before, parts = self._spool.size, self._documents, list[Kept]()
        try:
            for label, pieces in documents:
                several = bool(parts) and parts[-1].documents <= self._documents // MANY
                start = self._spool.size
                if several:
                    self._write_end(parts[-1])
                written = self._spool.size
                for piece in pieces:
                    self._spool.write(piece.encode())
                if self._spool.size == written:
                    self._spool.cut(start)
                    continue
                self._documents += 1
                if several:
                    whole = parts.pop()
                    start, label = whole.start, whole.label
                size, count = self._spool.size - start, whole.documents + 1 if several else 1
                parts.append(Kept(self._spool, label, start, size, count, self._bounded))
        except BaseException:
            self._spool.cut(begin)
            self._documents = before
            raise
        return parts

    def _write_end(self, part: Kept) -> None:
        """End a document that another one follows, as texts that are joined end: with a line."""
        last = self._spool.read(part.start + part.size - 1, 1)
        self._spool.write(("" if last == b"\n" else "\n").encode() + BOUNDARY.encode())
