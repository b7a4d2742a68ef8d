"""What a text is like, found in one reading: its characters, lines, documents and repetitions.

Nothing here is an error: it is what a person would want to know before hours of training.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from charloom.data.boilerplate import Boilerplate, Line
from charloom.data.bounded import documents
from charloom.data.duplicates import (
    DOCUMENT_READ,
    NEARLY,
    Documents,
    Pair,
    Passage,
    repeated_passages,
)
from charloom.data.mojibake import LOOKS_SO
from charloom.data.overlap import code_points
from charloom.data.parts import Excerpts, Part
from charloom.data.rare import Replaced
from charloom.data.text import Text
from charloom.data.vocabulary import describe
from charloom.formatting import count, in_a_line, listed, percent, printable

LONG_LINE = 5_000  # characters, above which a line is no line of prose or verse
FEWEST_MOJIBAKE = 3  # places; fewer may be words about it
RARE = 10  # times; a character that occurs less often is hardly learned
PASSAGES_READ = 2**25  # characters at the beginning of a text, in which passages are compared
_CODES = 0x110000
REPEATED = 0.02  # of a text, from which on repeated passages are told
_KEPT_CONTROLS = "\n\t"
_INVISIBLE = "\u00ad\u200b\u2060\ufeff"  # soft hyphens, spaces of no width, and marks within a text


class LongLine(NamedTuple):
    """A line's length, its document and its number there; the first is 1."""

    length: int
    document: int
    number: int


NO_LINE = LongLine(0, 0, 0)


@dataclass
class Inspection:
    """What a text is like.

    `labels` and `lengths` are of its documents, without boundaries; `places` are the number of the
    part that each is in, and where in characters of it, boundaries too. `times` counts characters,
    `mojibake` what looks like UTF-8 that was read as something else. That and lines are of the
    first 16,777,216 characters of each document, passages of the first 33,554,432 of the text.
    """

    labels: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    times: Counter[str] = field(default_factory=Counter)
    lines: int = 0
    long_lines: int = 0
    longest: LongLine = NO_LINE
    equal: list[Pair] = field(default_factory=list)
    near: list[Pair] = field(default_factory=list)
    mojibake: Counter[str] = field(default_factory=Counter)
    boilerplate: list[Line] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)
    passages_read: int = 0

    @property
    def characters(self) -> int:
        """How many characters there are."""
        return self.times.total()

    @property
    def controls(self) -> Counter[str]:
        """Control characters but line ends and tabs, private, unassigned and invisible ones."""
        return Counter({c: n for c, n in self.times.items() if _is_control(c)})

    @property
    def rare(self) -> list[tuple[str, int]]:
        """The characters that occur fewer than 10 times, the rarest first."""
        found = [(c, n) for c, n in self.times.items() if n < RARE]
        return sorted(found, key=lambda pair: (pair[1], pair[0]))

    @property
    def scripts(self) -> Counter[str]:
        """How many letters there are of each script, by its name in Unicode."""
        found = Counter[str]()
        for character, times in self.times.items():
            if unicodedata.category(character)[0] == "L":
                found[_script(character)] += times
        return found

    @property
    def repeated(self) -> float:
        """The share of the text, as far as it was compared, that is long passages once more."""
        return sum(passage.length for passage in self.passages) / max(1, self.passages_read)


def inspect(text: Text) -> Inspection:
    """Read a text once and return what it is like. Raises CharloomError if it has changed."""
    found, compared, boilerplate, known = Inspection(), Documents(), Boilerplate(), set[int]()
    times = np.zeros(_CODES, np.int64)
    beginning, room = list[str](), PASSAGES_READ
    for number, part in enumerate(text.parts):
        first, start = len(found.labels), 0
        for pieces in documents(piece for piece, _ in part.pieces(Counter())):
            kept, length = list[str](), 0
            for piece in pieces:
                counted = np.bincount(code_points(piece))
                times[: len(counted)] += counted
                if length < DOCUMENT_READ:
                    kept.append(piece[: DOCUMENT_READ - length])
                if room > 0:
                    beginning.append(piece[:room])
                    room -= len(piece)
                length += len(piece)
            document = "".join(kept)
            _measure_lines(document, len(found.labels), found)
            if not document.isascii():
                found.mojibake.update(LOOKS_SO.findall(document))
            found.labels.append(part.label)
            found.lengths.append(length)
            found.places.append((number, start))
            start += length + 1  # and the boundary
            if (said := compared.add(document)) not in known:
                known.add(said)
                boilerplate.add(document)
        if len(found.labels) - first > 1:
            numbers = range(1, len(found.labels) - first + 1)
            found.labels[first:] = [f"{n} in {part.label}" for n in numbers]
    found.times = Counter({chr(c): int(times[c]) for c in np.flatnonzero(times)})
    found.equal, found.near = compared.equal(), compared.near()
    found.boilerplate = boilerplate.lines()
    head = "".join(beginning)
    found.passages, found.passages_read = repeated_passages(head), len(head)
    return found


def _measure_lines(document: str, number: int, found: Inspection) -> None:
    lines = document.split("\n")
    if not lines[-1]:
        lines.pop()
    found.lines += len(lines)
    for at, line in enumerate(lines, 1):
        if len(line) > found.longest.length:
            found.longest = LongLine(len(line), number, at)
        found.long_lines += len(line) >= LONG_LINE


