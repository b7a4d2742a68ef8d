"""How much of a text is copied from its source, and whether people copy as much.

The measure is that of McCoy et al. 2023, "How Much Do Language Models Copy From Their Training
Data?": the share of n-grams that are not in the source, beside the same share in text by people.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.data.likeness import REPEATED, share_words
from charloom.data.suffix_array import Continuations, match
from charloom.errors import CharloomError
from charloom.formatting import line_of, percent

LONGEST_NGRAM = 50
MAX_COPIES = 3  # that are returned
CHANCE = 0.001  # with which characters in random order share a passage as long as a copy
SHOWN_LENGTHS = (1, 2, 3, 4, 5, 8, 10, 15, 20, 30, 50)  # of n-grams
JUDGED_LENGTHS = (10, 15, 20, 30, 50)  # of n-grams, longer than most words
SHARE_FACTOR, SHARE_MARGIN = 1.5, 0.05  # of the copied share against the human one
LENGTH_FACTOR, LENGTH_MARGIN = 2, 10  # the longest copy exceeds the human one by both
MARKED_LENGTH = 20  # characters that a passage has at least to be marked as copied: some words
_SEPARATOR = "\ud800"  # half a character: no text has it


@dataclass(frozen=True)
class Copy:
    """A passage of `length` characters: `start` in the text, `offset` and `line` in the source.

    Offsets count characters from 0, lines from 1. If it is in the source twice, that is the first.
    """

    start: int
    length: int
    offset: int
    line: int
    passage: str


@dataclass(frozen=True)
class Profile:
    """What a text of so many characters has in common with the source.

    `new` is the share of its n-grams, n = 1 to 50, that are not in the source; NaN if it has none
    of that length. `longest` is the length of the longest passage that is in the source.
    """

    characters: int
    new: tuple[float, ...]
    longest: int


@dataclass(frozen=True)
class Novelty:
    """A text beside its source, and text by people, cut to the text's length, beside the same.

    `copies` are the longest passages that are in the source too, three at most, the longest
    first; all are longer than `chance`, which the same characters in random order would exceed
    once in a thousand times. `human` is None without text by people. `compared` is the longest
    copy in the first characters of the text, as many as there are of human text.
    """

    source_characters: int
    text: Profile
    copies: tuple[Copy, ...]
    chance: int
    human: Profile | None
    compared: int | None

    @property
    def human_known(self) -> float:
        """The share of passages of 50 characters of human text that are in the source, too."""
        if self.human is None:
            return 0.0
        if self.human.longest == self.human.characters:
            return 1.0
        new = self.human.new[LONGEST_NGRAM - 1]
        return 0.0 if math.isnan(new) else 1 - new

    @property
    def is_comparable(self) -> bool:
        """Whether there is text by people, and so little of it in the source that it is new."""
        return self.human is not None and self.human_known < REPEATED

    @property
    def more_at(self) -> tuple[int, ...]:
        """The n, of 10, 15, 20, 30 and 50, for which the text copies more n-grams than people do.

        That is if its copied share exceeds 1.5 times theirs by 5 percentage points or more.
        """
        if self.human is None or not self.is_comparable:
            return ()
        pairs = [(n, 1 - self.text.new[n - 1], 1 - self.human.new[n - 1]) for n in JUDGED_LENGTHS]
        return tuple(n for n, own, usual in pairs if own > SHARE_FACTOR * usual + SHARE_MARGIN)

    @property
    def copies_more(self) -> bool | None:
        """Whether the text copies more than people do; None without new text by people.

        It does if `more_at` is not empty, or if its longest copy is more than twice as long as
        theirs and more than 10 characters longer.
        """
        if self.human is None or self.compared is None or not self.is_comparable:
            return None
        usual = self.human.longest
        longer = self.compared > max(LENGTH_FACTOR * usual, usual + LENGTH_MARGIN)
        return longer or bool(self.more_at)


def novelty(text: str, source: str, human: str | None = None) -> Novelty:
    """Measure what `text` has in common with `source`, and what `human`, text by people, has.

    Raises CharloomError if a text is empty, or all of them together are too long.
    """
    for name, content in (("text", text), ("source", source)):
        if not content:
            message = f"the {name} is empty: there is nothing to compare"
            raise CharloomError(message, "no-text", field=name)
    people = (human or "")[: len(text)]
    lengths = match(text + _SEPARATOR + people, source).length
    own, theirs = lengths[: len(text)], lengths[len(text) + 1 :]
    chance = chance_length(text, source)
    copies = _copies(text, source, own, chance)
    if not people:
        return Novelty(len(source), _profile(own), copies, chance, None, None)
    as_much = np.minimum(own[: len(people)], np.arange(len(people), 0, -1))
    compared = int(as_much.max())
    return Novelty(len(source), _profile(own), copies, chance, _profile(theirs), compared)


def copied(
    text: str, source: str, least: int = MARKED_LENGTH, index: Continuations | None = None
) -> Iterator[Copy]:
    """Yield the passages of at least `least` characters that the source holds too, in order.

    Each is the longest from its first character on, and the next begins after its end. It is for
    a short text: the source is searched for each place of it, or, with an `index` of the source
    whose depth is `least` - 1, for what is copied.
    """
    place = 0
    while place + least <= len(text):
        if index is not None and not index.holds(text[place : place + least]):
            place += 1
            continue
        length, offset = least, source.find(text[place : place + least])
        if offset < 0:
            place += 1
            continue
        while place + length < len(text):
            further = source.find(text[place : place + length + 1], offset)
            if further < 0:
                break
            length, offset = length + 1, further
        passage = text[place : place + length]
        yield Copy(place, length, offset, line_of(source, offset), passage)
        place += length


def verdict(found: Novelty) -> str:
    """Say in a sentence whether the text copies more than people do."""
    if found.human is None:
        return "Without text by people there is no telling how much copying is usual."
    if not found.is_comparable:
        return (
            f"{share_words(found.human_known).capitalize()} of the text by people is in the source "
            "as well, so there is no telling how much copying is usual: name another one, "
            "charloom study novelty --human FILE."
        )
    if not found.copies_more:
        return "It copies no more from its source than people do."
    if found.more_at:
        n = found.more_at[0]
        own, theirs = (percent(1 - profile.new[n - 1]) for profile in (found.text, found.human))
        measure = f"{own} of its passages of {n} characters are in the source, {theirs} of theirs"
    else:
        theirs = f"{found.human.longest:,}"
        measure = f"its longest copy has {found.compared:,} characters, theirs {theirs}"
    return f"It copies more from its source than people do: {measure}."


def chance_length(text: str, source: str) -> int:
    """Return the length above which two texts of these characters share no passage by chance.

    With m and n characters in random order, and p the probability that two are the same, there
    are about m n p^L shared passages of length L (Arratia & Waterman 1985): here 1/1000.
    """
    counts, others = Counter(text), Counter(source)
    m, n = len(text), len(source)
    p = sum(count * others[c] for c, count in counts.items()) / (m * n)
    if p == 0:
        return 0
    longest = math.log(m * n / CHANCE) / -math.log(p) if p < 1 else math.inf
    return int(min(longest, m, n))


def _profile(lengths: NDArray[np.int32]) -> Profile:
    m = len(lengths)
    new = [
        float((lengths[: m - n + 1] < n).mean()) if n <= m else math.nan
        for n in range(1, LONGEST_NGRAM + 1)
    ]
    return Profile(m, tuple(new), int(lengths.max(initial=0)))


def _copies(text: str, source: str, lengths: NDArray[np.int32], chance: int) -> tuple[Copy, ...]:
    """Return the longest passages; none overlaps another in the text or is part of it."""
    found: list[Copy] = []
    begins = np.append(True, lengths[1:] >= lengths[:-1])  # else it is the end of a longer one
    starts = np.flatnonzero(begins & (lengths > chance))
    for start in starts[np.argsort(-lengths[starts], kind="stable")].tolist():
        length = int(lengths[start])
        passage = text[start : start + length]
        apart = (start + length <= c.start or c.start + c.length <= start for c in found)
        if not all(apart) or any(passage in c.passage for c in found):
            continue
        offset = source.index(passage)
        found.append(Copy(start, length, offset, line_of(source, offset), passage))
        if len(found) == MAX_COPIES:
            break
    return tuple(found)
