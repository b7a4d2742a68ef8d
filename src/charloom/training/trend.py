"""What the losses on the way say about a run: whether to stop, and what to do next time."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

PATIENCE = 4  # looks in a row above the best, after which more training will not help
ABOVE = 1.02  # ... each of them by so much
RISEN = 1.01  # the last look is so much above the best: it has risen
FEWEST = 4  # looks that tell something
IMPROVING = 0.015  # share of the loss that went in the second half: it would go on falling
APART = 1.1  # held-out loss is so much above that in training: the text is known too well
TIMES = (0.5, 1, 3, 10, 30, 60, 180, 480)  # minutes to suggest

Trend = Literal["risen", "improving", "level"]


class Evaluation(NamedTuple):
    """One evaluation, after `step` updates and `minutes`: losses in nats per character.

    `training` is the mean over the updates since the look before.
    """

    step: int
    minutes: float
    held_out: float
    training: float


def history(metrics: Iterable[Mapping[str, Any]]) -> list[Evaluation]:
    """Return the evaluations that the lines of metrics.jsonl tell of."""
    found: list[Evaluation] = []
    losses: list[float] = []
    for line in metrics:
        losses.append(line["loss"])
        if "validation" in line:
            nats = math.inf if line["validation"] is None else line["validation"]
            found.append(
                Evaluation(line["step"], line["seconds"] / 60, nats, sum(losses) / len(losses))
            )
            losses = []
    return found


def turned(seen: list[Evaluation]) -> bool:
    """Whether held-out loss has clearly turned: it is well above its best, again and again."""
    if not seen:
        return False
    best = _best(seen)
    after = [look.held_out for look in seen[best + 1 :][-PATIENCE:]]
    return len(after) == PATIENCE and min(after) > ABOVE * seen[best].held_out


def trend(seen: list[Evaluation]) -> Trend | None:
    """Say what held-out loss has come to: risen, improving or level; None where too few looked."""
    if len(seen) < FEWEST or math.isinf(seen[-1].held_out):
        return None
    if seen[-1].held_out > RISEN * best_evaluation(seen).held_out:
        return "risen"
    return "improving" if _gain(seen) > IMPROVING else "level"


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
                f"Held-out loss has risen since {since}: the text is small for this model. "
                "More of such text would help most."
            )
        case "improving":
            return f"Still improving: give it more time, --minutes {longer(minutes):g}."
        case "level":
            last = seen[-1]
            apart = last.held_out > APART * last.training
            cure = "more of such text" if apart else "a wider model"
            return f"Held-out loss has levelled off: more time would change little, {cure} might."


def longer(minutes: float) -> float:
    """Return minutes to suggest, at least twice as many."""
    return next((time for time in TIMES if time >= 2 * minutes), 2 * minutes)


def best_evaluation(seen: list[Evaluation]) -> Evaluation:
    """Return the look with the lowest held-out loss; there must be one."""
    return seen[_best(seen)]


def _best(seen: list[Evaluation]) -> int:
    return min(range(len(seen)), key=lambda i: seen[i].held_out)


def _gain(seen: list[Evaluation]) -> float:
    """The share by which held-out loss fell in the second half of the updates.

    Not less: the end is flat in any run whose learning rate goes to 0.
    """
    last = seen[-1]
    then = min(seen, key=lambda look: abs(look.step - last.step / 2))
    return 1 - last.held_out / then.held_out
