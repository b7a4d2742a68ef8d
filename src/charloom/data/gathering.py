"""A source as units that are read one by one, with an account of what was read and skipped."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from charloom.config import DETECT
from charloom.data.bounded import Bounded, documents
from charloom.data.parts import Bytes, shown
from charloom.data.readers import Job, Report
from charloom.data.reading import Reading
from charloom.data.selection import Document
from charloom.data.sources import Found
from charloom.data.tally import Tally
from charloom.data.units import Converted, Plain, Refused, units
from charloom.data.utf8 import Changes
from charloom.errors import CharloomError
from charloom.formatting import count


class Gathering:
    """The units of a source, each to be read in a `with gathering.reading(unit)`."""

    def __init__(self, source: str, found: Found, tally: Tally) -> None:
        self._source, self._found, self._tally = source, found, tally
        self._read: list[str] = []

    def __iter__(self) -> Iterator[Plain | Converted]:
        """Yield the units, the next when one has been read, and tell at the end what was read.

        Raises CharloomError for a source that cannot be read, also if it is a folder or archive
        without any text.
        """
        site = self._found.site
        several = self._found.folder is not None
        for unit in units(self._found):
            several = several or unit.within
            if isinstance(unit, Refused):
                if unit.error.code == "changed-text":
                    raise unit.error
                self._tally.skip(_why(unit.error), unit.label)
            else:
                yield unit
        if several:
            self._tell()
        if site is not None:
            self._tally.left_out(site.report)

    @contextmanager
    def reading(self, unit: Plain | Converted) -> Iterator[None]:
        """Count a unit as read, or as skipped if it is within something and cannot be read.

        Raises CharloomError if it is not within anything, or changes while it is read.
        """
        try:
            yield
        except CharloomError as error:
            if not unit.within or error.code == "changed-text":
                raise _advised(unit, error) from None
            self._skip(unit, error)
        else:
            self._read.append(unit.label)
            if isinstance(unit, Plain) and unit.guess is not None:
                self._tally.guesses.append(unit.guess)

    def documents(
        self, unit: Plain | Converted, reading: Reading, move: Callable[[int], None]
    ) -> Iterator[Document]:
        """Yield the documents of a unit, each to be read before the next one.

        `move` hears how many bytes of it have been read. With `reading.boundaries` what stands
        between lines <|endoftext|> in a file are documents.
        """
        match unit:
            case Plain(part):
                changes: Changes = Counter()
                marks = reading.boundaries and reading.recognises
                whole = Bounded(part, marks=True) if marks else part
                pieces = _watched(whole.pieces(changes), move)
                for number, text in enumerate(documents(pieces), 1):
                    yield Document(f"{number} in {part.label}", {"source": part.label}, text)
                self._tally.changes.update(changes)
            case Converted(label, _, kind):
                job, count = Job(label, reading.options, Report()), 0
                for name, found in unit.documents(job):
                    known = {"source": label, **found._asdict()}
                    yield Document(name, known, [known.pop("text")])
                    count += 1
                    move(unit.position())
                self._tally.read(kind, label, count, job.report)

    def _skip(self, unit: Plain | Converted, error: CharloomError) -> None:
        why, clues = _why(error), self._tally.clues
        self._tally.skip(why, unit.label)
        if isinstance(unit, Plain) and error.facts.get("byte") and why not in clues:
            assert isinstance(unit.part, Bytes)
            clue = unit.part.look(error)
            clues[why] = f"{unit.label} {clue}"
            if clue.kind == "other" and clue.encodings not in ((), ("utf-8",)):
                cure = f"--encoding {DETECT} reads each file as what it looks like"
                clues[why] = f"{unit.label} {clue.looks}: {cure}"

    def _tell(self) -> None:
        read, kind = self._read, "archive" if self._found.folder is None else "folder"
        if self._found.site is not None:
            kind = "site"
        name = f"the {kind} {shown(self._source)}"
        if not read:
            skips = "".join(f", {note}" for note in self._tally.skips())
            message = f"no text in {name}{skips}: name one with text files, or name the files"
            raise CharloomError(message, "no-text", path=self._source)
        noun = "page" if kind == "site" else "file"
        self._tally.gathered.append((f"{count(len(read), noun)} of {name}", read))


def _watched(pieces: Iterator[tuple[str, int]], move: Callable[[int], None]) -> Iterator[str]:
    for piece, place in pieces:
        yield piece
        move(place)


def _why(error: CharloomError) -> str:
    return str(error.facts.get("why", "cannot be read"))


def _advised(unit: Plain | Converted, error: CharloomError) -> CharloomError:
    """Return an error with what a file looks like, and what to do."""
    if isinstance(unit, Plain) and "offset" in error.facts:
        assert isinstance(unit.part, Bytes)
        return unit.part.advised(error)
    return error
