"""Sources to what would be trained on, written out as text or as JSON Lines."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from charloom.data.boundary import MARK
from charloom.data.bounded import Bounded, documents
from charloom.data.gathering import Gathering
from charloom.data.parts import File
from charloom.data.readers import Job, Report
from charloom.data.reading import UTF8, Reading
from charloom.data.selection import Document, Selection
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
    `dedupe` and `drop_boilerplate` leave out what `Selection` says. What stands between such lines
    in a file are documents, too.
    """

    def __init__(
        self,
        sources: Sequence[str],
        reading: Reading = UTF8,
        *,
        as_json: bool = False,
        dedupe: bool = False,
        drop_boilerplate: bool = False,
        out: Path | None = None,
        tell: Tell = say_nothing,
    ) -> None:
        self._sources, self._reading, self._as_json = sources, reading, as_json
        self._out, self._tell = out, tell
        self._tally = Tally()
        selects = dedupe or drop_boilerplate
        self._selection = Selection(dedupe, drop_boilerplate) if selects else None
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
                    if self._selection is not None:
                        self._selection.add(self._documents(unit))
                    else:
                        yield from self._whole(unit) if unit.within else self._unit(unit)
            done += size
            meter.move(done)
        if self._selection is not None:
            self._tell("looking for what is there twice")
            for document in self._selection.chosen():
                yield from self._written(document)
        if self._last not in ("", "\n"):
            yield "\n"

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each thing that was done."""
        left_out = () if self._selection is None else self._selection.notes()
        return (*self._tally.notes(), *left_out)

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
        for document in self._documents(unit):
            yield from self._written(document)

    def _documents(self, unit: Plain | Converted) -> Iterator[Document]:
        """Yield the documents of a unit, each to be read before the next one."""
        match unit:
            case Plain(part):
                changes: Changes = Counter()
                parted = self._as_json or self._selection is not None
                marks = parted and self._reading.recognises
                whole = Bounded(part, marks=True) if marks else part
                pieces = (piece for piece, _ in whole.pieces(changes))
                for number, text in enumerate(documents(pieces), 1):
                    yield Document(f"{number} in {part.label}", {"source": part.label}, text)
                self._tally.changes.update(changes)
            case Converted(label, _, kind):
                job, count = Job(label, self._reading.options, Report()), 0
                for name, found in unit.documents(job):
                    known = {"source": label, **found._asdict()}
                    yield Document(name, known, [known.pop("text")])
                    count += 1
                self._tally.read(kind, label, count, job.report)

    def _written(self, document: Document) -> Iterator[str]:
        if self._as_json:
            head = {name: value for name, value in document.known.items() if value}
            yield json.dumps(head, ensure_ascii=False)[:-1] + ', "text": "'
            for piece in document.pieces:
                yield json.dumps(piece, ensure_ascii=False)[1:-1]
            yield '"}\n'
        else:
            if self.documents:
                yield ("" if self._last == "\n" else "\n") + MARK + "\n"
            for piece in document.pieces:
                self._last = piece[-1]
                yield piece
        self.documents += 1
