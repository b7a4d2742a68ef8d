"""What the losses of a run say: whether they still fall, and whether to stop it."""

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from charloom.runs.metrics import Line

EVALS_ABOVE = 4  # in a row, after which more training will not help
ABOVE = 1.02  # times the best validation loss, at least, in each of them
RISEN = 1.01  # times the best: the last validation loss has risen
FEWEST_EVALS = 4  # tell something
IMPROVING = 0.015  # share of the loss that fell in the second half: it would go on falling
LATE = 0.85  # of the updates, from which on a best loss is that of the end

Trend = Literal["risen", "improving", "level"]


class Evaluation(NamedTuple):
    """One evaluation, after `step` updates and `minutes`: losses in nats per character.

    `training` is the mean over the updates since the evaluation before.
    """

    step: int
    minutes: float
    validation: float
    training: float


def history(metrics: Iterable[Line]) -> list[Evaluation]:
    """Return the evaluations that the lines of metrics.jsonl tell of."""
    found: list[Evaluation] = []
    losses: list[float] = []
    for line in metrics:
        losses += [] if line.loss is None else [line.loss]
        if (nats := line.validation_loss) is not None:
            training = sum(losses) / len(losses) if losses else math.nan
            found.append(Evaluation(line.step, (line.seconds or 0.0) / 60, nats, training))
            losses = []
    return found


def turned(seen: Sequence[Evaluation]) -> bool:
    """Whether the validation loss is well above its best, evaluation after evaluation."""
    if len(seen) <= EVALS_ABOVE:
        return False
    best, last = best_evaluation(seen), seen[-EVALS_ABOVE:]
    return all(one.step > best.step and one.validation > ABOVE * best.validation for one in last)


def trend(seen: Sequence[Evaluation]) -> Trend | None:
    """Say whether the validation loss has risen, improves or is level; None if that is unclear."""
    if len(seen) < FEWEST_EVALS or math.isinf(seen[-1].validation):
        return None
    best, last = best_evaluation(seen), seen[-1]
    if last.validation > RISEN * best.validation:
        return "risen"
    if best.step < LATE * last.step:  # it was left behind
        return "level"
    # since the middle: the end is flat if the learning rate goes to 0
    return "improving" if 1 - last.validation / middle(seen).validation > IMPROVING else "level"


def middle(seen: Sequence[Evaluation]) -> Evaluation:
    """Return the evaluation nearest to half of the updates; there must be one."""
    return min(seen, key=lambda one: abs(one.step - seen[-1].step / 2))


def best_evaluation(seen: Sequence[Evaluation]) -> Evaluation:
    """Return the evaluation with the lowest validation loss; there must be one."""
    return min(seen, key=lambda one: one.validation)
