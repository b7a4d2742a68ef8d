"""A part of a text as documents, each of which ends with a boundary."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from charloom.data.boundary import BOUNDARY, MARK
from charloom.data.parts import Wrapped
from charloom.data.utf8 import Changes

_LINE = f"{MARK}\n"
_LINES = re.compile(rf"(?<=[\n{BOUNDARY}])(?:{re.escape(_LINE)})+")


@dataclass(frozen=True, eq=False)
class Bounded(Wrapped):
    """A part with a boundary at its `end`, and, if they are `marks`, for the lines MARK in it.

    A mark before the first document, or behind the last, separates nothing and is left out.
    """

    marks: bool = False
    end: bool = False

    def pieces(self, changes: Changes, place: int = 0) -> Iterator[tuple[str, int]]:
        """Yield the text from `place` on in pieces, with the place behind each: that of the part.

        A part with marks is read from its start, since a piece of it may end within one. `changes`
        count the parts that have some, of which only one at the end leaves no boundary.
        """
        marks = _Marks() if self.marks else None
        found = self.part.pieces(changes, 0 if marks else place)
        last, ahead = "\n", next(found, None)
        while ahead is not None:
            (text, offset), ahead = ahead, next(found, None)
            if marks is not None:
                text = marks.replaced(text, is_last=ahead is None)
            last = text[-1:] or last
            if self.end and ahead is None and (marks is None or marks.some):
                text += BOUNDARY if last == "\n" else "\n" + BOUNDARY
            if text and (marks is None or offset > place):
                yield text, offset
        if marks is not None and marks.found:
            changes["boundaries"] += 1


def documents(pieces: Iterable[str]) -> Iterator[Iterator[str]]:
    """Yield the pieces of each document of a text, without boundaries; each is to be read first."""
    number = 0

    def numbered() -> Iterator[tuple[int, str]]:
        nonlocal number
        for piece in pieces:
            for place, text in enumerate(piece.split(BOUNDARY)):
                number += place > 0
                if text:
                    yield number, text

    for _, some in groupby(numbered(), lambda pair: pair[0]):
        yield (text for _, text in some)


class _Marks:
    """What puts boundaries for marks while a part is read: it says if it `found` marks and text."""

    def __init__(self) -> None:
        self.some = self.found = False
        self._rest = ""  # which may begin a mark
        self._last = "\n"  # character that was read
        self._between = False  # whether there was a mark after the text so far

    def replaced(self, piece: str, is_last: bool) -> str:
        """Return what is sure of the text by now, with boundaries only between other text."""
        text, self._rest = _cut(self._rest + piece, is_last)
        if MARK in text:
            text, count = _LINES.subn(BOUNDARY, self._last + text)
            text, self.found = text[1:], self.found or count > 0
        if not text:
            return ""
        begins, self._last = text.startswith(BOUNDARY), text[-1]
        self._between |= begins
        inner = text.strip(BOUNDARY)
        if not inner:
            return ""
        first = BOUNDARY if self._between and self.some else ""
        self._between, self.some = text.endswith(BOUNDARY), True
        return first + inner


def _cut(text: str, is_last: bool) -> tuple[str, str]:
    """Cut a text before its last line if that may be a mark; the next piece shows whether it is."""
    line = text[text.rfind("\n") + 1 :]
    if is_last:
        return (text + "\n" if line == MARK else text), ""
    return (text.removesuffix(line), line) if MARK.startswith(line) else (text, "")
