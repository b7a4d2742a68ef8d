"""Sources become one text, which may be larger than memory: it is read in pieces, at each use.

Nothing is changed without a word: what was removed, turned or skipped is told in `Text.notes`.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, Self

import msgspec
import numpy as np

from charloom.config import DETECT, Normalize
from charloom.data.boundary import BOUNDARY
from charloom.data.bounded import Bounded
from charloom.data.gathering import Gathering
from charloom.data.parts import File, InMemory, Part, Piped, changed, is_kept, shown
from charloom.data.readers import Job, Report
from charloom.data.reading import UTF8, Reading
from charloom.data.selection import Selection
from charloom.data.sources import Found, find, find_all, is_special
from charloom.data.spool import Shelf
from charloom.data.tally import Tally
from charloom.data.units import Converted, Plain
from charloom.data.utf8 import STDIN, Changes, normalized
from charloom.data.web.fetching import is_address
from charloom.errors import CharloomError
from charloom.progress import Meter, Tell, say_nothing

MOSTLY = 1.25  # bytes a character in UTF-8, below which these are sorted out by byte
_ASCII = frozenset(map(chr, range(128)))
_SMALL = 2**16  # characters below which a Python set is faster than a table of all of Unicode

States = tuple[tuple[str, int, int], ...]  # of files: path, size, time of change in nanoseconds


class Place(NamedTuple):
    """A place in a text: behind `last`, in a part of it, at what that part calls `offset`."""

    part: int = 0
    offset: int = 0
    last: str = "\n"


START = Place()


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a text was put in the order training, validation, test; the last two in characters.

    Of `whole` documents or lines so many are `drawn` for them; None if they have the end of each.
    `separator` is what documents of one file end with. `known` is the share of what is held out
    whose very documents or lines training has, too; 0 if it is not worth telling.
    """

    validation: int
    test: int
    kind: Literal["documents", "lines"]
    whole: int
    drawn: int | None = None
    separator: str | None = None
    known: float = 0.0


@dataclass(frozen=True)
class Text:
    """A text as it is learned, with where it came from.

    `name` is short, for display; `characters` counts them, and `alphabet` has the different ones,
    sorted; `sha256` is that of the UTF-8 bytes, in hexadecimal; each of `notes` is a sentence
    about one thing that was done on the way. `parts` are joined to make the text; `files` are
    all that were found, skipped ones too. `layout` is that of a text that has been put in order.
    A text with boundaries has one at the end of each of its documents: `visible` shows it. A `raw`
    one is the bytes of files that are no text: see raw_bytes.py.
    """

    name: str
    characters: int
    alphabet: tuple[str, ...] = field(repr=False)
    sha256: str
    notes: tuple[str, ...]
    parts: tuple[Part, ...] = field(repr=False)
    files: States = field(default=(), repr=False)
    layout: Layout | None = None
    raw: bool = False

    @classmethod
    def from_string(cls, content: str, name: str) -> Self:
        """Return the text that is `content`, unchanged."""
        scan = _Scan(Meter(say_nothing, "", 0))
        scan.add(InMemory(content), Counter())
        return cls(name, *scan.found(), (), tuple(scan.parts))

    @classmethod
    def prompt(cls, content: str, name: str, form: Normalize) -> Self:
        """Return what was typed, as if it had been read from a file."""
        changes: Changes = Counter()
        text = cls.from_string(normalized(content, form, changes), name)
        return replace(text, notes=Tally(changes=changes).notes())

    def arranged(
        self, groups: Sequence[Sequence[Part]], notes: Sequence[str], tell: Tell
    ) -> tuple[Self, tuple[int, ...]]:
        """Return the text of other parts, and how many characters are before each group's end."""
        size = sum(part.size for group in groups for part in group)
        scan, ends = _Scan(Meter(tell, "putting the text in order", size)), list[int]()
        for group in groups:
            for part in group:
                try:
                    scan.add(part, Counter())
                except CharloomError as error:
                    raise _changed(part, error) from None
            ends.append(scan.characters)
        parts, told = tuple(scan.parts), (*self.notes, *notes)
        found = type(self)(self.name, *scan.found(), told, parts, self.files, raw=self.raw)
        return found, tuple(ends)

    @property
    def has_boundaries(self) -> bool:
        """Whether its documents end with boundaries; they are several then."""
        return BOUNDARY in self.alphabet

    @property
    def content(self) -> str:
        """The whole text, read again."""
        return "".join(self.pieces())

    def head(self, count: int) -> str:
        """Return the first `count` characters, or all if there are fewer."""
        found: list[str] = []
        for piece in self.pieces():
            found.append(piece[:count])
            count -= len(piece)
            if count <= 0:
                break
        return "".join(found)

    def pieces(self) -> Iterator[str]:
        """Read the text again, a piece at a time; raises CharloomError if it has changed."""
        return (piece for piece, _ in self.walk())

    def walk(self, place: Place = START) -> Iterator[tuple[str, Place]]:
        """Yield the pieces from `place` on, and the place behind each; raises as `pieces` does."""
        last = place.last
        for number in range(place.part, len(self.parts)):
            part, start = self.parts[number], place.offset if number == place.part else 0
            join = "" if start else _join(last)
            try:
                for piece, offset in part.pieces(Counter(), start):
                    text, join, last = join + piece, "", piece[-1]
                    yield text, Place(number, offset, last)
            except CharloomError as error:
                raise _changed(part, error) from None


