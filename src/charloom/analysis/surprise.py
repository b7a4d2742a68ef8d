"""Surprise: how hard each character of a text was to foresee, what was guessed, and where it shows.

The surprise of a character is -log p, its probability p given all before it (Shannon 1948): in
nats with the natural logarithm, in bits with that to base 2. Its mean is the loss that
`charloom.evaluation` says. The unit here is a span: one character, or, of a model of tokens, the
characters of one token.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.data.tokenizer import Ids
from charloom.errors import CharloomError
from charloom.evaluation import read_windows
from charloom.models.engines import LanguageModel

GUESSES = 5  # of the likeliest that are kept for each span
PASSAGE = 24  # characters of a passage, before it is widened to whole words
WIDEN = 12  # characters at most, at each end
CONTEXT = 48  # characters shown before and after
IMPOSSIBLE = 100.0  # nats at most that a character counts for where passages are ranked

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Passage:
    """A stretch [start, end) of a text, in line `line` (the first is 1), and what is around it.

    `nats` is the mean per character of what it was found by.
    """

    start: int
    end: int
    line: int
    before: str
    text: str
    after: str
    nats: float

    @property
    def bits(self) -> float:
        """Mean bits per character: nats / ln 2."""
        return self.nats / math.log(2)


@dataclass(frozen=True)
class Surprise:
    """S spans of a text, with the surprise of each, and K guesses of what it would be.

    `starts` (S + 1,) is where in `text` each begins, and the end; what is before the first was
    not predicted. `nats` (S,) is the surprise of the whole span. `guesses` (S, K) are the ids of
    the likeliest, the first before the others, `probabilities` (S, K) theirs and `symbols` their
    text. `passages` are the most surprising, the first most.
    """

    text: str
    starts: NDArray[np.intp]
    nats: Floats
    guesses: NDArray[np.int32]
    probabilities: Floats
    symbols: dict[int, str]
    passages: tuple[Passage, ...]

    @property
    def characters(self) -> int:
        """How many characters were predicted."""
        return len(self.text) - int(self.starts[0])

    @property
    def mean(self) -> float:
        """Mean nats per character: what `charloom evaluate` says of this text."""
        return float(self.nats.sum()) / self.characters

    @property
    def bits(self) -> float:
        """Mean bits per character: nats / ln 2."""
        return self.mean / math.log(2)

    def span(self, place: int) -> str:
        """Return the text of a span."""
        return self.text[self.starts[place] : self.starts[place + 1]]

    def top(self, place: int) -> list[tuple[str, float]]:
        """Return the guesses for a span, the likeliest first, with their probabilities."""
        pairs = zip(self.guesses[place].tolist(), self.probabilities[place].tolist(), strict=True)
        return [(self.symbols[guess], p) for guess, p in pairs]

    def by_character(self) -> Floats:
        """Return nats (characters,): that of a token is shared out evenly among its characters."""
        lengths = np.diff(self.starts)
        return np.repeat(self.nats / lengths, lengths)


@dataclass(frozen=True)
class Difference:
    """Two models on the characters of one text that both predicted, from `start` on.

    `first` and `second` are their mean nats per character. `nats` (characters,) is how much more
    each character surprised the second: above 0 the first is better. `ahead` is the share of
    characters where it is; `better` and `worse` are the passages where it is most, and least.
    """

    start: int
    first: float
    second: float
    nats: Floats
    ahead: float
    better: tuple[Passage, ...]
    worse: tuple[Passage, ...]

    @property
    def mean(self) -> float:
        """By how many nats per character the first is better; below 0, worse."""
        return 0.0 if self.first == self.second else self.second - self.first


def surprise(model: LanguageModel, text: str | Ids, passages: int = 8) -> Surprise:
    """Read a text, or its ids (N,), from nothing: every character but the first is predicted.

    Each is predicted from all before it, as `evaluate` with one lane does. Of a model of tokens
    that is every token but the first, which may be one that only begins a text; a token in which
    no character begins is part of the span before it.
    Raises CharloomError where there is nothing to predict, UnknownCharacterError for a character
    that the model does not know.
    """
    vocabulary = model.vocabulary
    ids = vocabulary.whole(text) if isinstance(text, str) else text
    if len(ids) < 2:
        raise CharloomError(
            f"a text of {len(ids)} {vocabulary.unit} surprises nobody: give a longer one"
        )
    nats, guesses, probabilities = _read(model, ids)
    whole, lengths = vocabulary.decode(ids), vocabulary.lengths[ids]
    begins = np.flatnonzero(lengths[1:])
    if not len(begins):
        raise CharloomError("a text of no whole character cannot be scored: give a longer one")
    spans = np.searchsorted(begins, np.arange(len(nats)), "right") - 1
    nats = np.bincount(np.maximum(spans, 0), nats).astype(np.float64)
    starts = np.append(np.cumsum(lengths)[begins], len(whole)).astype(np.intp)
    guesses, probabilities = guesses[begins], probabilities[begins]
    symbols = {i: vocabulary.decode([i]) for i in np.unique(guesses).tolist()}
    found = Surprise(whole, starts, nats, guesses, probabilities, symbols, ())
    best = find_passages(whole, found.by_character(), int(starts[0]), passages)
    return Surprise(whole, starts, nats, guesses, probabilities, symbols, best)


def difference(first: Surprise, second: Surprise, passages: int = 5) -> Difference:
    """Compare what two models made of the same text; raises CharloomError for different ones."""
    if first.text != second.text:
        raise CharloomError("two models can be compared on the same text only")
    start = int(max(first.starts[0], second.starts[0]))
    pair = [s.by_character()[start - int(s.starts[0]) :] for s in (first, second)]
    with np.errstate(invalid="ignore"):
        nats = pair[1] - pair[0]
    nats[np.isnan(nats)] = 0  # both held it to be impossible
    if not len(nats):
        raise CharloomError("no character is predicted by both models: give a longer text")
    better, worse = (find_passages(first.text, sign * nats, start, passages) for sign in (1, -1))
    one, other = (float(values.mean()) for values in pair)
    return Difference(start, one, other, nats, float((nats > 0).mean()), better, worse)


def find_passages(text: str, nats: Floats, first: int, count: int) -> tuple[Passage, ...]:
    """Return the passages, at most `count`, where nats (n,) sum highest: those from `first` on.

    Each is widened to whole words, and no two overlap. Where the sum is not above 0 there is none.
    """
    values = np.clip(nats, -IMPOSSIBLE, IMPOSSIBLE)
    width = min(PASSAGE, len(values))
    sums = np.convolve(values, np.ones(width), "valid") if width else np.empty(0)
    found: list[Passage] = []
    while len(found) < count and len(sums):
        place = int(sums.argmax())
        if not sums[place] > 1e-9 * width:
            break
        start, end = _whole_words(text, first + place, first + place + width, first)
        found.append(_passage(text, nats[start - first : end - first], start, end))
        apart = width + 2 * WIDEN
        sums[max(0, place - apart + 1) : place + apart] = -np.inf
    return tuple(sorted(found, key=lambda passage: -passage.nats))


def line_of(text: str, place: int) -> int:
    """Return the number of the line that a place is in; the first is 1."""
    return text.count("\n", 0, place) + 1


def _read(model: LanguageModel, ids: Ids) -> tuple[Floats, NDArray[np.int32], Floats]:
    """Nats (N - 1,) of ids[1:], and the likeliest ids (N - 1, K) with their probabilities."""
    K = min(GUESSES, len(model.vocabulary))
    parts: list[Sequence[NDArray[np.number]]] = []
    for piece in read_windows(model, ids):
        wanted = ids[piece.places[0] + 1, None].astype(np.int64)
        log_p = piece.log_probs[0].astype(np.float64)
        best = np.argpartition(-log_p, K - 1, axis=1)[:, :K]
        best = np.sort(best, axis=1)  # of equals the first
        order = np.argsort(-np.take_along_axis(log_p, best, 1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, 1)
        p = np.exp(np.take_along_axis(log_p, best, 1))
        parts.append((-np.take_along_axis(log_p, wanted, 1)[:, 0], best.astype(np.int32), p))
    nats, guesses, probabilities = (np.concatenate(part) for part in zip(*parts, strict=True))
    return nats, guesses, probabilities


def _whole_words(text: str, start: int, end: int, first: int) -> tuple[int, int]:
    """Widen a stretch to the ends of the words it cuts, and leave out spaces around it."""
    low, high = max(first, start - WIDEN), min(len(text), end + WIDEN)
    while start > low and text[start - 1].isalnum() and text[start].isalnum():
        start -= 1
    while end < high and text[end].isalnum() and text[end - 1].isalnum():
        end += 1
    while end - start > 1 and text[start].isspace():
        start += 1
    while end - start > 1 and text[end - 1].isspace():
        end -= 1
    return start, end


def _passage(text: str, nats: Floats, start: int, end: int) -> Passage:
    before, after = text[max(0, start - CONTEXT) : start], text[end : end + CONTEXT]
    mean = float(nats.mean())
    return Passage(start, end, line_of(text, start), before, text[start:end], after, mean)
