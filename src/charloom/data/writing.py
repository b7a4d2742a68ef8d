"""Sources to what would be trained on, written out as text or as JSON Lines."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from charloom.data.boundary import MARK
from charloom.data.gathering import Gathering
from charloom.data.parts import File
from charloom.data.reading import UTF8, Reading
from charloom.data.selection import Document, Selection
from charloom.data.sources import Found, find_all
from charloom.data.spool import Shelf
from charloom.data.tally import Tally
from charloom.progress import Meter, Tell, say_nothing


class Writing:
    """The documents of sources, to be written: `pieces`, then `notes` and how many they were.

    As text they are separated by lines that are <|endoftext|>, which training takes for the ends
    of documents. With `as_json` each is an object in a line, with name, title, author and date as
    far as they are known, and text. A file `out` is no source, even in a folder that is one.
    What `reading` asks to leave out, `Selection` says. What stands between such lines in a file are
    documents, too, if anything is left out, or with `as_json`.
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
        self._sources, self._as_json = sources, as_json
        self._reading = reading._replace(boundaries=as_json or reading.selects)
        self._out, self._tell = out, tell
        self._tally = Tally()
        self._selection = Selection(reading) if reading.selects else None
        self._last = ""  # character that was written
        self.documents = 0

    def pieces(self) -> Iterator[str]:
        """Yield what is to be written, once; raises CharloomError as `read_text` does."""
        found = [
            self._without_out(f)
            for f in find_all(self._sources, self._tally, self._reading, self._tell)
        ]
        sizes = [sum(part.size for part in group.parts) for group in found]
        meter = Meter(self._tell, "reading the text", sum(sizes))
        done = place = 0  # bytes of what has been read, and of what is being read

        def move(read: int) -> None:
            nonlocal place
            place = read
            meter.move(done + place)

        for source, group, size in zip(self._sources, found, sizes, strict=True):
            end, gathering = done + size, Gathering(source, group, self._tally)
            for unit in gathering:
                with gathering.reading(unit):
                    documents = gathering.documents(unit, self._reading, move)
                    if self._selection is not None:
                        self._selection.add(documents)
                    elif unit.within:
                        yield from self._whole(unit.label, documents)
                    else:
                        yield from self._all(documents)
                done, place = done + place, 0
            done = end
        if self._selection is not None:
            self._tell("looking for what is there twice")
            yield from self._all(self._selection.chosen())
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

    def _whole(self, label: str, documents: Iterable[Document]) -> Iterator[str]:
        """Yield what is to be written of documents, or, if they cannot be read, nothing."""
        before = self.documents, self._last
        try:
            parts = Shelf().put([(label, self._all(documents))])
        except BaseException:
            self.documents, self._last = before
            raise
        for part in parts:
            yield from (piece for piece, _ in part.pieces(Counter()))

    def _all(self, documents: Iterable[Document]) -> Iterator[str]:
        for document in documents:
            yield from self._written(document)

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
