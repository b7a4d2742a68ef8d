"""Text -> words and phrases, their counts, and the log-likelihood G2 of two counts."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_GAP = re.compile(r"[ \t]+|[ \t]*\n[ \t]*")  # between words of one phrase
LONGEST_PHRASE = 3
COMMON = "the 3,000 commonest words of English books and speeches"
COMMON_TOTAL = 3_555_497  # words that the list was made from


@dataclass(frozen=True)
class Frequencies:
    """How often words occur among `total` words.

    A word that is not in `counts` occurred at most `least` times: 0 if all were counted.
    """

    name: str
    counts: Mapping[str, float]
    total: float
    least: float = 0.0

    def count(self, word: str) -> float:
        """Return how often a word occurred, at most."""
        return self.counts.get(word, self.least)


def words(text: str) -> list[str]:
    """Return the words of a text in lower case: letters, with apostrophes and hyphens inside."""
    return [found.lower().replace("\u2019", "'") for found in _WORD.findall(text)]


def stretches(text: str) -> Iterator[list[str]]:
    """Yield the words of each stretch of words with only spaces or one line break between them."""
    stretch: list[str] = []
    end = 0
    for found in _WORD.finditer(text):
        if stretch and not _GAP.fullmatch(text, end, found.start()):
            yield stretch
            stretch = []
        stretch.append(found[0].lower().replace("\u2019", "'"))
        end = found.end()
    if stretch:
        yield stretch


def phrases(text: str) -> Counter[tuple[str, ...]]:
    """Count the sequences of one to three words within a stretch."""
    counts: Counter[tuple[str, ...]] = Counter()
    for stretch in stretches(text):
        for n in range(1, LONGEST_PHRASE + 1):
            counts.update(tuple(stretch[i : i + n]) for i in range(len(stretch) - n + 1))
    return counts


def frequencies(text: str, name: str) -> Frequencies:
    """Count the words of a text."""
    found = words(text)
    return Frequencies(name, Counter(found), len(found))


@cache
def common_english() -> Frequencies:
    """Return how often common English words occur: a list that is part of charloom.

    It has the 3,000 commonest of the words that are in a third or more of 24 texts, with the
    mean of their rates in those, per million words: War and Peace; the 18 books of Project
    Gutenberg that NLTK chose (Austen, Blake, Bryant, Burgess, Carroll, Chesterton, Edgeworth,
    Melville, Milton, Shakespeare, Whitman, the King James Bible); and the American presidents'
    yearly addresses since 1901, in five parts. All are in the public domain. Its English is
    older than today's, and it is no dictionary.
    """
    document = (Path(__file__).parents[1] / "assets" / "common-english.txt").read_text("ascii")
    pairs = (line.split() for line in document.splitlines())
    counts = {word: float(rate) * COMMON_TOTAL / 1e6 for word, rate in pairs}
    return Frequencies(COMMON, counts, COMMON_TOTAL, min(counts.values()))


def keyness(count: float, total: float, other: float, other_total: float) -> float:
    """Return the log-likelihood G2 of a word in one text against another; below 0 if it is rarer.

    G2 = 2 (a ln(a / E1) + b ln(b / E2)) with E1 = c (a + b) / (c + d), E2 = d (a + b) / (c + d):
    a of c words here, b of d there (Dunning 1993, as Rayson & Garside 2000 use it). 6.63 is
    p < 0.01, and 15.13 is p < 0.0001.
    """
    both = count + other
    if not both or not total or not other_total:
        return 0.0
    expected = [size * both / (total + other_total) for size in (total, other_total)]
    pairs = zip((count, other), expected, strict=True)
    found = 2 * sum(o * math.log(o / e) for o, e in pairs if o)
    return found if count * other_total >= other * total else -found


def cohesion_g2(phrase: Sequence[str], counts: Mapping[tuple[str, ...], int], total: int) -> float:
    """Return the G2 of words that stand together more often than by chance, and 0 for others.

    Expected are as many as if its two parts, cut where that gives most, occurred independently:
    G2 = 2 (O ln(O / E) + (N - O) ln((N - O) / (N - E))) of N words (after Dunning 1993).
    """
    whole = tuple(phrase)
    seen = counts[whole]
    expected = max(counts[whole[:i]] * counts[whole[i:]] / total for i in range(1, len(whole)))
    if seen <= expected or seen >= total:
        return 0.0
    rest = (total - seen) * math.log((total - seen) / (total - expected))
    return 2 * (seen * math.log(seen / expected) + rest)
