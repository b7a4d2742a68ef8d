"""Where a text comes from: files, folders, standard input and known texts, as parts of it.

A part can be read again and again, from any place in it, and notices that it has changed.
"""

import io
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from charloom.data.known_texts import corpora, load_corpus
from charloom.data.utf8 import CHUNK, STDIN, Changes, decode
from charloom.errors import CharloomError

MOST_STDIN = 2**30  # bytes: standard input is kept in a temporary file, and may have no end


@dataclass(frozen=True)
class File:
    """A file of that size and time of change; places are offsets in bytes."""

    path: Path
    label: str
    size: int
    mtime_ns: int

    def pieces(self, changes: Changes, place: int = 0) -> Iterator[tuple[str, int]]:
        """Yield the text from `place` on and the place behind each piece; raises OSError too.

        Raises CharloomError where the file is no text, or has changed.
        """
        with self.path.open("rb") as file:
            self._check(os.fstat(file.fileno()))
            file.seek(place)
            yield from decode(file, self.label, changes, place)
            self._check(os.fstat(file.fileno()))

    def state(self) -> tuple[str, int, int]:
        """Return absolute path, size and time of change, as text and numbers that JSON holds."""
        path = os.fsencode(self.path.absolute()).decode("utf-8", "backslashreplace")
        return path, self.size, self.mtime_ns

    def _check(self, now: os.stat_result) -> None:
        if (now.st_size, now.st_mtime_ns) != (self.size, self.mtime_ns):
            raise changed(self.label)


class Spooled:
    """Standard input in a temporary file, which has no name and ends with the process."""

    _descriptor = -1

    def __init__(self) -> None:
        with tempfile.TemporaryFile(buffering=0) as file:
            self._descriptor = os.dup(file.fileno())

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    @property
    def size(self) -> int:
        """Bytes."""
        return os.fstat(self._descriptor).st_size

    def append(self, chunk: bytes) -> None:
        """Write to the end."""
        with open(self._descriptor, "ab", closefd=False) as file:
            file.write(chunk)

    def pieces(self, changes: Changes, place: int = 0) -> Iterator[tuple[str, int]]:
        """Yield the text from `place` on, and the place behind each piece."""
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(place)
            yield from decode(file, STDIN, changes, place)


@dataclass(frozen=True)
class Known:
    """A text in memory; places are counts of characters."""

    content: str = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes, about."""
        return len(self.content)

    def pieces(self, changes: Changes, place: int = 0) -> Iterator[tuple[str, int]]:
        """Yield the text from `place` on, and the place behind each piece."""
        for start in range(place, len(self.content), CHUNK):
            piece = self.content[start : start + CHUNK]
            yield piece, start + len(piece)


Part = File | Spooled | Known


class Found(NamedTuple):
    """The parts of one source; of a folder's, those that are no text are to be skipped."""

    parts: list[Part]
    folder: str | None = None


@dataclass
class Tally:
    """What was done to the files, to be told in notes."""

    folders: list[str] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)
    skipped: dict[str, list[str]] = field(default_factory=dict)

    def skip(self, why: str, name: str) -> None:
        """A file was left out."""
        self.skipped.setdefault(why, []).append(shown(name))

    def skips(self) -> list[str]:
        """Return a sentence for each reason to skip files."""
        return [
            f"skipped {counted(len(names), 'file')} ({why}): {_list(names)}"
            for why, names in self.skipped.items()
        ]

    def notes(self) -> list[str]:
        """Return all there is to tell."""
        notes, changes = [*self.folders], self.changes
        if changes.marks == 1:
            notes.append("removed a byte-order mark")
        elif changes.marks:
            notes.append(f"removed the byte-order marks of {changes.marks:,} files")
        for count, kind in ((changes.crlf, "CRLF"), (changes.cr, "lone CR")):
            if count:
                notes.append(f"turned {counted(count, f'{kind} line end')} into LF")
        return [*notes, *self.skips()]


