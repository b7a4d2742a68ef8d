"""A run's metrics -> findings on how it learned, in plain language, and what to do next.

The limits are those of `training.trend`, by which runs are stopped, too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from charloom.analysis.curves import Curve, curve
from charloom.config import ModelConfig, NetworkConfig, NgramConfig
from charloom.formatting import LN2, count
from charloom.models.weights import parameter_count
from charloom.runs.run import Run
from charloom.training.trend import (
    APART,
    RISEN,
    Evaluation,
    best_evaluation,
    history,
    longer,
    trend,
)

Tone = Literal["good", "advice", "warning"]
UNDERFITTING_RATIO = 1.03  # of validation to training loss, at most
UNSTABLE_SHARE = 0.2  # of evaluations up to the best one with a higher loss than the one before
MIN_RISES = 2  # of an unstable loss
MIN_EPOCHS = 1.0  # below, there is more to read


@dataclass(frozen=True)
class Finding:
    """One finding on a run: a title, what was observed with its `figures`, and what to do.

    Losses in `figures` are nats per character. `advice` is empty if nothing is to be done.
    """

    name: str
    tone: Tone
    title: str
    text: str
    advice: str
    figures: dict[str, float]


@dataclass(frozen=True)
class _Case:
    """What the findings are made from; `epochs` is how often the training text was read."""

    run: Run
    model: NetworkConfig
    curve: Curve
    seen: list[Evaluation]
    epochs: float


def diagnose(run: Run) -> tuple[Finding, ...]:
    """Return findings on a run, the most important first; at least one.

    Raises CharloomError if its files are damaged.
    """
    model = run.config.model
    if isinstance(model, NgramConfig):
        return (_counted(run, model),)
    known = curve(run)
    data = run.config.data
    learned = run.corpus.characters * (1 - data.validation - data.test)
    characters = max((point.characters or 0.0 for point in known.points), default=0.0)
    case = _Case(run, model, known, _evaluations(run), characters / learned)
    found = (finding(case) for finding in _FINDINGS)
    told = tuple(finding for finding in found if finding is not None)
    return told or (_unknown(case),)


def _evaluations(run: Run) -> list[Evaluation]:
    """Return the evaluations in the lines of metrics that are complete."""
    numbers = ("loss", "seconds")
    lines = run.metrics()
    return history(ln for ln in lines if all(isinstance(ln.get(n), int | float) for n in numbers))


def _unmeasured(case: _Case) -> Finding | None:
    if case.curve.best is not None:
        return None
    return Finding(
        "unmeasured",
        "warning",
        "No validation loss",
        "No validation loss was measured, so that overfitting cannot be told from learning.",
        "Hold some text out (--validation 0.1), or score another one: charloom evaluate RUN FILE.",
        {},
    )


def _stopped(case: _Case) -> Finding | None:
    asked, last = case.run.config.train, case.curve.points[-1:]
    if not last or asked.minutes is not None or asked.iterations is None:
        return None
    if last[0].step >= asked.iterations:
        return None
    return Finding(
        "stopped",
        "warning",
        "Stopped early",
        f"Training stopped at step {last[0].step:,} of {asked.iterations:,}.",
        "Continue with charloom resume RUN: the result is the same as if it had never stopped.",
        {"step": last[0].step, "iterations": asked.iterations},
    )


def _setbacks(case: _Case) -> Finding | None:
    setbacks = case.curve.setbacks
    if not setbacks:
        return None
    places = ", ".join(f"from step {s.at:,} to {s.to:,}" for s in setbacks)
    return Finding(
        "setbacks",
        "warning",
        "Training diverged",
        f"It returned to a checkpoint {count(len(setbacks), 'time')} ({places}), each time with "
        "half the learning rate.",
        f"Start with a lower learning rate: --learning-rate {_half(case, len(setbacks)):.2g}"
        + (", or --clip-norm 1." if case.run.config.train.clip_norm is None else "."),
        {"setbacks": len(setbacks)},
    )


def _trend(case: _Case) -> Finding | None:
    state = trend(case.seen)
    if state is None:
        return None
    return {"risen": _turned, "improving": _improving, "level": _level}[state](case)


def _turned(case: _Case) -> Finding:
    best, last = best_evaluation(case.seen), case.seen[-1]
    return Finding(
        "turned",
        "warning",
        "Validation loss is rising",
        f"It was lowest at step {best.step:,}, {_both(best.held_out)}, and ended at "
        f"{_both(last.held_out)}. Since then the model has been overfitting. The best checkpoint "
        "is kept; sample and evaluate use it.",
        f"More text like this helps most; then dropout ({_more_dropout(case)}), or a smaller "
        "model.",
        {"best": best.held_out, "best_step": best.step, "last": last.held_out},
    )


def _improving(case: _Case) -> Finding:
    last = case.seen[-1]
    half = min(case.seen, key=lambda look: abs(look.step - last.step / 2))
    fallen = 1 - last.held_out / half.held_out
    return Finding(
        "improving",
        "advice",
        "Still improving",
        f"In the second half of training, validation loss fell by {100 * fallen:.0f}%, from "
        f"{half.held_out:.3f} to {_both(last.held_out)}.",
        f"Train for longer: {_more_time(case)}.",
        {"half": half.held_out, "last": last.held_out, "fallen": fallen},
    )


def _level(case: _Case) -> Finding:
    last = case.seen[-1]
    return Finding(
        "level",
        "good",
        "Converged",
        f"Validation loss has levelled off at {_both(last.held_out)}: more training would change "
        "little.",
        "",
        {"last": last.held_out},
    )


def _gap(case: _Case) -> Finding | None:
    """Tell overfitting and underfitting by the final validation loss over the training loss."""
    if not case.seen or not 0 < case.seen[-1].training < float("inf"):
        return None
    last = case.seen[-1]
    ratio = last.held_out / last.training
    figures = {"training": last.training, "held_out": last.held_out, "ratio": ratio}
    how = " (with dropout)" if case.run.config.train.dropout else ""
    losses = (
        f"training loss {last.training:.3f} nats{how}, validation loss {last.held_out:.3f} nats"
    )
    if ratio > APART:
        return Finding(
            "overfitting",
            "warning",
            "Overfitting",
            f"Final {losses}: {100 * (ratio - 1):.0f}% more, after {case.epochs:.1f} epochs. The "
            "model has memorised parts of the text.",
            f"More text, more dropout ({_more_dropout(case)}), or less training.",
            figures,
        )
    if ratio < UNDERFITTING_RATIO and trend(case.seen) == "level" and case.epochs > MIN_EPOCHS:
        return _underfitting(case, losses, figures)
    if trend(case.seen) != "risen":
        return Finding(
            "balanced",
            "good",
            "No overfitting",
            f"Final {losses}: the model predicts new text about as well as its training text.",
            "",
            figures,
        )
    return None


def _underfitting(case: _Case, losses: str, figures: dict[str, float]) -> Finding:
    numbers = parameter_count(case.model, len(case.run.vocabulary))
    wider = f" (--hidden {2 * case.model.hidden})" if isinstance(case.model, ModelConfig) else ""
    return Finding(
        "underfitting",
        "advice",
        "Underfitting",
        f"Both losses have levelled off close to each other: {losses}. {numbers:,} parameters are "
        f"too few for {case.run.corpus.characters:,} characters.",
        f"A larger model{wider}, trained for longer.",
        figures | {"parameters": numbers, "characters": case.run.corpus.characters},
    )


def _swings(case: _Case) -> Finding | None:
    """Count rises of the loss before the best one, as from too high a learning rate."""
    if not case.seen:
        return None
    way = case.seen[: case.seen.index(best_evaluation(case.seen)) + 1]
    pairs = list(pairwise(way))
    rises = [after for before, after in pairs if after.held_out > RISEN * before.held_out]
    if len(rises) < max(MIN_RISES, UNSTABLE_SHARE * len(pairs)):
        return None
    return Finding(
        "swings",
        "advice",
        "Unstable loss",
        f"Before its best, validation loss rose in {len(rises)} of {len(pairs)} evaluations, last "
        f"at step {rises[-1].step:,}: the learning rate is too high.",
        f"A lower one (--learning-rate {_half(case):.2g}) or one that decays (--schedule cosine).",
        {"rises": len(rises), "looks": len(pairs)},
    )


def _read_little(case: _Case) -> Finding | None:
    if case.epochs >= MIN_EPOCHS or not case.curve.points:
        return None
    return Finding(
        "unread",
        "advice",
        "Less than one epoch",
        f"It has read {100 * case.epochs:.0f}% of the training text.",
        f"Train for longer: {_more_time(case)}.",
        {"read": case.epochs},
    )


def _unknown(case: _Case) -> Finding:
    points = len(case.curve.points)
    return Finding(
        "unknown",
        "advice",
        "Too early to tell",
        f"{count(points, 'line')} of metrics and {count(len(case.seen), 'evaluation')} are too "
        "few.",
        f"Train for longer: {_more_time(case)}.",
        {"looks": len(case.seen)},
    )


def _counted(run: Run, model: NgramConfig) -> Finding:
    best = curve(run).best
    figures = {"order": float(model.order)} | ({"held_out": best.held_out or 0.0} if best else {})
    loss = f" and has a validation loss of {_both(best.held_out)}" if best and best.held_out else ""
    return Finding(
        "counted",
        "good",
        "Counted, not trained",
        f"An n-gram model predicts from the last {count(model.order - 1, 'character')}{loss}. It "
        "is trained in one step and has no curve.",
        "It is the baseline for a network: charloom compare shows them side by side.",
        figures,
    )


_FINDINGS: tuple[Callable[[_Case], Finding | None], ...] = (
    _unmeasured,
    _stopped,
    _setbacks,
    _trend,
    _gap,
    _swings,
    _read_little,
)


def _more_time(case: _Case) -> str:
    train = case.run.config.train
    if train.minutes is not None:
        return f"--minutes {longer(train.minutes):g}"
    last = case.curve.points[-1].step if case.curve.points else 1000
    return f"--iterations {2 * max(last, train.iterations or 0)}"


def _more_dropout(case: _Case) -> str:
    dropout = case.run.config.train.dropout
    return f"--dropout {min(0.6, max(0.2, dropout + 0.15)):.2g}"


def _half(case: _Case, times: int = 1) -> float:
    return case.run.config.train.learning_rate * 0.5**times


def _both(nats: float) -> str:
    return f"{nats:.3f} nats ({nats / LN2:.3f} bits) per character"
