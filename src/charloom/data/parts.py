"""The parts of a text: files, standard input, texts in memory, ranges of them.

A part can be read again and again, from any place in it, and notices that it has changed.
"""

import io
import os
import stat
import sys
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from charloom.data.encodings import Clue, advised, look
from charloom.data.known_texts import KNOWN_TEXTS
from charloom.data.packed import Packing, unpack, unpacked_name
from charloom.data.readers.members import Archive, member
from charloom.data.reading import Reading
from charloom.data.utf8 import CHUNK, STDIN, Changes, decode
from charloom.errors import CharloomError

STDIN_BYTES = 2**30  # at most: standard input goes to a temporary file, and may have no end


class Part(Protocol):
    """A part of a text. `size` is about that in bytes."""

    @property
    def label(self) -> str:
        """What it is called."""

    @property
    def size(self) -> int:
        """How many bytes or characters it has, about."""

    def pieces(self, changes: Changes, place: int = 0) -> Iterator[tuple[str, int]]:
        """Yield the text from `place` on in pieces, with the place behind each.

        Raises CharloomError if the part cannot be read, is not text, or has changed.
        """


class Bytes(ABC):
    """A part that is bytes in some encoding; places are those of `decode`."""

    label: str
    size: int
    reading: Reading

    @property
    def name(self) -> str:
        """The name of the file, which may say what kind it is of; it may be empty."""
        return ""

    @abstractmethod
    def opened(self) -> AbstractContextManager[BinaryIO]:
        """Open it at its start, to be read and to seek. Raises CharloomError, and so does using it.

        Only one at a time may be open.
        """

    def read_as(self, encoding: str) -> "Bytes":
        """Return it as a part in that encoding."""
        self.reading = self.reading._replace(encoding=encoding)
        return self

    def position(self, opened: BinaryIO) -> int:
        """Return how many bytes of the file have been read that is open; 0 if it is unknown."""
        return 0

    def pieces(self, changes: Changes, place: int = 0) -> Iterator[tuple[str, int]]:
        """Yield the text from `place` on in pieces, with the place behind each.

        Raises CharloomError if it cannot be read, is not text, or has changed.
        """
        with self.opened() as file:
            yield from decode(file, self.label, changes, place, self.reading)

    def look(self, error: CharloomError) -> Clue:
        """Return what it looks like that `pieces` raised this error for."""
        with self.opened() as file:
            return look(file, error)

    def advised(self, error: CharloomError) -> CharloomError:
        """Return an error of `pieces` with what it looks like, and what to do."""
        return advised(error, self.look(error), self.label)


@dataclass(frozen=True)
class File(Bytes):
    """A file of that size and time of change."""

    path: Path
    label: str
    size: int
    mtime_ns: int
    reading: Reading

    def read_as(self, encoding: str) -> "File":
        """Return it as a part in that encoding."""
        return replace(self, reading=self.reading._replace(encoding=encoding))

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.path.name

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open it, and see that it has not changed."""
        try:
            with self.path.open("rb") as file:
                self._check(file.fileno())
                yield file
                self._check(file.fileno())
        except OSError as error:
            raise unreadable(self.path, error) from None

    def position(self, opened: BinaryIO) -> int:
        """Return how many bytes of the file have been read that is open."""
        return opened.tell()

    def state(self) -> tuple[str, int, int]:
        """Return absolute path, size and time of change, as JSON can hold them."""
        path = os.fsencode(self.path.absolute()).decode("utf-8", "backslashreplace")
        return path, self.size, self.mtime_ns

    def _check(self, descriptor: int) -> None:
        now = os.fstat(descriptor)
        if (now.st_size, now.st_mtime_ns) != (self.size, self.mtime_ns):
            raise changed(self.label)


class Piped(Bytes):
    """Standard input, copied to a temporary file without a name: a text is read more than once."""

    label = STDIN

    def __init__(self, reading: Reading) -> None:
        _refuse_endless_stdin()
        self.reading = reading
        self.size = 0
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        try:
            with open(self._file.fileno(), "wb", closefd=False) as copy:
                while chunk := sys.stdin.buffer.read(CHUNK):
                    self.size += copy.write(chunk)
                    if self.size > STDIN_BYTES:
                        message = (
                            f"standard input is longer than {STDIN_BYTES:,} bytes: save it to a "
                            "file, and name that"
                        )
                        raise CharloomError(message, "unsupported", limit=STDIN_BYTES)
        except OSError as error:
            raise CharloomError(
                f"standard input cannot be copied to {tempfile.gettempdir()} ({error.strerror}): "
                "save it to a file, and name that",
                "unreadable",
            ) from None

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open the copy."""
        with open(self._file.fileno(), "rb", closefd=False) as file:
            file.seek(0)
            yield file