def find(source: str, tally: Tally) -> Found:
    """Find the parts of a source, standard input alone is read; raises CharloomError."""
    if source == "-":
        return Found([_spool()])
    if source.startswith("corpus:"):
        return Found([Known(load_corpus(source.removeprefix("corpus:")))])
    if not source:
        raise CharloomError("the name of a text is empty: name a file, a folder, or -")
    path = Path(source)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise CharloomError(why_unreadable(path, error)) from None
    if stat.S_ISDIR(status.st_mode):
        return Found(_files(path, tally), source)
    if not stat.S_ISREG(status.st_mode):
        raise CharloomError(
            f"{shown(source)} is a pipe, a socket or a device, not a file: to read what a program "
            "writes, pipe it in and name - as the text"
        )
    return Found([File(path, shown(source), status.st_size, status.st_mtime_ns)])


def _files(folder: Path, tally: Tally) -> list[Part]:
    """All files below `folder` that are not hidden, in the order of their paths."""

    def unreadable(error: OSError) -> None:
        tally.skip("cannot be read", str(Path(error.filename).relative_to(folder)))

    found: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if Path(parent, name).is_symlink():
                tally.skip("a link to a folder", str(Path(parent, name).relative_to(folder)))
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    parts: list[Part] = []
    for path in sorted(found, key=lambda path: path.parts):
        name = str(path.relative_to(folder))
        try:
            status = path.stat()
        except OSError:
            tally.skip("cannot be read", name)
            continue
        if stat.S_ISREG(status.st_mode):
            parts.append(File(path, shown(name), status.st_size, status.st_mtime_ns))
        else:
            tally.skip("a pipe, a socket or a device", name)
    return parts


def _spool() -> Spooled:
    """Copy standard input to a temporary file: a text is read more than once."""
    if sys.stdin is None:
        raise CharloomError("standard input is closed: pipe a text in, or name a file")
    stream = sys.stdin.buffer
    try:
        device = stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)
    except io.UnsupportedOperation:
        device = False  # a stand-in without a descriptor
    if device:  # a terminal that nobody types at would be waited for, /dev/zero never ends
        raise CharloomError(
            "standard input is a terminal or a device: pipe a text in (charloom train - < FILE), "
            "or name a file"
        )
    try:
        spooled = Spooled()
        while chunk := _read(stream):
            if spooled.size + len(chunk) > MOST_STDIN:
                raise CharloomError(
                    f"standard input is longer than {MOST_STDIN:,} bytes: save it to a file, and "
                    "name that"
                )
            spooled.append(chunk)
    except OSError as error:
        raise CharloomError(
            f"standard input cannot be kept in {tempfile.gettempdir()} ({error.strerror}): "
            "save it to a file, and name that"
        ) from None
    return spooled


def _read(stream: BinaryIO) -> bytes:
    try:
        return stream.read(CHUNK)
    except OSError as error:
        raise CharloomError(
            f"standard input cannot be read ({error.strerror}): pipe a text in, or name a file"
        ) from None


def changed(label: str) -> CharloomError:
    """Return the error of a text that is not what it was a moment ago."""
    return CharloomError(
        f"{label} changed while it was read: wait until nothing writes to it, or give a copy"
    )


def why_unreadable(path: Path, error: Exception) -> str:
    """Return what stands in the way of reading `path`, and what to do."""
    name = shown(str(path))
    if isinstance(error, PermissionError):
        return f"{name} may not be read: check its permissions, and those of its folders"
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        target = shown(str(path.readlink()))
        return f"{name} is a link to {target}, which is not there: mend the link or name the file"
    if isinstance(error, FileNotFoundError):
        known = any(str(path) == corpus.name for corpus in corpora())
        cure = f"did you mean corpus:{path}?" if known else "check the name"
        return f"there is no file or folder {name}: {cure}"
    reason = getattr(error, "strerror", None) or error
    return f"{name} cannot be read ({reason}): check the name, or give another file"


def shown(name: str) -> str:
    """A file's name as one printable line: a name may hold newlines and bytes that are no text."""
    return name if name.isprintable() else repr(name)


def counted(number: int, noun: str) -> str:
    """Return "1 file" or "3 files"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _list(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
