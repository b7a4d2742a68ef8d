"""Characters that are too rare to be learned become one, U+FFFD, which the vocabulary knows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from charloom.data.boundary import BOUNDARY
from charloom.data.overlap import code_points
from charloom.data.parts import Wrapped
from charloom.data.text import Text
from charloom.data.tokenizer import Tokenizer
from charloom.data.utf8 import REPLACED, Changes
from charloom.formatting import count, in_a_line, listed
from charloom.progress import Tell, say_nothing

MOST_NAMED = 8
_KEPT = {BOUNDARY, "\n", REPLACED}  # what lines and documents end with is no matter of numbers


@dataclass(frozen=True, eq=False)
class Replaced(Wrapped):
    """A part in which characters, by the numbers that `rare` maps, are U+FFFD."""

    rare: Mapping[int, str]

    def pieces(self, changes: Changes, place: int = 0) -> Iterator[tuple[str, int]]:
        """Yield the text from `place` on in pieces, with the place behind each: that of the part.

        Raises CharloomError as the part does.
        """
        for piece, offset in self.part.pieces(changes, place):
            yield piece.translate(self.rare), offset


def without_rare(text: Text, min_count: int, tell: Tell = say_nothing) -> Text:
    """Return a text with U+FFFD for characters that occur fewer than `min_count` times.

    A note names them. Line ends are kept, and so are raw bytes. Raises CharloomError if the text
    has changed.
    """
    if min_count < 2 or text.raw:
        return text
    rare = {c: n for c, n in _times(text, {*text.alphabet}).items() if n < min_count}
    return _replaced(text, rare, f"that occur fewer than {min_count:,} times", tell)


def as_learned(text: Text, vocabulary: Tokenizer, min_count: int) -> Text:
    """Return another text, or a prompt, as a run with `min_count` would have learned it.

    What it does not know becomes U+FFFD, if it knows that; a note names it.
    """
    if min_count < 2 or vocabulary.unknown([REPLACED]):
        return text
    unknown = _times(text, {*vocabulary.unknown(text.alphabet)})
    return _replaced(text, unknown, "that the run does not know", say_nothing)


def _times(text: Text, characters: set[str]) -> dict[str, int]:
    """Count some characters, the rarest first; not those that are kept."""
    characters -= _KEPT
    if not characters:
        return {}
    times = np.zeros(0x110000, np.int64)
    for piece in text.pieces():
        counted = np.bincount(code_points(piece))
        times[: len(counted)] += counted
    found = {c: int(times[ord(c)]) for c in characters}
    return dict(sorted(found.items(), key=lambda pair: (pair[1], pair[0])))


def _replaced(text: Text, times: Mapping[str, int], why: str, tell: Tell) -> Text:
    if not times:
        return text
    names = listed([f"{in_a_line(c)} {n:,}" for c, n in times.items()], MOST_NAMED)
    note = (
        f"{count(len(times), 'character')} {why} became U+FFFD, in "
        f"{count(sum(times.values()), 'place')}: {names}"
    )
    table = dict.fromkeys(map(ord, times), REPLACED)
    return text.arranged([[Replaced(part, table) for part in text.parts]], [note], tell)[0]
