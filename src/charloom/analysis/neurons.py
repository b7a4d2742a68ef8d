"""Interpretable cells, as in "Visualizing and Understanding Recurrent Networks".

Karpathy, Johnson & Fei-Fei 2015 (arXiv 1506.02078) looked at an LSTM's cells by eye, and found
some that count along a line or are on inside quotes. Here they are found by Pearson's correlation
with simple features of the text (for a yes-or-no feature the point-biserial one). Each cell's
feature is chosen on the first half of the text. The best of so many correlations is too high by
chance, so the one reported is that on the second half.

A cell that follows spaces or vowels remembers nothing: the character just read tells as much. So
cells are ranked by memory: their correlation with a feature among the places of one character,
after its mean there is taken from both (a partial correlation). It is 0 for such a feature.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charloom.analysis.activations import States, is_recurrent, not_recurrent, read_states
from charloom.analysis.text_features import features, varies
from charloom.data.boundary import readable, visible
from charloom.data.tokenizer import Ids
from charloom.errors import CharloomError
from charloom.formatting import line_of, whole_words
from charloom.models.protocols import LanguageModel
from charloom.runs.one_network import one_network
from charloom.runs.open import open_alone
from charloom.runs.run import Run

BEFORE, AFTER = 56, 16  # characters of a passage before an extreme value and after
DRIVES = 3  # passages of a cell for its highest values, and as many for its lowest
MIN_DISTANCE = 100  # characters between two passages of a cell
MEAN_LENGTH, MEAN_WEIGHT = 20, 0.01  # a mean over so many characters breaks ties of values
RESPONDING_CORRELATION = 0.5
CHUNK_LENGTH = 2**14  # characters correlated at once

Floats = NDArray[np.float64]
Values = NDArray[np.float16 | np.float32]


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
    """A unit of a layer, both counted from 0, and the feature that it follows.

    `memory` is its correlation with the feature among places of the same character, `correlation`
    that among all places, both on the second half of the text. By `chosen` the two were brought
    together: the memory on the first half, or, for a feature that the character read tells, the
    correlation. `correlations` are those on the second half with every feature. `high` and `low`
    are where it is highest and lowest, `mean` and `deviation` those of the whole text.
    """

    layer: int
    unit: int
    feature: str
    chosen: float
    memory: float
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
class Follows:
    """What a cell remembers best, chosen as for `Cell`; figures are of the second half."""

    feature: str
    memory: float
    correlation: float


@dataclass(frozen=True)
class Neurons:
    """The cells of a model on one text: those of most memory, and the best one for each feature.

    `top` are ranked by their memory on the first half of the text, each with the feature that it
    remembers best; `by_feature` has the cell that was chosen for each feature that varies enough
    in this text, and `absent` names the other features. Of `count` cells, `responding` have a
    correlation of at least 0.5, or at most -0.5, with some feature, chosen on the first half of
    the text and measured on the second. `states` are those of every cell, and `follows` says of
    each, by layers, what it follows.
    """

    text: str
    states: States
    absent: tuple[str, ...]
    top: tuple[Cell, ...]
    by_feature: tuple[Cell, ...]
    count: int
    responding: int
    follows: tuple[Follows, ...]

    def values(self, cell: Cell) -> Values:
        """Return (N,): the cell after each character of the text."""
        return self.states.values[:, cell.layer * (self.count // self.states.layers) + cell.unit]


def neurons(run: Run | LanguageModel, text: str, top: int = 10) -> Neurons:
    """Read a text with a recurrent network, and rank its cells by what they remember of it.

    Of several networks the first is looked at.
    A model must be one of the reference engine, which also opens runs of the others. An LSTM's
    cell is tanh(c), as in the paper, any other's h. Raises CharloomError for a model that is not
    recurrent or reads tokens, or a text too short for any feature, UnknownCharacterError for a
    character that the model does not know.
    """
    if isinstance(run, Run) and not is_recurrent(run.config.model):
        raise not_recurrent()
    model = open_alone(one_network(run), "reference") if isinstance(run, Run) else run
    ids, text = model.vocabulary.whole(readable(text, model.vocabulary)), visible(text)
    lengths = model.vocabulary.lengths[ids]
    if lengths.max(initial=0) > 1:
        message = "this model reads tokens, and a cell is looked at after each character"
        raise CharloomError(message, "unsupported", field="model")
    states = read_states(model, ids)
    if not lengths.all():  # of bytes, the one that completes a character
        ends = np.append(np.flatnonzero(lengths)[1:] - 1, len(ids) - 1)
        states, ids = replace(states, values=states.values[ends]), ids[ends]
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
    memories = [memory(states.values[part], targets[part], ids[part]) for part in halves]
    remembered = memories[0].any(axis=0)  # features that the character read does not tell
    ranked = np.where(remembered, memories[0], 0.0 if remembered.any() else first)
    choice = np.abs(ranked).argmax(axis=1)
    each = np.arange(len(choice))
    order = np.argsort(-np.abs(ranked[each, choice]), kind="stable")
    chosen = np.where(remembered, memories[0], first)
    best = np.abs(chosen).argmax(axis=0)  # the cell for each feature
    follows = np.abs(first).argmax(axis=1)

    def cell(place: int, feature: int) -> Cell:
        values = states.values[:, place].astype(np.float64)
        layer, unit = divmod(place, len(choice) // states.layers)
        return Cell(
            layer,
            unit,
            usable[feature],
            float(chosen[place, feature]),
            float(memories[1][place, feature]),
            float(second[place, feature]),
            dict(zip(usable, second[place].tolist(), strict=True)),
            float(values.mean()),
            float(values.std()),
            tuple(drives(text, values, 1)),
            tuple(drives(text, values, -1)),
        )

    return Neurons(
        text,
        states,
        tuple(name for name in named if name not in usable),
        tuple(cell(place, int(choice[place])) for place in order[:top].tolist()),
        tuple(cell(place, feature) for feature, place in enumerate(best.tolist())),
        len(choice),
        int((np.abs(second[each, follows]) >= RESPONDING_CORRELATION).sum()),
        tuple(
            Follows(usable[n], float(memories[1][place, n]), float(second[place, n]))
            for place, n in enumerate(choice.tolist())
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


def memory(values: Values, targets: Floats, ids: Ids) -> Floats:
    """Return the partial correlation (C, F) of cells (n, C) and features (n, F), given ids (n,).

    That is the correlation of what is left of both when the mean among the places of the same
    character is taken from each.
    """
    values, targets = values.astype(np.float32), targets.copy()
    for character in np.unique(ids):
        here = ids == character
        values[here] -= values[here].mean(axis=0, dtype=np.float64)
        targets[here] -= targets[here].mean(axis=0)
    targets[:, np.abs(targets).max(axis=0, initial=0) < 1e-9] = 0  # what rounding has left
    return correlations(values, targets)


def drives(text: str, values: Floats, sign: int) -> Iterator[Drive]:
    """Yield where `sign` times a cell (N,) is highest, then where it is highest far from there.

    Of equal values the first is the one after the highest mean.
    """
    before = np.convolve(values, np.ones(MEAN_LENGTH) / MEAN_LENGTH)[: len(values)]
    left = sign * (values + MEAN_WEIGHT * before)
    for _ in range(DRIVES):
        place = int(left.argmax())
        if left[place] == -np.inf:
            return
        start, _ = whole_words(text, max(0, place - BEFORE), place)
        _, end = whole_words(text, place + 1, min(len(text), place + 1 + AFTER))
        shown = tuple(values[start:end].tolist())
        line, value = line_of(text, place), float(values[place])
        yield Drive(place, line, start, text[start:end], shown, value)
        left[max(0, place - MIN_DISTANCE) : place + MIN_DISTANCE] = -np.inf
