"""A span of a text in; the cells that stand out there, and other places like it, out.

A cell stands out if its mean over the span is many standard deviations from what is usual for it.
What is usual is told by a longer text of the same kind, and other places are looked for there.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.analysis.activations import States, read_states
from charloom.analysis.neurons import (
    AFTER,
    BEFORE,
    MIN_DISTANCE,
    Drive,
    Floats,
    Follows,
    drives,
    neurons,
)
from charloom.data.boundary import readable, visible
from charloom.errors import CharloomError
from charloom.formatting import line_of, whole_words
from charloom.models.protocols import LanguageModel

CELLS = 8  # that are told
TOGETHER = 5  # of which a place is like the span
PLACES = 5  # like it, that are told
LONGEST_PLACE = 20  # characters
STEADY = 4  # a deviation is not taken for less than the median of all, divided by this


@dataclass(frozen=True)
class Usual:
    """The cells of a model on a text that says what is usual.

    `mean` and `deviation` (C,) are those of each cell, and `follows` what it follows: None if the
    text is too short to tell.
    """

    text: str
    states: States
    mean: Floats
    deviation: Floats
    follows: tuple[Follows, ...] | None

    @property
    def scale(self) -> Floats:
        """The deviation (C,) by which each cell is measured: one that hardly moves is not alone."""
        least = max(float(np.median(self.deviation)) / STEADY, 1e-6)
        return np.maximum(self.deviation, least)


@dataclass(frozen=True)
class Standing:
    """A cell that stands out: its mean in the span, and how many deviations that is from usual.

    `values` are those after each character of the text, `drives` the places of the usual text
    where the cell is farthest to the same side.
    """

    layer: int
    unit: int
    value: float
    away: float
    mean: float
    deviation: float
    follows: Follows | None
    values: tuple[float, ...]
    drives: tuple[Drive, ...]

    @property
    def name(self) -> str:
        """Layer and unit: 0:17."""
        return f"{self.layer}:{self.unit}"


@dataclass(frozen=True)
class Alike:
    """A place like a span, in line `line`: [begin, end) of the passage `text`.

    `share` is how far the cells are from usual there, as a share of how far they are in the span.
    """

    line: int
    text: str
    begin: int
    end: int
    share: float


@dataclass(frozen=True)
class Span:
    """Cells that stand out in a span, most first, and places where the first five do together."""

    cells: tuple[Standing, ...]
    alike: tuple[Alike, ...]


def usual(model: LanguageModel, text: str) -> Usual:
    """Read a text with a recurrent network of the reference engine.

    Raises CharloomError as `neurons` does, but not for a short text.
    """
    follows = None
    try:
        found = neurons(model, text, top=1)
        text, states, follows = found.text, found.states, found.follows
    except CharloomError as error:
        if error.code != "no-text":
            raise
        states = read_states(model, model.vocabulary.whole(readable(text, model.vocabulary)))
        text = visible(text)
    values = states.values.astype(np.float32)
    mean = values.mean(axis=0, dtype=np.float64)
    return Usual(text, states, mean, values.std(axis=0, dtype=np.float64), follows)


def standing_out(known: Usual, text: str, states: States, start: int, end: int) -> Span:
    """Find what stands out in text[start:end], of which the network's `states` were read.

    If the text begins as the one that is usual does, the span is no place like itself.
    """
    values = states.values.astype(np.float64)
    inside = values[start:end].mean(axis=0)
    away = (inside - known.mean) / known.scale
    order = np.argsort(-np.abs(away), kind="stable")[:CELLS]
    itself = (start, end) if known.text.startswith(text[:end]) else None
    units = len(away) // states.layers
    cells = []
    for place in order.tolist():
        side = 1 if away[place] >= 0 else -1
        found = drives(known.text, known.states.values[:, place].astype(np.float64), side)
        cells.append(
            Standing(
                place // units,
                place % units,
                float(inside[place]),
                float(away[place]),
                float(known.mean[place]),
                float(known.deviation[place]),
                known.follows[place] if known.follows else None,
                tuple(values[:, place].tolist()),
                tuple(d for d in found if not (itself and start <= d.place < end)),
            )
        )
    alike = _alike(known, order[:TOGETHER], away, min(end - start, LONGEST_PLACE), itself)
    return Span(tuple(cells), tuple(alike))


def _alike(
    known: Usual,
    cells: NDArray[np.intp],
    away: Floats,
    length: int,
    itself: tuple[int, int] | None,
) -> Iterator[Alike]:
    """Yield the places of so many characters where these cells are, together, most as in the span.

    More than in the span does not count, so that one cell cannot stand for all.
    """
    wanted, N = np.abs(away[cells]), len(known.text)
    if not wanted.any() or length > N:
        return
    there = known.states.values[:, cells].astype(np.float64)  # (N, K)
    there = np.sign(away[cells]) * (there - known.mean[cells]) / known.scale[cells]
    score = np.minimum(there, wanted).mean(axis=1) / wanted.mean()
    score = np.convolve(score, np.ones(length) / length, mode="valid")  # (N - length + 1,)
    if itself:
        score[max(0, itself[0] - length) : itself[1] + length] = -np.inf
    for _ in range(PLACES):
        begin = int(score.argmax())
        if score[begin] <= 0:
            return
        end = begin + length
        first, _ = whole_words(known.text, max(0, begin - BEFORE), begin)
        _, last = whole_words(known.text, end, min(N, end + AFTER))
        shown = known.text[first:last]
        line = line_of(known.text, begin)
        yield Alike(line, shown, begin - first, end - first, float(score[begin]))
        score[max(0, begin - MIN_DISTANCE) : begin + MIN_DISTANCE] = -np.inf
