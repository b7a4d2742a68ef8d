"""Sources to what would be trained on, written out as text or as JSON Lines."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from charloom.data.boundary import MARK
from charloom.data.gathering import Gathering
from charloom.data.parts import File
from charloom.data.readers import Job, Report
from charloom.data.reading import UTF8, Reading
from charloom.data.sources import Found, find_all
from charloom.data.spool import Shelf
from charloom.data.tally import Tally
from charloom.data.units import Converted, Plain
from charloom.data.utf8 import Changes
from charloom.progress import Meter, Tell, say_nothing


class Writing:
    """The documents of sources, to be written: `pieces`, then `notes` and how many they were.

    As text they are separated by lines that are <|endoftext|>, which training takes for the ends
    of documents. With `as_json` each is an object in a line, with name, title, author and date as
    far as they are known, and text. A file `out` is no source, even in a folder that is one.
    """

    def __init__(
        self,
        sources: Sequence[str],
        reading: Reading = UTF8,
        *,
        as_json: bool = False,
        out: Path | None = None,
        tell: Tell = say_nothing,
    ) -> None:
        self._sources, self._reading, self._as_json = sources, reading, as_json
        self._out, self._tell = out, tell
        self._tally = Tally()
        self._last = ""  # character that was written
        self.documents = 0

    def pieces(self) -> Iterator[str]:
        """Yield what is to be written, once; raises CharloomError as `read_text` does."""
        found = [
            self._without_out(f)
            for f in find_all(self._sources, self._tally, self._reading, self._tell)
        ]
        sizes = [[part.size for part in group.parts] for group in found]
        meter, done = Meter(self._tell, "reading the text", sum(map(sum, sizes))), 0
        for source, group, size in zip(self._sources, found, map(sum, sizes), strict=True):
            gathering = Gathering(source, group, self._tally)
            for unit in gathering:
                with gathering.reading(unit):
                    yield from self._whole(unit) if unit.within else self._unit(unit)
            done += size
            meter.move(done)
        if self._last not in ("", "\n"):
            yield "\n"

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each thing that was done."""
        return self._tally.notes()

    def _without_out(self, found: Found) -> Found:
        if self._out is None or found.folder is None:
            return found
        out = self._out.resolve()
        files = [p for p in found.parts if isinstance(p, File) and p.path.resolve() != out]
        return Found(files, found.folder)

    def _whole(self, unit: Plain | Converted) -> Iterator[str]:
        """Yield what is to be written of a unit, or, if it cannot be read, nothing."""
        before = self.documents, self._last
        try:
            parts = Shelf().put([(unit.label, self._unit(unit))])
        except BaseException:
            self.documents, self._last = before
            raise
        for part in parts:
            yield from (piece for piece, _ in part.pieces(Counter()))

    def _unit(self, unit: Plain | Converted) -> Iterator[str]:
        match unit:
            case Plain(part):
                changes: Changes = Counter()
                pieces = (piece for piece, _ in part.pieces(changes))
                yield from self._document({"source": part.label}, pieces)
                self._tally.changes.update(changes)
            case Converted(label, _, kind):
                job, before = Job(label, self._reading.options, Report()), self.documents
                for _, document in unit.documents(job):
                    known = {"source": label, **document._asdict()}
                    yield from self._document(known, [known.pop("text")])
                self._tally.read(kind, label, self.documents - before, job.report)

    def _document(self, known: dict[str, str], pieces: Iterable[str]) -> Iterator[str]:
        if self._as_json:
            head = {name: value for name, value in known.items() if value}
            yield json.dumps(head, ensure_ascii=False)[:-1] + ', "text": "'
            for piece in pieces:
                yield json.dumps(piece, ensure_ascii=False)[1:-1]
            yield '"}\n'
        else:
            if self.documents:
                yield ("" if self._last == "\n" else "\n") + MARK + "\n"
            for piece in pieces:
                self._last = piece[-1]
                yield piece
        self.documents += 1
