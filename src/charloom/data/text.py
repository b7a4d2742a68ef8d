"""Files, folders, standard input and known texts -> one text, and its split.

Nothing is changed without a word: what was removed, turned or skipped stands in `Text.notes`.
A text may be larger than the memory: it is read a chunk at a time, again for each use.
"""

import hashlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from charloom.config import DataConfig
from charloom.data.sources import (
    File,
    Found,
    Known,
    Part,
    Tally,
    changed,
    counted,
    find,
    shown,
    why_unreadable,
)
from charloom.data.utf8 import STDIN, Changes, NotTextError
from charloom.errors import CharloomError
from charloom.progress import Meter, Tell, say_nothing

_FEWEST = 16  # characters of a held-out part: a loss over fewer says nothing
_SMALL = 2**16  # characters below which a Python set is faster than a table of all of Unicode


class Place(NamedTuple):
    """A place in a text: behind `last`, in a part of it, at what that part calls `offset`."""

    part: int = 0
    offset: int = 0
    last: str = "\n"


START = Place()


@dataclass(frozen=True)
class Text:
    """A text as it is learned, with where it came from.

    `name` is short, for display; `characters` is their number and `alphabet` the different
    ones, sorted; `sha256` is that of the UTF-8 bytes, in hexadecimal; each of `notes` says one
    thing that was done on the way, in a plain sentence. `parts` are joined to make the text;
    `files` are all that were looked at, each with its size and its time of change in
    nanoseconds.
    """

    name: str
    characters: int
    alphabet: tuple[str, ...] = field(repr=False)
    sha256: str
    notes: tuple[str, ...]
    parts: tuple[Part, ...] = field(repr=False)
    files: tuple[tuple[str, int, int], ...] = field(default=(), repr=False)

    @classmethod
    def from_string(cls, content: str, name: str) -> Self:
        """Return the text that is `content`, as it is."""
        scan = _Scan(Meter(say_nothing, "", 0))
        scan.add(Known(content), Changes())
        alphabet, digest = scan.alphabet(), scan.digest.hexdigest()
        return cls(name, scan.characters, alphabet, digest, (), tuple(scan.parts))

    @property
    def content(self) -> str:
        """All of it, read again."""
        return "".join(self.pieces())

    def head(self, count: int) -> str:
        """Return the first `count` characters, or all where there are not so many."""
        found: list[str] = []
        with closing(self.pieces()) as pieces:
            while count > 0 and (piece := next(pieces, "")):
                found.append(piece[:count])
                count -= len(piece)
        return "".join(found)

    def pieces(self) -> Generator[str, None, None]:
        """Read the text again, a piece at a time; raises CharloomError where it has changed."""
        with closing(self.walk()) as walk:
            for piece, _ in walk:
                yield piece

    def walk(self, place: Place = START) -> Generator[tuple[str, Place], None, None]:
        """Yield the pieces from `place` on, and the place behind each; raises as `pieces` does."""
        last = place.last
        for number in range(place.part, len(self.parts)):
            start = place.offset if number == place.part else 0
            join = "\n" if not start and last != "\n" else ""
            for piece, offset in _again(self.parts[number], start):
                text, join, last = join + piece, "", piece[-1]
                yield text, Place(number, offset, last)


@dataclass(frozen=True)
class Split:
    """The parts of a text, in order; a part that is not held out is None."""

    train: slice
    validation: slice | None
    test: slice | None
    notes: tuple[str, ...]


def read_text(sources: Sequence[str], tell: Tell = say_nothing) -> Text:
    """Read and join `sources`: files, folders, ``-`` for standard input, ``corpus:NAME``.

    Files are strict UTF-8. A byte-order mark is removed, CRLF and lone CR become LF. Of a
    folder, all files that are UTF-8 text are read, in the order of their paths and with those
    of its folders; names that begin with a dot are left out, links to folders not followed.
    Where a text does not end its last line, a newline comes between it and the next. Of
    standard input, 1 GiB at most is taken. `tell` hears how far a long text is read. Raises
    CharloomError.
    """
    if not sources:
        raise CharloomError("no text: name a file, a folder, - for standard input, or corpus:NAME")
    if sources.count("-") > 1:
        raise CharloomError("standard input can be read once: name - only once")
    tally = Tally()
    found = [find(source, tally) for source in sources]
    size = sum(part.size for group in found for part in group.parts)
    scan = _Scan(Meter(tell, "reading the text", size))
    for group in found:
        if group.folder is None:
            _scan_named(group.parts[0], scan, tally)
        else:
            _scan_folder(group, group.folder, scan, tally)
    name = _name(sources[0]) + (f" and {len(sources) - 1} more" if len(sources) > 1 else "")
    alphabet, digest, notes = scan.alphabet(), scan.digest.hexdigest(), tuple(tally.notes())
    return Text(name, scan.characters, alphabet, digest, notes, tuple(scan.parts), _states(found))


