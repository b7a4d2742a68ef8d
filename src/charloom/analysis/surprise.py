"""Surprise: how unlikely each character of a text was to a model, and what it predicted instead.

The surprise (surprisal) of a character is -log p of its probability p given all before it
(Shannon 1948): in nats with the natural logarithm, in bits with that to base 2. Its mean is the
loss that `charloom.evaluation` measures. The unit here is a span: one character, or the
characters of one token.
"""

import math
import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charloom.data.boundary import readable
from charloom.data.tokenizer import Ids
from charloom.errors import CharloomError
from charloom.evaluation import Score, read_windows, windows_for
from charloom.formatting import line_of, nats_and_bits, percent, whole_words
from charloom.models.protocols import LanguageModel

PREDICTIONS = 5  # the likeliest, kept for each span
PASSAGE_LENGTH = 24  # characters, before a passage is widened to whole words
MAX_WIDENING = 20  # characters, at each end
CONTEXT_LENGTH = 48  # characters before and after a passage
END = "<end>"  # how the end of a document is called as a prediction, which no character shows
_WORD = re.compile(r"\S+\s*|\s+")
MAX_NATS = 100.0  # of a character when passages are ranked; an impossible one has infinitely many

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Passage:
    """A stretch [start, end) of a text, in line `line` (the first is 1), with its context.

    `nats` is the mean surprise per character, or the mean difference of two models.
    """

    start: int
    end: int
    line: int
    before: str
    text: str
    after: str
    nats: float


@dataclass(frozen=True)
class Surprise:
    """S spans of a text, with the surprise of each, and the K likeliest predictions for it.

    `starts` (S + 1,) is where in `text` each begins, and the end; what is before the first was
    not predicted. `nats` (S,) is the surprise of the whole span. `guesses` (S, K) are the ids of
    the predictions, the likeliest first, with their `probabilities` (S, K) and their text,
    `symbols`, which for the end of a document is END; the spans that are one are `ends`, line ends
    in the text. `passages` are the most surprising, the first most.
    """

    text: str
    starts: NDArray[np.intp]
    nats: Floats
    guesses: NDArray[np.int32]
    probabilities: Floats
    symbols: dict[int, str]
    ends: tuple[int, ...]
    passages: tuple[Passage, ...]

    @property
    def score(self) -> Score:
        """The loss on this text; what is before the first span is not in the mean."""
        predicted = len(self.text) - int(self.starts[0])
        return Score(float(self.nats.sum()) / predicted, len(self.text))

    def span(self, place: int) -> str:
        """Return the text of a span."""
        return self.text[self.starts[place] : self.starts[place + 1]]

    def top(self, place: int) -> list[tuple[str, float]]:
        """Return the predictions for a span, the likeliest first, with their probabilities."""
        pairs = zip(self.guesses[place].tolist(), self.probabilities[place].tolist(), strict=True)
        return [(self.symbols[guess], p) for guess, p in pairs]

    def by_character(self) -> Floats:
        """Return nats (characters,); those of a token are shared evenly among its characters."""
        lengths = np.diff(self.starts)
        return np.repeat(self.nats / lengths, lengths)

    def words(self) -> tuple[NDArray[np.intp], Floats]:
        """Return where each word begins (W + 1,), and the end; and the nats (W,) of each.

        A word has the white space behind it, so that the sum is that of all characters.
        """
        starts = [found.start() for found in _WORD.finditer(self.text)]
        nats = np.append(np.zeros(int(self.starts[0])), self.by_character())
        return np.array([*starts, len(self.text)]), np.add.reduceat(nats, starts)


