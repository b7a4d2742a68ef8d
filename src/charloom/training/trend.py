"""What the losses of a run say: whether to stop it, and what to do next time."""

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

from charloom.runs.metrics import Line

EVALS_ABOVE = 4  # in a row, after which more training will not help
ABOVE = 1.02  # times the best validation loss, at least, in each of them
RISEN = 1.01  # times the best: the last validation loss has risen
FEWEST_EVALS = 4  # tell something
IMPROVING = 0.015  # share of the loss that fell in the second half: it would go on falling
APART = 1.1  # times the training loss: the model overfits
MINUTES = (0.5, 1, 3, 10, 30, 60, 180, 480)  # to suggest

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


def turned(seen: list[Evaluation]) -> bool:
    """Whether the validation loss is well above its best, evaluation after evaluation."""
    if len(seen) <= EVALS_ABOVE:
        return False
    best, last = best_evaluation(seen), seen[-EVALS_ABOVE:]
    return all(one.step > best.step and one.validation > ABOVE * best.validation for one in last)


def trend(seen: list[Evaluation]) -> Trend | None:
    """Say whether the validation loss has risen, improves or is level; None if that is unclear."""
    if len(seen) < FEWEST_EVALS or math.isinf(seen[-1].validation):
        return None
    if seen[-1].validation > RISEN * best_evaluation(seen).validation:
        return "risen"
    last = seen[-1]  # of the second half: the end is flat if the learning rate goes to 0
    middle = min(seen, key=lambda one: abs(one.step - last.step / 2))
    return "improving" if 1 - last.validation / middle.validation > IMPROVING else "level"


def outlook(seen: list[Evaluation], minutes: float) -> str | None:
    """Return in a sentence or two what a run of so many minutes has come to."""
    match trend(seen):
        case None:
            return None
        case "risen":
            best = best_evaluation(seen)
            early = best.minutes < 0.1
            since = f"second {60 * best.minutes:.0f}" if early else f"minute {best.minutes:.1f}"
            return (
                f"The validation loss has risen since {since}: the text is small for this model. "
                "More text of this kind would help most."
            )
        case "improving":
            return f"Still improving: give it more time, --minutes {longer(minutes):g}."
        case "level":
            last = seen[-1]
            apart = last.validation > APART * last.training
            cure = "more text of this kind" if apart else "a larger model"
            return f"The validation loss is level: more time would change little, {cure} might."


def longer(minutes: float) -> float:
    """Return minutes to suggest, at least twice as many."""
    return next((time for time in MINUTES if time >= 2 * minutes), 2 * minutes)


def best_evaluation(seen: list[Evaluation]) -> Evaluation:
    """Return the evaluation with the lowest validation loss; there must be one."""
    return min(seen, key=lambda one: one.validation)