def read_text(
    sources: Sequence[str],
    tell: Tell = say_nothing,
    reading: Reading = UTF8,
    or_raw: bool = False,
) -> Text:
    """Read and join `sources`: files, folders, sites, ``-`` for standard input, ``corpus:NAME``.

    What a file is, its contents say: documents of a known kind become text, each of them a part
    or several together; archives and compressed files are opened; all else is strict UTF-8, or
    what `reading` says. A byte-order mark is removed, CRLF and lone CR become LF. Of a folder or
    an archive all files that are text are read, those of its folders too, in the natural order of
    their paths, ch2 before ch10; runs, models, pages that charloom wrote and names that begin with
    a dot are left out, links to folders not followed. If a part does not end its last line, a
    newline comes between it and the next. With `reading.boundaries` each of several documents ends
    with a boundary, and so does what stands before a line <|endoftext|> of plain text. Standard
    input may have 1 GiB. `tell` hears how far a long text has been read. With `or_raw`, if a source
    is a file that is no text, all files are read as raw bytes. What `reading` leaves out is told.
    Raises CharloomError.
    """
    tally = Tally()
    found = find_all(sources, tally, reading, tell)
    try:
        return _read(sources, found, tally, tell, reading)
    except CharloomError as error:
        if error.code != "not-text" or not or_raw or reading.raw:
            raise
        what = error.facts.get("path", sources[0])
    reading = reading._replace(raw=True, boundaries=False)
    piped = [part for group in found for part in group.parts if isinstance(part, Piped)]
    for part in piped:
        part.reading = reading
    tally = Tally()
    tally.folders.append(f"{what} is no text: each byte counts as a character")
    others = [source for source in sources if source != "-"]
    again = iter(find_all(others, tally, reading, tell) if others else ())
    found = [Found(piped) if source == "-" else next(again) for source in sources]
    return _read(sources, found, tally, tell, reading)


def _read(
    sources: Sequence[str], found: Sequence[Found], tally: Tally, tell: Tell, reading: Reading
) -> Text:
    """Read what was found in each of the sources."""
    size = sum(part.size for group in found for part in group.parts)
    scan = _Scan(Meter(tell, "reading the text", size), reading.boundaries)
    reader = _Reader(scan, tally, reading)
    for source, group in zip(sources, found, strict=True):
        reader.read(source, group)
    name = _name(sources[0]) + (f" and {len(sources) - 1:,} more" if len(sources) > 1 else "")
    left_out = reader.choose(tell)
    notes = (*tally.notes(), *left_out)
    if reading.encoding not in (UTF8.encoding, DETECT):
        notes = (f"read as {reading.encoding}", *notes)
    facts = scan.found()  # which ends the last part
    states = _states(sources, found)
    return Text(name, *facts, notes, tuple(scan.parts), states, raw=reading.raw)


def file_states(sources: Sequence[str], reading: Reading = UTF8) -> States:
    """Return what `Text.files` of these sources is now; raises CharloomError if one is gone."""
    kept = [source for source in sources if not is_special(source)]
    return _states(kept, [find(source, Tally(), reading) for source in kept])