@dataclass(frozen=True)
class Difference:
    """Two models on the characters of one text that both predicted, from `start` on.

    `first` and `second` are their mean nats per character. `nats` (characters,) are those of the
    second less those of the first: above 0 the first is better. `ahead` is the share of
    characters for which it is; `better` and `worse` are the passages where it is most, and least.
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
    """Predict every character of a text, or of its ids (N,), but the first from all before it.

    A model of tokens predicts every token but the first, which may be one that only begins a
    text; a token in which no character begins is part of the span before it. Raises
    CharloomError if there is nothing to predict, UnknownCharacterError for a character that the
    model does not know.
    """
    vocabulary = model.vocabulary
    ids = vocabulary.whole(readable(text, vocabulary)) if isinstance(text, str) else text
    if len(ids) < 2:
        message = (
            f"a text of {len(ids)} {vocabulary.unit} has nothing to predict: give a longer one"
        )
        raise CharloomError(message, "no-text", **{vocabulary.unit: len(ids)})
    nats, guesses, probabilities = _read(model, ids)
    whole, lengths = vocabulary.decode(ids), vocabulary.lengths[ids]
    begins = np.flatnonzero(lengths[1:])
    if not len(begins):
        message = "a text of no whole character cannot be scored: give a longer one"
        raise CharloomError(message, "no-text")
    spans = np.searchsorted(begins, np.arange(len(nats)), "right") - 1
    nats = np.bincount(np.maximum(spans, 0), nats).astype(np.float64)
    starts = np.append(np.cumsum(lengths)[begins], len(whole)).astype(np.intp)
    guesses, probabilities = guesses[begins], probabilities[begins]
    symbols = {i: vocabulary.decode([i]) for i in np.unique(guesses).tolist()}
    ends: tuple[int, ...] = ()
    if vocabulary.boundary is not None:
        symbols[vocabulary.boundary] = END
        ends = tuple(np.flatnonzero(np.asarray(ids)[1:][begins] == vocabulary.boundary).tolist())
    found = Surprise(whole, starts, nats, guesses, probabilities, symbols, ends, ())
    best = find_passages(whole, found.by_character(), int(starts[0]), passages)
    return replace(found, passages=best)


def difference(first: Surprise, second: Surprise, passages: int = 5) -> Difference:
    """Compare the surprise of two models on one text; raises CharloomError for two texts."""
    if first.text != second.text:
        raise CharloomError("two models can only be compared on the same text", field="text")
    start = int(max(first.starts[0], second.starts[0]))
    pair = [s.by_character()[start - int(s.starts[0]) :] for s in (first, second)]
    with np.errstate(invalid="ignore"):
        nats = pair[1] - pair[0]
    nats[np.isnan(nats)] = 0  # impossible to both
    if not len(nats):
        message = "no character is predicted by both models: give a longer text"
        raise CharloomError(message, "no-text")
    better, worse = (find_passages(first.text, sign * nats, start, passages) for sign in (1, -1))
    one, other = (float(values.mean()) for values in pair)
    return Difference(start, one, other, nats, float((nats > 0).mean()), better, worse)


def verdict(found: Difference, first: str, second: str) -> str:
    """Say in a sentence which of two models, by name, predicts the text better."""
    if math.isinf(found.first) and math.isinf(found.second):
        return "Both give some of this text probability 0."
    if found.mean == 0:
        return "Both predict this text equally well."
    better, other = (first, second) if found.mean > 0 else (second, first)
    share = found.ahead if found.mean > 0 else float((found.nats < 0).mean())
    gap = f"by {nats_and_bits(abs(found.mean))}"
    if math.isinf(found.mean):
        gap = "which gives some of it probability 0"
    return (
        f"{better} predicts this text better than {other}, {gap}; it is better for "
        f"{percent(share, 0)} of the characters."
    )


def find_passages(text: str, nats: Floats, first: int, count: int) -> tuple[Passage, ...]:
    """Return the passages, `count` at most, with the highest sums of nats (n,).

    `first` is where in the text the first of nats is. Passages are widened to whole words, do not
    overlap, and have a mean above 0.
    """
    values = np.clip(nats, -MAX_NATS, MAX_NATS)
    width = min(PASSAGE_LENGTH, len(values))
    sums = np.convolve(values, np.ones(width), "valid") if width else np.empty(0)
    found: list[Passage] = []
    while len(found) < count and len(sums):
        place = int(sums.argmax())
        if not sums[place] > 1e-9 * width:
            break
        start, end = _whole_words(text, first + place, first + place + width, first)
        with np.errstate(invalid="ignore"):  # each of two models may rule out another character
            mean = float(nats[start - first : end - first].mean())
        if mean > 0:  # what it was widened by counts, too
            found.append(_passage(text, start, end, mean))
        apart = width + 2 * MAX_WIDENING
        sums[max(0, place - apart + 1) : place + apart] = -np.inf
    return tuple(sorted(found, key=lambda passage: -passage.nats))


def _read(model: LanguageModel, ids: Ids) -> tuple[Floats, NDArray[np.int32], Floats]:
    """Return nats (N - 1,) of ids[1:], the likeliest ids and their probabilities (N - 1, K)."""
    N, K = len(ids) - 1, min(PREDICTIONS, len(model.vocabulary))
    nats, guesses, probabilities = np.empty(N), np.empty((N, K), np.int32), np.empty((N, K))
    cut = windows_for(model, len(ids))
    for piece in read_windows(model, ids, cut):
        own = piece.places >= cut.own
        places, log_p = piece.places[own], piece.log_probs[own].astype(np.float64)
        wanted = ids[places + 1, None].astype(np.int64)
        best = np.argpartition(-log_p, K - 1, axis=1)[:, :K]
        best = np.sort(best, axis=1)  # of equals the first
        order = np.argsort(-np.take_along_axis(log_p, best, 1), axis=1, kind="stable")
        guesses[places] = best = np.take_along_axis(best, order, 1)
        probabilities[places] = np.exp(np.take_along_axis(log_p, best, 1))
        nats[places] = -np.take_along_axis(log_p, wanted, 1)[:, 0]
    return nats, guesses, probabilities


def _whole_words(text: str, start: int, end: int, first: int) -> tuple[int, int]:
    """Widen a stretch to the ends of the words it cuts, and leave out spaces around it."""
    low, high = max(first, start - MAX_WIDENING), min(len(text), end + MAX_WIDENING)
    while start > low and text[start - 1].isalnum() and text[start].isalnum():
        start -= 1
    while end < high and text[end].isalnum() and text[end - 1].isalnum():
        end += 1
    while end - start > 1 and text[start].isspace():
        start += 1
    while end - start > 1 and text[end - 1].isspace():
        end -= 1
    return start, end


def _passage(text: str, start: int, end: int, nats: float) -> Passage:
    """Return the stretch [start, end) of a text with some whole words around it."""
    first, _ = whole_words(text, max(0, start - CONTEXT_LENGTH), start)
    _, last = whole_words(text, end, min(len(text), end + CONTEXT_LENGTH))
    before, own, after = text[first:start], text[start:end], text[end:last]
    return Passage(start, end, line_of(text, start), before, own, after, nats)