def _is_control(character: str) -> bool:
    kind = unicodedata.category(character)
    is_control = kind in ("Cc", "Co", "Cn", "Cs") and character not in _KEPT_CONTROLS
    return is_control or character in _INVISIBLE


def _script(letter: str) -> str:
    name = unicodedata.name(letter, "UNKNOWN").split()[0].removesuffix("-1").capitalize()
    return "Chinese" if name == "Cjk" else name


def across(found: Inspection, text: Text, arranged: Text, held_out: int) -> list[Pair]:
    """Return the pairs that are alike, one of them held out as a whole and the other not.

    `arranged` is the text in the order in which it is learned, with as many characters held out at
    its end.
    """
    if arranged.layout is None or arranged.layout.drawn is None:
        return []
    parts = dict[int, list[Part]]()
    for part in reversed(arranged.parts):
        if held_out <= 0:
            break
        parts.setdefault(id(_whole(part)), []).append(part)
        held_out -= sum(len(piece) for piece, _ in part.pieces(Counter()))
    held = {
        document
        for document, (number, start) in enumerate(found.places)
        if any(_holds(part, start) for part in parts.get(id(_whole(text.parts[number])), ()))
    }
    return [p for p in (*found.equal, *found.near) if (p.first in held) != (p.second in held)]


def _holds(part: Part, place: int) -> bool:
    """Whether a place of a part is in these excerpts of it, or they are all of it."""
    if not isinstance(part, Excerpts):
        return True
    nearest = int(part.starts.searchsorted(place, "right")) - 1
    return nearest >= 0 and place < int(part.stops[nearest])


def _whole(part: Part) -> Part:
    """Return what excerpts are of, with all its characters."""
    while isinstance(part, Excerpts | Replaced):
        part = part.part
    return part


def sentences(found: Inspection, apart: Sequence[Pair] = (), brief: bool = False) -> list[str]:
    """Return what a person should know of a text, each in a sentence, the worst first.

    `apart` are pairs that are alike, on both sides of the split. If `brief`, only what may spoil a
    training.
    """
    return [
        *_apart(found, apart),
        *_repetitions(found),
        *_characters(found, brief),
        *_lines(found),
    ]


def _apart(found: Inspection, pairs: Sequence[Pair]) -> Iterator[str]:
    if pairs:
        one, two, alike = pairs[0]
        pair = f"{found.labels[one]} and {found.labels[two]} ({percent(alike, 0)})"
        some = f"{count(len(pairs), 'pair')} of documents that are alike"
        yield (
            f"{some} would be on both sides of the split, as {pair}, and the validation loss would "
            f"measure memory: --dedupe leaves out those that share {percent(NEARLY, 0)} or more"
        )


def _repetitions(found: Inspection) -> Iterator[str]:
    if found.equal:
        one, two, _ = found.equal[0]
        yield (
            f"{count(len(found.equal), 'document')} of {len(found.labels):,} are copies of others, "
            f"as {found.labels[two]} of {found.labels[one]}: --dedupe leaves them out"
        )
    if found.near:
        one, two, alike = found.near[0]
        yield (
            f"{count(len(found.near), 'document')} of {len(found.labels):,} are much like others, "
            f"as {found.labels[two]} and {found.labels[one]} ({percent(alike, 0)} of their "
            f"passages): --dedupe leaves out those that share {percent(NEARLY, 0)} or more"
        )
    if found.boilerplate:
        line = found.boilerplate[0]
        yield (
            f"{count(len(found.boilerplate), 'line')} stand in many documents, as "
            f"'{line.text[:60]}' in {line.documents:,} of {len(found.labels):,}: "
            "--drop-boilerplate leaves them out"
        )
    if found.repeated >= REPEATED:
        longest = max(found.passages, key=lambda passage: passage.length)
        yield (
            f"{percent(found.repeated, 0)} of the text are long passages that stand in it before, "
            f"one of {longest.length:,} characters: a model learns them by rote"
        )


def _characters(found: Inspection, brief: bool) -> Iterator[str]:
    if (places := found.mojibake.total()) >= FEWEST_MOJIBAKE:
        names = listed([f"'{printable(pair)}'" for pair, _ in found.mojibake.most_common()])
        yield (
            f"{count(places, 'place')} look like UTF-8 that was once read as something else "
            f"({names}): --fix-mojibake mends them"
        )
    if controls := found.controls:
        names = listed([describe(c) for c, _ in controls.most_common()])
        yield (
            f"{count(controls.total(), 'character')} that no reader sees ({names}): "
            "take them out, if they are no part of the text"
        )
    rare = found.rare
    if not brief and rare:
        names = listed([f"{in_a_line(c)} {n}" for c, n in rare], 8)
        yield (
            f"{count(len(rare), 'character')} of {len(found.times):,} occur fewer than {RARE} "
            f"times and are hardly learned ({names}): --min-count {RARE} makes one of them, U+FFFD"
        )


def _lines(found: Inspection) -> Iterator[str]:
    if found.long_lines:
        length, document, number = found.longest
        yield (
            f"{count(found.long_lines, 'line')} of {LONG_LINE:,} characters or more, the longest "
            f"{length:,} (line {number:,} of {found.labels[document]}): data, perhaps, and no prose"
        )
