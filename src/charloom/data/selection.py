"""Which documents, and which of their lines, are left out of a text.

Which they are, the last document may show, so that all are read first, into a spool.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import msgspec
import numpy as np

from charloom.data.boilerplate import Boilerplate, without
from charloom.data.duplicates import DOCUMENT_READ, MOST_DOCUMENTS, NEARLY, Documents, digest
from charloom.data.reading import Reading
from charloom.data.spool import Kept, Spool
from charloom.formatting import count, in_a_line

NONE = -1
MOST_KNOWN = 2**20  # documents that are known again when lines are counted

Known = dict[str, str]  # source, name, title, author and date, as far as they are known


class Document(NamedTuple):
    """A document with a label and what else is known of it."""

    label: str
    known: Known
    pieces: Iterable[str]


class Selection:
    """Documents that are all added, then chosen from.

    `reading.dedupe` leaves out those that equal one before them or nearly do, and
    `reading.drop_boilerplate` the lines that stand in many of them, and what has no other.
    """

    def __init__(self, reading: Reading) -> None:
        self._dedupe, self._drop = reading.dedupe, reading.drop_boilerplate
        self._spool, self._ends = Spool(), array("q", [0])  # texts
        self._about, self._about_ends = Spool(), array("q", [0])  # label and what is known of each
        self._copy_of = np.empty(0, np.int64)  # the number of another document, or none
        self._lines, self._dropped, self._empty = set[str](), Counter[str](), 0
        self._passed_over = 0

    def add(self, documents: Iterable[Document]) -> None:
        """Add documents, or if reading them raises, none of them."""
        before = len(self._ends)
        label, known = "", None
        try:
            for document in documents:
                if known is not None:
                    self._end(label, known)
                label, known = document.label, document.known
                for piece in document.pieces:
                    self._spool.write(piece.encode())
            if known is not None:  # the source says which the only one is
                self._end(label if len(self._ends) > before else known["source"], known)
        except BaseException:
            del self._ends[before:], self._about_ends[before:]
            self._spool.cut(self._ends[-1])
            self._about.cut(self._about_ends[-1])
            raise

    def _end(self, label: str, known: Known) -> None:
        """End the document that has just been written."""
        self._about.write(msgspec.msgpack.encode((label, known)))
        self._ends.append(self._spool.size)
        self._about_ends.append(self._about.size)

    def chosen(self) -> Iterator[Document]:
        """Yield what is left of the documents, in order; then `notes` say what was left out."""
        self._copy_of = np.full(len(self._ends) - 1, NONE)
        self._choose()
        self._dropped.clear()
        for number in np.flatnonzero(self._copy_of == NONE).tolist():
            pieces, head = self._pieces(number), ""
            while not head.strip() and (piece := next(pieces, "")):
                head += piece
            if head.strip():
                yield Document(*self._told(number), chain([head], pieces))
            else:
                self._empty += 1

    def notes(self) -> list[str]:
        """Return a sentence for each thing that was left out."""
        notes = list[str]()
        copies = np.flatnonzero(self._copy_of != NONE)
        if len(copies):
            first = int(copies[0]), int(self._copy_of[copies[0]])
            labels = [self._told(number)[0] for number in first]
            some, verb = count(len(copies), "document"), "are copies"
            if len(copies) == 1:
                verb = "is a copy"
            notes.append(
                f"left out {some} that {verb} or nearly, as {' of '.join(map(in_a_line, labels))}"
            )
        if self._passed_over:
            notes.append(
                f"{count(self._passed_over, 'document')} behind the first {MOST_DOCUMENTS:,} were "
                "compared with all others, but not looked at for being nearly a copy"
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
            boilerplate, known = Boilerplate(), set[int]()
            for _, text in self._texts():
                said = digest(text)
                if said not in known:
                    if len(known) < MOST_KNOWN:
                        known.add(said)
                    boilerplate.add(text)
            found = {line.text for line in boilerplate.lines()}
            if not found:
                return len(self._lines) > before
            self._lines |= found

    def _find_copies(self) -> bool:
        """Find documents that are copies, and return whether there were any."""
        documents, numbers = Documents(), array("q")
        for number, text in self._texts():
            documents.add(text)
            numbers.append(number)
        self._passed_over = documents.passed_over
        pairs = [pair for pair in documents.near() if pair.likeness >= NEARLY]
        place, first = np.frombuffer(numbers, np.int64), documents.originals()
        copies = first < np.arange(len(first))
        self._copy_of[place[copies]] = place[first[copies]]
        for original, copy, _ in pairs:
            self._copy_of[place[copy]] = place[original]
        return bool(pairs) or bool(copies.any())

    def _texts(self) -> Iterator[tuple[int, str]]:
        """Yield the number and the beginning of each document that is left, without the lines."""
        for number in np.flatnonzero(self._copy_of == NONE).tolist():
            text, room = list[str](), DOCUMENT_READ
            for piece in self._pieces(number):
                text.append(piece[:room])
                room -= len(piece)
                if room <= 0:
                    break
            if (said := "".join(text)) and not said.isspace():
                yield number, said

    def _pieces(self, number: int) -> Iterator[str]:
        start, end = self._ends[number : number + 2]
        part = Kept(self._spool, "", start, end - start, 1, False)
        pieces = (piece for piece, _ in part.pieces(Counter()))
        return without(pieces, self._lines, self._dropped)

    def _told(self, number: int) -> tuple[str, Known]:
        """Return the label of a document, and what is known of it."""
        start, end = self._about_ends[number : number + 2]
        return msgspec.msgpack.decode(
            self._about.read_all(start, end - start), type=tuple[str, Known]
        )
