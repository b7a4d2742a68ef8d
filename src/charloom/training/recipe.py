"""What a stranger's text gets: the recipe as data, and the one function that reads it.

Pure: speeds come in as numbers (planning.py measures them), so that the same numbers give the
same choice. See docs/LOG.md for the runs behind each row.
"""

import math
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import NamedTuple

from charloom.config import ModelConfig, NgramConfig, RunConfig, TrainConfig, replace
from charloom.errors import CharloomError
from charloom.models.weights import parameter_count
from charloom.presets import preset

BASE = RunConfig(
    model=ModelConfig(cell="lstm", layers=1, hidden=128, embedding=64),
    train=TrainConfig(
        optimizer="adamw",
        learning_rate=0.02,
        weight_decay=0.1,
        clip_norm=1.0,
        schedule="cosine",
    ),
)
TRANSFORMER = replace(preset("nanogpt-char-cpu").train, iterations=None, warmup=0)
CHOSEN = ("hidden", "batch", "length", "learning_rate", "dropout", "warmup")  # the rest is BASE's


class Width(NamedTuple):
    """A size to choose from: units in a layer, and the highest learning rate it takes."""

    hidden: int
    learning_rate: float


class Step(NamedTuple):
    """From so many characters of training text on: lanes, and characters of each in a step."""

    characters: int
    batch: int
    length: int


WIDTHS = (
    Width(64, 0.03),
    Width(96, 0.03),
    Width(128, 0.03),
    Width(192, 0.02),
    Width(256, 0.02),
    Width(384, 0.02),
    Width(512, 0.015),
    Width(768, 0.01),
)
STEPS = (Step(0, 1, 16), Step(500, 4, 32), Step(4_000, 16, 32), Step(20_000, 32, 64))
DROPOUT = ((1, 0.0), (4, 0.1), (10, 0.2), (30, 0.4), (50, 0.5))  # times through the text, share
PASSES = 50  # times through the text, at most: what more minutes would do is learn it by heart
READ = 8  # characters that are read, at least, for each number that is learned
NUMBERS = 20  # numbers that are learned, at most, for each character of training text
WARMUP = 100, 0.05  # iterations at most, and share of the run at most
FLOPS = 1.5e10  # multiplications and additions a second, before anything has been measured
FLOPS_OF_A_NUMBER = 6  # of one number, for one character that is read in an update


class Choice(NamedTuple):
    """Settings, the `characters` that will be read, and (what, why) in a line each."""

    config: RunConfig
    characters: float
    reasons: tuple[tuple[str, str], ...]


class Size(NamedTuple):
    """Of a text: `characters` to learn from, and how many are `different`."""

    characters: int
    different: int


def choose(
    config: RunConfig,
    given: Collection[str],
    size: Size,
    seconds: float | None = None,
    measured: Mapping[int, float] | None = None,
) -> Choice:
    """Choose all of CHOSEN that is not `given`, for `seconds` of updates.

    It ends after PASSES times through the text, should that be sooner. `measured` are speeds in
    characters a second, by the numbers of the model they were measured with. Without `seconds`
    the iterations or epochs of `config` say how much is read; raises CharloomError where it has
    neither. Of a network that is not recurrent only dropout and warm-up are chosen.
    """
    if not isinstance(config.model, ModelConfig):
        return _as_given(config, given, size, seconds, measured or {})
    train = _lanes(config.train, given, size.characters)
    widths = [w for w in WIDTHS if "hidden" not in given] or [_given_width(config.model)]
    choices: list[tuple[ModelConfig, TrainConfig, float]] = []
    for width in widths:
        model = replace(config.model, hidden=width.hidden)
        numbers = parameter_count(model, size.different)
        read = _read(train, size, seconds, speed(numbers, measured or {}))
        fits = numbers * READ <= read and numbers <= NUMBERS * size.characters
        if not choices or fits:
            choices.append((model, _rate(train, given, width), read))
    model, train, read = choices[-1]
    train = _finish(train, given, read, size)
    if seconds is not None:
        train = replace(train, epochs=float(PASSES))
    chosen = replace(config, model=model, train=train)
    return Choice(chosen, read, tuple(_reasons(chosen, given, read, size)))


def _as_given(
    config: RunConfig,
    given: Collection[str],
    size: Size,
    seconds: float | None,
    measured: Mapping[int, float],
) -> Choice:
    assert not isinstance(config.model, NgramConfig)
    pace = speed(parameter_count(config.model, size.different), measured)
    read = _read(config.train, size, seconds, pace)
    train = _finish(config.train, given, read, size)
    if seconds is not None:
        train = replace(train, epochs=float(PASSES))
    chosen = replace(config, train=train)
    return Choice(chosen, read, tuple(_training_reasons(train, given, read, size)))


