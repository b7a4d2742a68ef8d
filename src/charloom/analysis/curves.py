"""A run's metrics.jsonl and samples/ -> its learning curve, as plain rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from charloom.files import read_bytes
from charloom.formatting import printable
from charloom.runs.final import Final
from charloom.runs.metrics import Line
from charloom.runs.run import Run
from charloom.training.events import Sampled

Axis = Literal["characters", "seconds", "steps"]
Value = Literal["loss", "rate", "gradient-norm"]
MAX_SAMPLE_BYTES = 2**20


@dataclass(frozen=True)
class Point:
    """One line of metrics: losses in nats per character, and the learning rate.

    `training` is the mean over the updates since the line before. What a line lacks, or what is
    infinite, is None. `gradient_norm` is that of the last update, before clipping.
    """

    step: int
    characters: float | None = None
    seconds: float | None = None
    training: float | None = None
    held_out: float | None = None
    rate: float | None = None
    gradient_norm: float | None = None


@dataclass(frozen=True)
class Rollback:
    """A return to the checkpoint of step `to` after a divergence at step `at`."""

    at: int
    to: int


@dataclass(frozen=True)
class Curve:
    """The learning curve of one run; `name` tells it from the others beside it.

    `final` is the loss that the run ended with; None if it has not ended.
    """

    name: str
    model: str
    text: str
    points: tuple[Point, ...]
    samples: tuple[Sampled, ...]
    setbacks: tuple[Rollback, ...]
    final: Final | None = None

    @property
    def best(self) -> Point | None:
        """The point of the lowest validation loss; None if none was measured.

        Of a run that has ended its loss is that of `final`, on all of the validation text.
        """
        scored = [point for point in self.points if point.held_out is not None]
        best = min(scored, key=lambda point: point.held_out or 0.0, default=None)
        if self.final is None or not self.final.held_out or math.isinf(self.final.score.nats):
            return best
        step = self.final.best
        there = next((p for p in self.points if p.step == step), Point(step))
        return replace(there, held_out=self.final.score.nats)

    @property
    def is_level(self) -> bool:
        """Whether it is one validation loss and nothing else, as of an n-gram model."""
        return [(p.held_out is None, p.training is None) for p in self.points] == [(False, True)]

    def series(self, axis: Axis, value: str) -> tuple[list[float], list[float]]:
        """Return x and y of the points that have both: `value` is a field of Point."""
        field = "step" if axis == "steps" else axis
        pairs = [(getattr(point, field), getattr(point, value)) for point in self.points]
        known = [(x, y) for x, y in pairs if x is not None and y is not None]
        return [x for x, _ in known], [y for _, y in known]

    def place(self, axis: Axis, step: int) -> float | None:
        """Return the place of a step on the axis; None if no point at or after it was measured."""
        if axis == "steps":
            return float(step)
        xs, steps = self.series(axis, "step")
        if not steps or step > steps[-1]:
            return None
        return float(np.interp(step, [0, *steps], [0, *xs]))


def curve(run: Run, name: str | None = None) -> Curve:
    """Read the learning curve of a run; raises CharloomError if its files are damaged.

    That of an n-gram model, trained in one step, has one point.
    """
    lines = run.metrics()
    setbacks = dict.fromkeys(Rollback(s.at, s.to) for line in lines for s in line.setbacks)
    return Curve(
        name=printable(name or run.path.name or str(run.path)),
        model=run.kind,
        text=printable(run.corpus.name),
        points=tuple(_point(line) for line in lines),
        samples=tuple(
            Sampled(step, read_bytes(path, MAX_SAMPLE_BYTES).decode(errors="replace"))
            for step, path in run.samples()
        ),
        setbacks=tuple(setbacks),
        final=run.final(),
    )


def names(runs: Sequence[Run]) -> list[str]:
    """Return the shortest names that tell runs apart: of their folders, or ends of their paths."""
    folders = [run.path.resolve() for run in runs]
    for depth in range(1, max((len(folder.parts) for folder in folders), default=1) + 1):
        found = [str(Path(*folder.parts[-depth:])) for folder in folders]
        if len({*found}) == len({*folders}):
            break
    return found if runs else []


def spread(samples: Sequence[Sampled], most: int) -> list[Sampled]:
    """Return at most so many samples, from the first to the last, at about equal ratios of steps.

    They are closest at the beginning, where a model changes fastest.
    """
    if len(samples) <= most:
        return [*samples]
    logs = [math.log(sample.step + 1) for sample in samples]
    kept: list[int] = []
    for k in range(most):
        wanted = logs[0] + (logs[-1] - logs[0]) * k / (most - 1)
        low = kept[-1] + 1 if kept else 0
        high = len(samples) - (most - k)  # as many are left for those to come
        kept.append(min(range(low, high + 1), key=lambda i: abs(logs[i] - wanted)))
    return [samples[i] for i in kept]


def _point(line: Line) -> Point:
    validation = line.validation_loss
    return Point(
        step=line.step,
        characters=line.characters,
        seconds=line.seconds,
        training=line.loss,
        held_out=None if validation == math.inf else validation,
        rate=line.rate,
        gradient_norm=line.gradient_norm,
    )
