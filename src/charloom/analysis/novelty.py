"""How much of a text is copied from its source, and how much of that is no more than usual.

The measure is that of McCoy et al. 2023, "How Much Do Language Models Copy From Their Training
Data?": the share of n-grams that are not in the source, beside the same share in text by people.
"""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.data.suffix_array import match
from charloom.errors import CharloomError

LONGEST_GRAM = 50
SHOWN = 3  # copies that are told
RARE = 0.001  # how likely letters in random order are to share a passage that is told
TOLD = (10, 15, 20, 30, 50)  # lengths of n-grams, longer than most words, that decide
SHARE, AND = 1.5, 0.05  # of them copied, so many times the human share, and so much more
TIMES, MORE = 2, 10  # a longest copy so many times the human one, and so many characters more
_BETWEEN = "\ud800"  # half a character: no text has it


@dataclass(frozen=True)
class Copy:
    """A passage of `length` characters at `start` in the text; `offset` and `line` in the source.

    Offsets count characters from 0, lines from 1. Of several places in the source it is the first.
    """

    start: int
    length: int
    offset: int
    line: int
    passage: str


@dataclass(frozen=True)
class Profile:
    """What a text of so many characters has in common with the source.

    `new` is the share of its n-grams, n = 1 to 50, that are not in the source; NaN where it has
    none of that length. `longest` is the length of the longest passage that is.
    """

    characters: int
    new: tuple[float, ...]
    longest: int


@dataclass(frozen=True)
class Novelty:
    """A text beside its source, and text by people beside the same, cut to the text's length.

    `copies` are the longest passages that are in the source too, three at most, the longest
    first. None is longer than `chance` where letters of both texts in random order would share
    none longer but once in a thousand.

    `human` is None without text by people. `compared` is the longest passage in as much of the
    text as there is of that.
    """

    source_characters: int
    text: Profile
    copies: tuple[Copy, ...]
    chance: int
    human: Profile | None
    compared: int | None

    @property
    def longest(self) -> Copy | None:
        """The longest copy."""
        return self.copies[0] if self.copies else None

    @property
    def more_at(self) -> tuple[int, ...]:
        """The n, of 10, 15, 20, 30 and 50, at which the text copies more n-grams than people do.

        That is half as many again as in the human text, and 5 in 100 of all more than that.
        """
        if self.human is None:
            return ()
        pairs = [(n, 1 - self.text.new[n - 1], 1 - self.human.new[n - 1]) for n in TOLD]
        return tuple(n for n, own, usual in pairs if own > SHARE * usual + AND)

    @property
    def copies_more(self) -> bool | None:
        """Whether the text copies more than people do; None where there is no text by people.

        That is where it does at some n of `more_at`, or where its longest passage is more than
        twice as long as that of the human text, and more than 10 characters longer.
        """
        if self.human is None or self.compared is None:
            return None
        usual = self.human.longest
        return bool(self.more_at) or self.compared > max(TIMES * usual, usual + MORE)


def novelty(text: str, source: str, human: str | None = None) -> Novelty:
    """Find what `text` has in common with `source`, and what `human` has, text by people.

    Raises CharloomError where a text is empty, or all together too long.
    """
    for name, content in (("text", text), ("source", source)):
        if not content:
            raise CharloomError(f"the {name} is empty: there is nothing to compare")
    people = (human or "")[: len(text)]
    lengths = match(text + _BETWEEN + people, source).length
    own, theirs = lengths[: len(text)], lengths[len(text) + 1 :]
    chance = chance_length(text, source)
    copies = _copies(text, source, own, chance)
    if not people:
        return Novelty(len(source), _profile(own), copies, chance, None, None)
    as_much = np.minimum(own[: len(people)], np.arange(len(people), 0, -1))
    compared = int(as_much.max())
    return Novelty(len(source), _profile(own), copies, chance, _profile(theirs), compared)


def chance_length(text: str, source: str) -> int:
    """Return the length above which two texts of these letters share no passage by chance.

    With letters in random order, m and n of them, and p the probability that two are the same,
    there are about m n p^L shared passages of length L (Arratia & Waterman 1985): here 1/1000.
    """
    counts, others = Counter(text), Counter(source)
    m, n = len(text), len(source)
    p = sum(count * others[c] for c, count in counts.items()) / (m * n)
    if p == 0:
        return 0
    longest = math.log(m * n / RARE) / -math.log(p) if p < 1 else math.inf
    return int(min(longest, m, n))


def _profile(lengths: NDArray[np.int32]) -> Profile:
    m = len(lengths)
    new = [
        float((lengths[: m - n + 1] < n).mean()) if n <= m else math.nan
        for n in range(1, LONGEST_GRAM + 1)
    ]
    return Profile(m, tuple(new), int(lengths.max(initial=0)))


def _copies(text: str, source: str, lengths: NDArray[np.int32], chance: int) -> tuple[Copy, ...]:
    """The longest passages, no two of which overlap in the text or are part of one another."""
    found: list[Copy] = []
    begins = np.append(True, lengths[1:] >= lengths[:-1])  # else it is the end of a longer one
    starts = np.flatnonzero(begins & (lengths > chance))
    for start in starts[np.argsort(-lengths[starts], kind="stable")].tolist():
        length = int(lengths[start])
        passage = text[start : start + length]
        if any(_overlap(start, length, c) or passage in c.passage for c in found):
            continue
        offset = source.index(passage)
        line = source.count("\n", 0, offset) + 1
        found.append(Copy(start, length, offset, line, passage))
        if len(found) == SHOWN:
            break
    return tuple(found)


def _overlap(start: int, length: int, other: Copy) -> bool:
    return start < other.start + other.length and other.start < start + length