def speed(numbers: int, measured: Mapping[int, float]) -> float:
    """Characters a second of an update of a model of so many `numbers`, from those measured.

    Between two and beyond them: a straight line in the logarithms of both, never steeper than
    in proportion to the numbers.
    """
    if not measured:
        return FLOPS / (FLOPS_OF_A_NUMBER * numbers)
    if numbers in measured:
        return measured[numbers]
    near = sorted(measured, key=lambda known: abs(math.log(known / numbers)))
    slope = -1.0
    if len(near) > 1 and near[0] != near[1]:
        rise = math.log(measured[near[0]] / measured[near[1]])
        slope = min(0.0, max(-1.0, rise / math.log(near[0] / near[1])))
    return measured[near[0]] * math.pow(numbers / near[0], slope)


def dropout(passes: float) -> float:
    """The share of units to drop where the text is read so many times."""
    if passes <= DROPOUT[0][0]:
        return DROPOUT[0][1]
    for (low, low_share), (high, high_share) in pairwise(DROPOUT):
        if passes <= high:
            along = math.log(passes / low) / math.log(high / low)
            return round(low_share + along * (high_share - low_share), 2)
    return DROPOUT[-1][1]


def _given_width(model: ModelConfig) -> Width:
    """The row of a width that was given: its rate is that of the nearest in the table."""
    near = min(WIDTHS, key=lambda width: abs(math.log(width.hidden / model.hidden)))
    return near._replace(hidden=model.hidden)


def _lanes(train: TrainConfig, given: Collection[str], characters: int) -> TrainConfig:
    """Batch size and sequence length that both fit: a sequence needs T + 2 characters at least."""
    row = next(row for row in reversed(STEPS) if characters >= row.characters)
    length = train.length if "length" in given else row.length
    batch = train.batch if "batch" in given else min(row.batch, characters // (length + 2))
    if "length" not in given:
        length = min(length, characters // max(1, batch) - 2)
    return replace(train, batch=max(1, batch), length=max(1, length))


def _read(train: TrainConfig, size: Size, seconds: float | None, speed: float) -> float:
    if seconds is not None:
        return min(seconds * speed, float(PASSES * size.characters))
    ends: list[float] = []
    if train.iterations is not None:
        ends.append(float(train.iterations * train.batch * train.length))
    if train.epochs is not None:
        ends.append(train.epochs * size.characters)
    if not ends:
        raise CharloomError("nothing says how long to train: give minutes, iterations or epochs")
    return min(ends)


def _rate(train: TrainConfig, given: Collection[str], width: Width) -> TrainConfig:
    return train if "learning_rate" in given else replace(train, learning_rate=width.learning_rate)


def _finish(train: TrainConfig, given: Collection[str], read: float, size: Size) -> TrainConfig:
    """What follows from how much is read: dropout and warm-up."""
    steps = read / (train.batch * train.length)
    most, share = WARMUP
    auto = {"dropout": dropout(read / size.characters), "warmup": min(most, int(share * steps))}
    return replace(train, **{name: value for name, value in auto.items() if name not in given})


def _reasons(
    config: RunConfig, given: Collection[str], read: float, size: Size
) -> list[tuple[str, str]]:
    """A line each, in words for someone who has never trained a network."""
    model, train = config.model, config.train
    assert isinstance(model, ModelConfig)
    numbers = parameter_count(model, size.different)
    reasons = []
    if "model" not in given:
        why = "the default, because it reached a lower loss than a GRU in our tests"
        reasons.append(("cell", f"{model.cell.upper()}: {why}"))
    if "hidden" not in given:
        why = f"the widest with {READ} characters to read for each of its {numbers:,} numbers"
        if numbers * READ > read:
            why = "the smallest, for too little is read for a wider one"
        elif model.hidden < WIDTHS[-1].hidden and _too_wide(config, size):
            why = f"a wider one has more than {NUMBERS} numbers for each character of the text"
        reasons.append(("width", f"{model.hidden} units: {why}"))
    return [*reasons, *_training_reasons(train, given, read, size)]


def _training_reasons(
    train: TrainConfig, given: Collection[str], read: float, size: Size
) -> list[tuple[str, str]]:
    reasons = []
    if "dropout" not in given:
        passes = f"the text is read {times(read / size.characters)}"
        why = (
            "and must not be learned by heart" if train.dropout else "too few to learn it by heart"
        )
        reasons.append(("drop", f"{train.dropout:g} of the units: {passes}, {why}"))
    if not {"batch", "length"} & {*given}:
        reasons.append(
            (
                "steps",
                f"{train.length} characters at a time, in each of {train.batch} {train.batches}",
            )
        )
    if not {"learning_rate", "schedule"} & {*given}:
        end = f"{train.final_rate:g} of that" if train.final_rate else "0"
        rate = f"up to {train.learning_rate:g}, and along a cosine to {end} at the end"
        reasons.append(("rate", rate))
    return reasons


def _too_wide(config: RunConfig, size: Size) -> bool:
    assert isinstance(config.model, ModelConfig)
    hidden = config.model.hidden
    wider = replace(config.model, hidden=next(w.hidden for w in WIDTHS if w.hidden > hidden))
    return parameter_count(wider, size.different) > NUMBERS * size.characters


def times(passes: float) -> str:
    """How often the text is read, in words."""
    return f"{passes:.1f} times" if passes < 10 else f"{passes:,.0f} times"
