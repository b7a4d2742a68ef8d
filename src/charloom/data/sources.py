"""Where a text comes from: files, folders, standard input and known texts, as parts of it.

A part can be read again and again, from any place in it, and notices that it has changed.
"""

import io
import os
import re
import stat
import sys
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charloom.data.encodings import Clue, advised, look
from charloom.data.known_texts import KNOWN_TEXTS, load_corpus
from charloom.data.learned import kind_of, refuse_learned
from charloom.data.utf8 import CHUNK, STDIN, UTF8, Changes, Reading, decode
from charloom.errors import CharloomError
from charloom.formatting import count, listed

STDIN_BYTES = 2**30  # at most: standard input goes to a temporary file, and may have no end

_FOLDERS = {"a run", "a model", "a link to a folder"}  # reasons to skip a whole folder


@dataclass(frozen=True)
class File:
    """A file of that size and time of change; places are those of `decode`."""

    path: Path
    label: str
    size: int
    mtime_ns: int
    reading: Reading

    def pieces(self, changes: Changes, place: int = 0) -> Iterator[tuple[str, int]]:
        """Yield the text from `place` on in pieces, with the place behind each.

        Raises CharloomError if the file cannot be read, is not text, or has changed.
        """
        try:
            with self.path.open("rb") as file:
                self._check(file.fileno())
                yield from decode(file, self.label, changes, place, self.reading)
                self._check(file.fileno())
        except OSError as error:
            raise unreadable(self.path, error) from None

    def look(self, error: CharloomError) -> Clue:
        """Return what the file looks like that `pieces` raised this error for."""
        with self.path.open("rb") as file:
            return look(file, error)

    def advised(self, error: CharloomError) -> CharloomError:
        """Return an error of `pieces` with what the file looks like, and what to do."""
        return advised(error, self.look(error), self.label)

    def state(self) -> tuple[str, int, int]:
        """Return absolute path, size and time of change, as JSON can hold them."""
        path = os.fsencode(self.path.absolute()).decode("utf-8", "backslashreplace")
        return path, self.size, self.mtime_ns

    def _check(self, descriptor: int) -> None:
        now = os.fstat(descriptor)
        if (now.st_size, now.st_mtime_ns) != (self.size, self.mtime_ns):
            raise changed(self.label)


class Piped:
    """Standard input, copied to a temporary file without a name: a text is read more than once."""

    label = STDIN

    def __init__(self, reading: Reading) -> None:
        _refuse_endless_stdin()
        self._reading = reading
        self.size = 0  # bytes
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

    def pieces(self, changes: Changes, place: int = 0) -> Iterator[tuple[str, int]]:
        """Yield the text from `place` on in pieces, with the place behind each."""
        yield from decode(self._file, STDIN, changes, place, self._reading)

    def advised(self, error: CharloomError) -> CharloomError:
        """Return an error of `pieces` with what the text looks like, and what to do."""
        return advised(error, look(self._file, error), STDIN)


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
class Excerpts:
    """Ranges of a part, one after another; places are counts of their characters.

    `starts` and `stops` (n,) are places between characters of the part, ascending.
    """

    part: "Part"
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    @property
    def label(self) -> str:
        """The name of the part."""
        return self.part.label

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


Part = File | Piped | InMemory | Excerpts


class Found(NamedTuple):
    """The parts of one source; those of a `folder` are skipped if they are not text."""

    parts: list[Part]
    folder: str | None = None


@dataclass
class Tally:
    """What was changed and skipped while a text was read."""

    folders: list[str] = field(default_factory=list)
    changes: Changes = field(default_factory=Counter)
    skipped: dict[str, list[str]] = field(default_factory=dict)
    clues: dict[str, str] = field(default_factory=dict)

    def skip(self, why: str, name: str) -> None:
        """Count a file that is left out."""
        self.skipped.setdefault(why, []).append(shown(name))

    def skips(self) -> list[str]:
        """Return a sentence for each reason to skip files."""
        return [
            f"skipped {count(len(names), 'folder' if why in _FOLDERS else 'file')} ({why}): "
            + listed(names)
            + (f"; {self.clues[why]}" if why in self.clues else "")
            for why, names in self.skipped.items()
        ]

    def notes(self) -> tuple[str, ...]:
        """Return a sentence for each thing that was done."""
        notes, marks = [*self.folders], self.changes["marks"]
        if marks:
            some = f"the byte-order marks of {marks:,} files"
            notes.append(f"removed {'a byte-order mark' if marks == 1 else some}")
        notes += [
            f"turned {count(self.changes[kind], f'{kind} line end')} into LF"
            for kind in ("CRLF", "lone CR")
            if self.changes[kind]
        ]
        if bad := self.changes["replaced"]:
            notes.append(f"read U+FFFD in {count(bad, 'place')} that could not be decoded")
        return (*notes, *self.skips())


def is_special(source: str) -> bool:
    """Whether a source is standard input or a known text: neither a file nor a folder."""
    return source == "-" or source.startswith("corpus:")


def find(source: str, tally: Tally, natural: bool = True, reading: Reading = UTF8) -> Found:
    """Find the parts of a source; only standard input is read. Raises CharloomError.

    Files of a folder are in their natural order, ch2 before ch10, or else in that of early runs.
    """
    if source == "-":
        return Found([Piped(reading)])
    if source.startswith("corpus:"):
        return Found([InMemory(load_corpus(source.removeprefix("corpus:")))])
    if not source:
        raise CharloomError("the name of a text is empty: name a file, a folder, or -", "no-text")
    path = Path(source)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    refuse_learned(source)
    if stat.S_ISDIR(status.st_mode):
        return Found(_files(path, tally, natural, reading), source)
    if not stat.S_ISREG(status.st_mode):
        message = (
            f"{shown(source)} is a pipe, a socket or a device, not a file: to read what a program "
            "writes, pipe it in and name - as the text"
        )
        raise CharloomError(message, "unreadable", path=source)
    return Found([File(path, shown(source), status.st_size, status.st_mtime_ns, reading)])


def _natural(path: Path) -> tuple[list[list[str | int]], tuple[str, ...]]:
    """Return what sorts paths as people do: by the numbers in their names, not the digits."""
    split = [re.split("([0-9]+)", name) for name in path.parts]
    numbers = [[int(s) if n % 2 else s for n, s in enumerate(name)] for name in split]
    return numbers, path.parts


def _files(folder: Path, tally: Tally, natural: bool, reading: Reading) -> list[Part]:
    """Return all files below `folder` that are not hidden, in the order of their paths.

    Those of runs and models are left out: they hold what was learned, not what to learn from.
    """

    def skip(path: Path, why: str) -> None:
        tally.skip(why, str(path.relative_to(folder)))

    def skip_folder(error: OSError) -> None:
        skip(Path(error.filename), "cannot be read")

    found: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=skip_folder):
        if kind := kind_of([*folders, *files]):
            skip(Path(parent), kind)
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(parent, name) for name in folders):
            if path.is_symlink():
                skip(path, "a link to a folder")
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    parts: list[Part] = []
    for path in sorted(found, key=_natural if natural else lambda path: path.parts):
        try:
            status = path.stat()
        except OSError:
            skip(path, "cannot be read")
            continue
        if stat.S_ISREG(status.st_mode):
            label = shown(str(path.relative_to(folder)))
            parts.append(File(path, label, status.st_size, status.st_mtime_ns, reading))
        else:
            skip(path, "a pipe, a socket or a device")
    return parts


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
