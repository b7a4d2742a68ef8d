"""Unicode's normal forms, of a text that comes a piece at a time."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Literal, NamedTuple

from charloom.config import Normalize

LONGEST = 256  # marks on one character, beyond which the rest is on its own: sorting is quadratic

Form = Literal["NFC", "NFKC"]


def normalized_pieces(
    pieces: Iterable[str], form: Normalize, changes: Counter[str]
) -> Iterator[str]:
    """Yield a text in a normal form, in pieces that are not empty, cut where no mark is parted.

    Counts by the name of the form, in `changes`, the characters, each with its marks, that changed.
    """
    if form == "none":
        yield from pieces
        return
    held = ""
    for piece in pieces:
        text = held + piece
        cut = _last_sequence(text, form)
        held = text[cut:]
        if cut:
            yield _normalized(text[:cut], form, changes)
    if held:
        yield _normalized(held, form, changes)


def normal(text: str, form: Normalize, changes: Counter[str]) -> str:
    """Return a whole text in a normal form; counts in `changes` as `normalized_pieces` does."""
    return "".join(normalized_pieces([text], form, changes))


def _normalized(text: str, form: Form, changes: Counter[str]) -> str:
    if text.isascii() or unicodedata.is_normalized(form, text):
        return text

    def one(match: re.Match[str]) -> str:
        sequence = unicodedata.normalize(form, match[0])
        changes[form] += sequence != match[0]
        return sequence

    return _characters(form).sequence.sub(one, text)


def _last_sequence(text: str, form: Form) -> int:
    """Return where the last character with its marks begins."""
    begin = last = max(0, len(text) - 1)
    while begin > 0 and text[begin] > "\x7f" and text[begin] in _characters(form).joining:
        begin -= 1
    return last - (last - begin) % (LONGEST + 1)


class _Characters(NamedTuple):
    """What can change what is before it, in a form, and a pattern of sequences with that."""

    joining: frozenset[str]
    sequence: re.Pattern[str]


@cache
def _characters(form: Form) -> _Characters:
    everything = [*map(chr, range(0x110000))]
    pairs = (unicodedata.decomposition(c).split() for c in everything)
    seconds = {chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2 and pair[0][0] != "<"}
    seconds |= {*map(chr, range(0x1161, 0x1176)), *map(chr, range(0x11A8, 0x11C3))}  # of Hangul
    apart: Literal["NFD", "NFKD"] = "NFD" if form == "NFC" else "NFKD"
    firsts = ((c, unicodedata.normalize(apart, c)[0]) for c in everything)
    joining = frozenset(c for c, f in firsts if unicodedata.combining(f) or f in seconds)
    marks = f"[{''.join(sorted(joining))}]"
    sequence = f"[^\\x00-\\x7f]{marks}{{0,{LONGEST}}}|[\\x00-\\x7f]{marks}{{1,{LONGEST}}}"
    return _Characters(joining, re.compile(sequence))
