"""Interpretable cells, as in "Visualizing and Understanding Recurrent Networks".

Karpathy, Johnson & Fei-Fei 2015 (arXiv 1506.02078) looked at an LSTM's cells by eye, and found
some that count along a line or are on inside quotes. Here they are found by Pearson's correlation
with simple features of the text (for a yes-or-no feature the point-biserial one). Each cell's
feature is chosen on the first half of the text. The best of so many correlations is too high by
chance, so the one reported is that on the second half.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.analysis.activations import States, is_recurrent, not_recurrent, read_states
from charloom.analysis.text_features import features, varies
from charloom.errors import CharloomError
from charloom.formatting import line_of
from charloom.models.engines import LanguageModel
from charloom.runs.open import open_model
from charloom.runs.run import Run

BEFORE, AFTER = 56, 16  # characters of a passage before an extreme value and after
DRIVES = 3  # passages of a cell for its highest values, and as many for its lowest
MIN_DISTANCE = 100  # characters between two passages of a cell
MEAN_LENGTH, MEAN_WEIGHT = 20, 0.01  # a mean over so many characters breaks ties of values
RESPONDING_CORRELATION = 0.5
GATE_NAMES = {"i": "input", "f": "forget", "o": "output", "r": "reset", "z": "update"}
CHUNK_LENGTH = 2**14  # characters correlated at once

Floats = NDArray[np.float64]
Values = NDArray[np.float16]


@dataclass(frozen=True)
class Drive:
    """A place, in line `line`, where a cell is highest or lowest, and the `text` around it.

    `text` begins at `start`; `values` are the cell's after each of its characters, `value` is the
    one at `place`.
    """

    place: int
    line: int
    start: int
    text: str
    values: tuple[float, ...]
    value: float


@dataclass(frozen=True)
class Cell:
    """A unit of a layer, both counted from 0, and the feature that it correlates with most.

    `chosen` is the correlation on the first half of the text, by which the feature was chosen,
    and `correlation` that on the second; `correlations` are those on the second with every
    feature. `high` and `low` are where it is highest and lowest, `mean` and `deviation` those of
    the whole text.
    """

    layer: int
    unit: int
    feature: str
    chosen: float
    correlation: float
    correlations: dict[str, float]
    mean: float
    deviation: float
    high: tuple[Drive, ...]
    low: tuple[Drive, ...]

    @property
    def name(self) -> str:
        """Layer and unit: 0:17."""
        return f"{self.layer}:{self.unit}"


@dataclass(frozen=True)
class Gate:
    """The share of the text, for each cell (H,), for which a gate of a layer is saturated.

    `left` is the share below 0.1 (nearly closed), `right` that above 0.9 (nearly open).
    """

    layer: int
    name: str
    left: Floats
    right: Floats

    @property
    def full_name(self) -> str:
        """What the letter of the gate stands for."""
        return GATE_NAMES[self.name]


@dataclass(frozen=True)
class Neurons:
    """The cells of a model on one text: the `top` ones, and the best one for each feature.

    `features` are those that vary enough in this text, `absent` the others. Of `count` cells,
    `responding` have a correlation of at least 0.5, or at most -0.5, with their feature on the
    second half of the text. `states` are those of every cell.
    """

    text: str
    states: States
    features: tuple[str, ...]
    absent: tuple[str, ...]
    top: tuple[Cell, ...]
    by_feature: tuple[Cell, ...]
    count: int
    responding: int
    gates: tuple[Gate, ...]

    def values(self, cell: Cell) -> Values:
        """Return (N,): the cell after each character of the text."""
        return self.states.values[:, cell.layer * (self.count // self.states.layers) + cell.unit]


def neurons(run: Run | LanguageModel, text: str, top: int = 10) -> Neurons:
    """Read a text with a recurrent network, and rank its cells by their correlation with features.

    A model must be one of the reference engine, which also opens runs of the others. An LSTM's
    cell is tanh(c), as in the paper, any other's h. Raises CharloomError for a model that is not
    recurrent or a text too short for any feature, UnknownCharacterError for a character that the
    model does not know.
    """
    if isinstance(run, Run) and not is_recurrent(run.config.model):
        raise not_recurrent()
    model = open_model(run, "reference") if isinstance(run, Run) else run
    states = read_states(model, model.vocabulary.whole(text))
    half = len(text) // 2
    halves = slice(0, half), slice(half, len(text))
    named = features(text)
    usable = [n for n, values in named.items() if all(varies(values[part]) for part in halves)]
    if not usable:
        message = (
            f"a text of {len(text):,} characters is too short to tell what a cell responds to: "
            "give one of a few thousand"
        )
        raise CharloomError(message, "no-text", characters=len(text))
    targets = np.stack([named[name] for name in usable], axis=1)  # (N, F)
    first, second = (correlations(states.values[part], targets[part]) for part in halves)
    choice = np.abs(first).argmax(axis=1)
    each = np.arange(len(choice))
    order = np.argsort(-np.abs(first[each, choice]), kind="stable")
    best = np.abs(first).argmax(axis=0)  # the cell for each feature

    def cell(place: int, feature: int) -> Cell:
        values = states.values[:, place].astype(np.float64)
        layer, unit = divmod(place, len(choice) // states.layers)
        return Cell(
            layer,
            unit,
            usable[feature],
            float(first[place, feature]),
            float(second[place, feature]),
            dict(zip(usable, second[place].tolist(), strict=True)),
            float(values.mean()),
            float(values.std()),
            tuple(_drives(text, values, 1)),
            tuple(_drives(text, values, -1)),
        )

    return Neurons(
        text,
        states,
        tuple(usable),
        tuple(name for name in named if name not in usable),
        tuple(cell(place, int(choice[place])) for place in order[:top].tolist()),
        tuple(cell(place, feature) for feature, place in enumerate(best.tolist())),
        len(choice),
        int((np.abs(second[each, choice]) >= RESPONDING_CORRELATION).sum()),
        tuple(
            Gate(layer, name, left[layer], states.right[name][layer])
            for layer in range(states.layers)
            for name, left in states.left.items()
        ),
    )


def correlations(values: Values, targets: Floats) -> Floats:
    """Return Pearson's correlation (C, F) of cells' values (n, C) with features (n, F).

    It is 0 for a cell or a feature that never changes.
    """
    n = len(values)
    means = values.mean(axis=0, dtype=np.float64)
    targets = targets - targets.mean(axis=0)
    squares, products = np.zeros(values.shape[1]), np.zeros((values.shape[1], targets.shape[1]))
    for t in range(0, n, CHUNK_LENGTH):
        part = values[t : t + CHUNK_LENGTH] - means
        squares += np.square(part).sum(axis=0)
        products += part.T @ targets[t : t + CHUNK_LENGTH]
    scale = np.sqrt(np.outer(squares, np.square(targets).sum(axis=0)))
    found: Floats = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
    return found


def _drives(text: str, values: Floats, sign: int) -> Iterator[Drive]:
    """Yield where `sign` times the cell is highest, then where it is highest far from there.

    Of equal values the first is the one after the highest mean.
    """
    before = np.convolve(values, np.ones(MEAN_LENGTH) / MEAN_LENGTH)[: len(values)]
    left = sign * (values + MEAN_WEIGHT * before)
    for _ in range(DRIVES):
        place = int(left.argmax())
        if left[place] == -np.inf:
            return
        start, end = max(0, place - BEFORE), place + AFTER
        shown = tuple(values[start:end].tolist())
        line, value = line_of(text, place), float(values[place])
        yield Drive(place, line, start, text[start:end], shown, value)
        left[max(0, place - MIN_DISTANCE) : place + MIN_DISTANCE] = -np.inf