class _Reader:
    """What reads sources for the first time."""

    def __init__(self, scan: "_Scan", tally: Tally, reading: Reading) -> None:
        self._scan, self._tally, self._options = scan, tally, reading.options
        self._marks = reading.boundaries and reading.recognises
        self._shelf, self._reading = Shelf(reading.boundaries), reading
        self._selection = Selection(reading) if reading.selects else None

    def read(self, source: str, found: Found) -> None:
        """Read a source, which is a file, or a folder or archive of some that may be skipped."""
        gathering = Gathering(source, found, self._tally)
        for unit in gathering:
            with gathering.reading(unit):
                if self._selection is None:
                    self._add(unit)
                else:
                    documents = gathering.documents(unit, self._reading, self._scan.move)
                    self._selection.add(documents)

    def choose(self, tell: Tell) -> list[str]:
        """Add what is chosen of documents, if some are left out; return sentences on these."""
        if self._selection is None:
            return []
        tell("looking for what is there twice")
        self._keep((label, pieces) for label, _, pieces in self._selection.chosen())
        if not self._scan.parts:
            message = "nothing is left of the text: leave out --drop-boilerplate"
            raise CharloomError(message, "no-text")
        return self._selection.notes()

    def _add(self, unit: Plain | Converted) -> None:
        """Add all of a unit to the text, or nothing of it and raise CharloomError."""
        match unit:
            case Plain(whole) if is_kept(whole):
                part = Bounded(whole, marks=True) if self._marks else whole
                self._scan.add(part, self._tally.changes)
            case Plain(member):
                changes: Changes = Counter()
                part = Bounded(member, marks=True) if self._marks else member
                self._keep([(part.label, (piece for piece, _ in part.pieces(changes)))])
                self._tally.changes.update(changes)
            case Converted(label, _, kind):
                job = Job(label, self._options, Report())
                count = self._keep(self._watched(unit, job))
                self._tally.read(kind, label, count, job.report)

    def _watched(self, unit: Converted, job: Job) -> Iterator[tuple[str, list[str]]]:
        for name, document in unit.documents(job):
            yield name, [document.text]
            self._scan.move(unit.position())

    def _keep(self, documents: Iterable[tuple[str, Iterable[str]]]) -> int:
        """Add documents that are read once, and return how many they are."""
        parts = self._shelf.put(documents)
        for part in parts:
            self._scan.add(part, Counter())
        return sum(part.documents for part in parts)


class _Scan:
    """What is found out about a text while its parts are read for the first time."""

    def __init__(self, meter: Meter, boundaries: bool = False) -> None:
        self.parts: list[Part] = []
        self.characters, self._digest, self._alphabet = 0, hashlib.sha256(), set[str]()
        self._last, self._bytes, self._meter = "\n", 0, meter
        self._boundaries = boundaries  # whether each part is to end with one, if they are several

    def add(self, part: Part, changes: Changes) -> None:
        """Read a part; if that raises, nothing but the meter has moved."""
        digest, alphabet, found = self._digest.copy(), set[str](), Changes()
        characters, last = self.characters, self._last
        join = _join(last)
        if self._boundaries and self.parts:
            join += BOUNDARY
        digest.update(join.encode())
        for piece, offset in part.pieces(found):
            data = piece.encode("utf-8", "surrogatepass")  # a prompt may have any bytes
            digest.update(data)
            alphabet |= _different(piece, data, alphabet)
            characters, last = characters + len(piece), piece[-1]
            self.move(offset)
        self._bytes += part.size
        changes.update(found)
        if not alphabet:  # it has no text, only marks
            return
        self.characters, self._digest, self._last = characters + len(join), digest, last
        self._alphabet |= {*join, *alphabet}
        if self._boundaries and self.parts:
            self.parts[-1] = _ended(self.parts[-1])
        if isinstance(part, Bounded) and not part.end and not found["boundaries"]:
            part = part.part
        self.parts.append(part)

    def move(self, done: int) -> None:
        """Note that so many bytes of a part are done."""
        self._meter.move(self._bytes + done)

    def found(self) -> tuple[int, tuple[str, ...], str]:
        """End the last of several documents; return characters, alphabet and SHA-256."""
        if self._boundaries and BOUNDARY in self._alphabet:
            end = _join(self._last) + BOUNDARY
            self._digest.update(end.encode())
            self._alphabet |= {*end}
            self.characters, self._last = self.characters + len(end), BOUNDARY
            self.parts[-1], self._boundaries = _ended(self.parts[-1]), False
        return self.characters, tuple(sorted(self._alphabet)), self._digest.hexdigest()


def _join(last: str) -> str:
    """Return what comes between a part that ends with that character and the next one."""
    return "" if last in ("\n", BOUNDARY) else "\n"


def _ended(part: Part) -> Bounded:
    return replace(part, end=True) if isinstance(part, Bounded) else Bounded(part, end=True)


def _changed(part: Part, error: CharloomError) -> CharloomError:
    """Return what is wrong with a part that could be read before."""
    return changed(part.label) if error.code in ("not-text", "no-text") else error


def _states(sources: Sequence[str], found: Sequence[Found]) -> States:
    pairs = zip(sources, found, strict=True)
    parts = (part for s, group in pairs if not is_special(s) for part in group.parts)
    return tuple(part.state() for part in parts if isinstance(part, File))


def _different(text: str, data: bytes, known: set[str]) -> set[str]:
    """Return the characters of `text`, `data` in UTF-8, that are not known, perhaps with others."""
    if len(data) < MOSTLY * len(text):  # by far the most of it is ASCII
        rest = data.translate(None, "".join(_ASCII & known).encode())
        text = rest.decode("utf-8", "surrogatepass")
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
    if is_address(source):
        return shown(source.partition("://")[2].rstrip("/"))
    return shown(Path(source).name or Path(source).resolve().name or source)