def file_states(sources: Sequence[str]) -> tuple[tuple[str, int, int], ...]:
    """Return what `Text.files` of these sources is now; raises CharloomError where one is gone."""
    again = [source for source in sources if source != "-" and not source.startswith("corpus:")]
    return _states([find(source, Tally()) for source in again])


def split_text(characters: int, config: DataConfig, minimum: int) -> Split:
    """Cut a text of that many characters: training, then validation, then test at its end.

    A part of fewer than 16 characters is left out, and test, then validation, where training
    would keep fewer than `minimum`; a note says so, and training has their characters.
    """
    notes: list[str] = []
    sizes: dict[str, int] = {}
    for part in ("validation", "test"):
        share = getattr(config, part)
        sizes[part] = int(characters * share)
        if share and sizes[part] < _FEWEST:
            notes.append(
                f"no {part} text: {100 * share:g}% of {characters:,} characters is "
                f"{sizes[part]:,}, and fewer than {_FEWEST} tell nothing"
            )
            sizes[part] = 0
    for part in ("test", "validation"):
        left = characters - sum(sizes.values())
        if sizes[part] and left < minimum:
            notes.append(
                f"no {part} text: it would leave {left:,} of {characters:,} characters for "
                f"training, and a step needs {minimum:,}"
            )
            sizes[part] = 0
    train = characters - sum(sizes.values())
    tail = characters - sizes["test"]
    return Split(
        slice(0, train),
        slice(train, tail) if sizes["validation"] else None,
        slice(tail, characters) if sizes["test"] else None,
        tuple(notes),
    )


class _Scan:
    """What is found out about a text while its parts are read for the first time."""

    def __init__(self, meter: Meter) -> None:
        self.characters = 0
        self.digest = hashlib.sha256()
        self.parts: list[Part] = []
        self._alphabet: set[str] = set()
        self._last = "\n"
        self._meter, self._bytes = meter, 0

    def add(self, part: Part, changes: Changes) -> None:
        """Read a part; where that raises, nothing but the meter has moved."""
        digest, alphabet = self.digest.copy(), set[str]()
        characters, last = 0, self._last
        found = Changes()
        join = "" if last == "\n" else "\n"
        for piece, offset in part.pieces(found):
            text, join, last = join + piece, "", piece[-1]
            digest.update(text.encode())
            alphabet |= _different(text)
            characters += len(text)
            self._meter.move(self._bytes + offset)
        self._bytes += part.size
        self.digest, self._last = digest, last
        self.parts.append(part)
        self._alphabet |= alphabet
        self.characters += characters
        changes.marks += found.marks
        changes.crlf += found.crlf
        changes.cr += found.cr

    def alphabet(self) -> tuple[str, ...]:
        return tuple(sorted(self._alphabet))


def _scan_named(part: Part, scan: _Scan, tally: Tally) -> None:
    try:
        scan.add(part, tally.changes)
    except OSError as error:
        assert isinstance(part, File)
        raise CharloomError(why_unreadable(part.path, error)) from None


def _scan_folder(group: Found, folder: str, scan: _Scan, tally: Tally) -> None:
    before = len(scan.parts)
    for part in group.parts:
        assert isinstance(part, File)
        try:
            scan.add(part, tally.changes)
        except NotTextError as error:
            tally.skip(error.why, part.label)
        except OSError:
            tally.skip("cannot be read", part.label)
    if not (count := len(scan.parts) - before):
        found = "".join(f", {note}" for note in tally.skips())
        raise CharloomError(
            f"no text in the folder {shown(folder)}{found}: name one with UTF-8 text files"
        )
    tally.folders.append(f"read {counted(count, 'file')} of the folder {shown(folder)}")


def _again(part: Part, offset: int) -> Iterator[tuple[str, int]]:
    """The pieces of a part that was read before."""
    try:
        yield from part.pieces(Changes(), offset)
    except NotTextError:
        raise changed(part.label if isinstance(part, File) else STDIN) from None
    except OSError as error:
        assert isinstance(part, File)
        raise CharloomError(why_unreadable(part.path, error)) from None


def _states(found: Sequence[Found]) -> tuple[tuple[str, int, int], ...]:
    return tuple(p.state() for group in found for p in group.parts if isinstance(p, File))


def _different(text: str) -> set[str]:
    """The characters that occur in `text`."""
    if len(text) < _SMALL:
        return set(text)
    seen = np.zeros(0x110000, np.bool_)
    seen[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")] = True
    return set(map(chr, np.flatnonzero(seen).tolist()))


def _name(source: str) -> str:
    if source == "-":
        return STDIN
    if source.startswith("corpus:"):
        return source.removeprefix("corpus:")
    return shown(Path(source).name or Path(source).resolve().name or source)
