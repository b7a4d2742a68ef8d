"""Which documents, and which of their lines, are left out of a text that is written.

Which they are, the last document may show, so that all are read first, into a spool.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from charloom.data.boilerplate import Boilerplate, without
from charloom.data.duplicates import NEARLY, Documents, digest
from charloom.data.inspection import DOCUMENT_READ
from charloom.data.spool import Kept, Spool
from charloom.formatting import count, in_a_line

Known = dict[str, str]  # source, name, title, author and date, as far as they are known


class Document(NamedTuple):
    """A document to be written, with a label and what else is known of it."""

    label: str
    known: Known
    pieces: Iterable[str]


class _Stored(NamedTuple):
    label: str
    known: Known
    part: Kept


class Selection:
    """Documents that are all added, then chosen from.

    `dedupe` leaves out those that equal one before them or nearly do; `drop_boilerplate` the lines
    that stand in many of them, and what has no other.
    """

    def __init__(self, dedupe: bool, drop_boilerplate: bool) -> None:
        self._dedupe, self._drop = dedupe, drop_boilerplate
        self._spool, self._stored = Spool(), list[_Stored]()
        self._copies, self._lines = dict[int, int](), set[str]()
        self._empty, self._dropped = 0, Counter[str]()

    def add(self, documents: Iterable[Document]) -> None:
        """Add documents, or if reading them raises, none of them."""
        before, begin = len(self._stored), self._spool.size
        try:
            for label, known, pieces in documents:
                start = self._spool.size
                for piece in pieces:
                    self._spool.write(piece.encode())
                size = self._spool.size - start
                part = Kept(self._spool, label, start, size, 1, False)
                self._stored.append(_Stored(label, known, part))
        except BaseException:
            del self._stored[before:]
            self._spool.cut(begin)
            raise
        if len(self._stored) == before + 1:  # the source says which it is
            self._stored[-1] = self._stored[-1]._replace(label=self._stored[-1].known["source"])

    def chosen(self) -> Iterator[Document]:
        """Yield what is left of the documents, in order; then `notes` say what was left out."""
        self._choose()
        self._dropped.clear()
        for number, (label, known, part) in enumerate(self._stored):
            if number in self._copies:
                continue
            pieces, head = self._pieces(part), ""
            while not head.strip() and (piece := next(pieces, "")):
                head += piece
            if head.strip():
                yield Document(label, known, chain([head], pieces))
            else:
                self._empty += 1

    def notes(self) -> list[str]:
        """Return a sentence for each thing that was left out."""
        notes = list[str]()
        if self._copies:
            copy, original = min(self._copies.items())
            labels = [self._stored[number].label for number in (copy, original)]
            some, verb = count(len(self._copies), "document"), "are copies"
            if len(self._copies) == 1:
                verb = "is a copy"
            notes.append(
                f"left out {some} that {verb} or nearly, as {' of '.join(map(in_a_line, labels))}"
            )
        if self._dropped:
            some = count(self._dropped.total(), "line")
            verb = "stand" if self._dropped.total() > 1 else "stands"
            line = self._dropped.most_common(1)[0][0]
            notes.append(f"left out {some} that {verb} in many documents, as '{line[:60]}'")
        if self._empty:
            notes.append(f"left out {count(self._empty, 'document')} without other text")
        return notes

    def _choose(self) -> None:
        """Find lines and copies until none are left: each may show more of the other."""
        if self._drop:
            self._find_lines()
        while self._dedupe and self._find_copies() and self._drop and self._find_lines():
            pass

    def _find_lines(self) -> bool:
        """Find lines until there are no more, and return whether there were any."""
        before = len(self._lines)
        while True:
            boilerplate, known = Boilerplate(), set[bytes]()
            for _, text in self._texts():
                said = digest(text)
                if said not in known:
                    known.add(said)
                    boilerplate.add(text)
            found = {line.text for line in boilerplate.lines()}
            if not found:
                return len(self._lines) > before
            self._lines |= found

    def _find_copies(self) -> bool:
        """Find documents that are copies, and return whether there were any."""
        documents, numbers = Documents(), list[int]()
        for number, text in self._texts():
            documents.add(text)
            numbers.append(number)
        near = [pair for pair in documents.near() if pair.likeness >= NEARLY]
        found = {numbers[p.second]: numbers[p.first] for p in (*documents.equal(), *near)}
        self._copies |= found
        return bool(found)

    def _texts(self) -> Iterator[tuple[int, str]]:
        """Yield the number and the beginning of each document that is left, without the lines."""
        for number, (*_, part) in enumerate(self._stored):
            if number not in self._copies:
                text, room = list[str](), DOCUMENT_READ
                for piece in self._pieces(part):
                    text.append(piece[:room])
                    room -= len(piece)
                    if room <= 0:
                        break
                if (said := "".join(text)) and not said.isspace():
                    yield number, said

    def _pieces(self, part: Kept) -> Iterator[str]:
        pieces = (piece for piece, _ in part.pieces(Counter()))
        return without(pieces, self._lines, self._dropped)
