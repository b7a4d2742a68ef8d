"""Lines that stand in many documents, such as navigation, signatures and licences."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

SHARE, DOCUMENTS = 0.2, 5  # of the documents that such a line is in, at least
LENGTH, SHORT_SHARE = 12, 0.5  # characters; what is shorter is in half of them, near their ends
EDGE, AT_ENDS = 5, 0.8  # lines at an end of a document; the share of times that a line is there
KEPT = 2**20  # different lines that are counted
LONGEST = 300  # characters of such a line


class Line(NamedTuple):
    """A line and the number of documents that it stands in."""

    text: str
    documents: int


class Boilerplate:
    """Counts in how many documents each line is, and in how many of them near an end."""

    def __init__(self) -> None:
        self._documents = 0
        self._within, self._at_ends = Counter[str](), Counter[str]()

    def add(self, document: str) -> None:
        """Count the lines of a document."""
        self._documents += 1
        lines = [line.strip() for line in document.split("\n")]
        lines = [line for line in lines if 0 < len(line) <= LONGEST]
        for counter, some in ((self._within, lines), (self._at_ends, lines[:EDGE] + lines[-EDGE:])):
            known = len(counter) >= KEPT
            counter.update(line for line in dict.fromkeys(some) if not known or line in counter)

    def lines(self) -> list[Line]:
        """Return those that are in many documents, the most frequent first."""
        least = max(DOCUMENTS, SHARE * self._documents)
        found = []
        for line, documents in self._within.most_common():
            if documents < least:
                break
            at_end = self._at_ends[line] >= AT_ENDS * documents
            is_common = documents >= SHORT_SHARE * self._documents  # no speaker of some scenes
            words = any(c.isalnum() for c in line)
            if words and (len(line) >= LENGTH or (at_end and is_common)):
                found.append(Line(line, documents))
        return found


def without(pieces: Iterable[str], lines: Collection[str], dropped: Counter[str]) -> Iterator[str]:
    """Yield a text without those lines; `dropped` counts them."""
    if not lines:
        yield from pieces
        return
    rest, within = "", False  # whether what comes next is of a line that is too long to be one
    for piece in pieces:
        *whole, rest = (rest + piece).split("\n")
        kept = []
        for line in whole:
            if not within and line.strip() in lines:
                dropped[line.strip()] += 1
            else:
                kept.append(f"{line}\n")
            within = False
        if within or len(rest.strip()) > LONGEST:
            kept.append(rest)
            rest, within = "", True
        if text := "".join(kept):
            yield text
    if rest.strip() in lines:
        dropped[rest.strip()] += 1
    elif rest:
        yield rest