class Packed(Bytes):
    """What is in a compressed file: it is unpacked anew each time that it is read."""

    def __init__(self, inner: Bytes, packing: Packing) -> None:
        self.label, self.reading = inner.label, inner.reading
        self.inner, self._packing = inner, packing
        self.size = inner.size  # until it has been read, about

    @property
    def name(self) -> str:
        """The name of the file, unpacked."""
        return unpacked_name(self.inner.name)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open it as a stream: to go back in it, it is unpacked again."""
        with (
            self.inner.opened() as file,
            closing(unpack(file, self._packing, self.label, self.inner.size)) as unpacked,
        ):
            yield unpacked

    def pieces(self, changes: Changes, place: int = 0) -> Iterator[tuple[str, int]]:
        """Yield the text from `place` on in pieces, with the place behind each."""
        for piece, offset in super().pieces(changes, place):
            self.size = max(self.size, offset)
            yield piece, offset


class Member(Bytes):
    """A file in an archive, which is open only while the text is read for the first time."""

    def __init__(self, members: Archive, name: str, reading: Reading) -> None:
        self.label, self.reading = member(name, members.label), reading
        self._members, self._name, self.size = members, name, members.size(name)

    @property
    def name(self) -> str:
        """The name of the file."""
        return PurePosixPath(self._name).name

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open it as a stream: to go back in it, it is unpacked again."""
        with self._members.open(self._name) as file:
            yield file


class Download(Bytes):
    """What an address gave, kept only until it has been read for the first time."""

    def __init__(self, label: str, content: bytes, reading: Reading) -> None:
        self.label, self.reading = label, reading
        self._content, self.size = content, len(content)

    @property
    def name(self) -> str:
        """The name of the file that the address leads to, if there is one."""
        return PurePosixPath(self.label.partition("?")[0]).name

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open it."""
        yield BytesIO(self._content)


@dataclass(frozen=True)
class InMemory:
    """A text in memory; places are counts of characters."""

    content: str = field(repr=False)
    label = "a text in memory"

    @property
    def size(self) -> int:
        """Bytes, about."""
        return len(self.content)

    def pieces(self, changes: Changes, place: int = 0) -> Iterator[tuple[str, int]]:
        """Yield the text from `place` on in pieces, with the place behind each."""
        for start in range(place, len(self.content), CHUNK):
            piece = self.content[start : start + CHUNK]
            yield piece, start + len(piece)


@dataclass(frozen=True, eq=False)
class Wrapped:
    """What another part is read through: it is called as that is, and about as large."""

    part: Part

    @property
    def label(self) -> str:
        """The name of the part."""
        return self.part.label

    @property
    def size(self) -> int:
        """How many bytes or characters it has, about."""
        return self.part.size


@dataclass(frozen=True, eq=False)
class Excerpts(Wrapped):
    """Ranges of a part, one after another; places are counts of their characters.

    `starts` and `stops` (n,) are places between characters of the part, ascending.
    """

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    @property
    def size(self) -> int:
        """How many characters they have together."""
        return int((self.stops - self.starts).sum())

    def pieces(self, changes: Changes, place: int = 0) -> Iterator[tuple[str, int]]:
        """Yield the text from `place` on in pieces, with the place behind each."""
        begin = sent = 0
        for piece, _ in self.part.pieces(changes):
            end = begin + len(piece)
            first = int(np.searchsorted(self.stops, begin, "right"))
            last = int(np.searchsorted(self.starts, end, "left"))
            starts = np.maximum(self.starts[first:last] - begin, 0).tolist()
            stops = (self.stops[first:last] - begin).tolist()
            text = "".join([piece[a:b] for a, b in zip(starts, stops, strict=True)])
            known, begin, sent = max(0, place - sent), end, sent + len(text)
            if text[known:]:
                yield text[known:], sent
            if last == len(self.stops) and self.stops[-1] <= end:
                return


def is_kept(part: Part) -> bool:
    """Whether it can be read again: not what is in an archive, which is closed, or on a site."""
    if isinstance(part, Packed):
        return is_kept(part.inner)
    return not isinstance(part, Member | Download)


def _refuse_endless_stdin() -> None:
    """A terminal that nobody types at would be waited for; /dev/zero never ends."""
    if sys.stdin is None:
        problem = "standard input is closed: pipe a text in, or name a file"
        raise CharloomError(problem, "unreadable")
    try:
        device = stat.S_ISCHR(os.fstat(sys.stdin.buffer.fileno()).st_mode)
    except io.UnsupportedOperation:
        device = False  # a stand-in without a descriptor
    if device:
        raise CharloomError(
            "standard input is a terminal or a device: pipe a text in (charloom ... < FILE), "
            "or name a file",
            "unreadable",
        )


def changed(label: str) -> CharloomError:
    """Return the error for a text that is not what it was a moment ago."""
    message = f"{label} changed while it was read: wait until nothing writes to it, or give a copy"
    return CharloomError(message, "changed-text", path=label)


def unreadable(path: Path, error: Exception) -> CharloomError:
    """Return the error for a file or folder that cannot be read, with what to do about it."""
    name = shown(str(path))
    if isinstance(error, PermissionError):
        problem = "may not be read: check its permissions, and those of its folders"
    elif isinstance(error, FileNotFoundError) and path.is_symlink():
        target = shown(str(path.readlink()))
        problem = f"is a link to {target}, which does not exist: mend the link or name the file"
    elif isinstance(error, FileNotFoundError):
        known = any(str(path) == text.name for text in KNOWN_TEXTS)
        cure = f"did you mean corpus:{path}?" if known else "check the name"
        message = f"there is no file or folder {name}: {cure}"
        return CharloomError(message, "not-found", path=str(path))
    else:
        reason = error.strerror if isinstance(error, OSError) else error
        problem = f"cannot be read ({reason}): check the name, or give another file"
    return CharloomError(f"{name} {problem}", "unreadable", path=str(path))


def shown(name: str) -> str:
    """Return a file's name as one printable line: it may hold newlines and bytes not in UTF-8."""
    return name if name.isprintable() else repr(name)
