"""A run's metrics -> findings on how it learned, in plain language, and what to do next.

The limits are those of `training.trend`, by which runs are stopped, too.
"""

import math
from collections.abc import Iterator, Mapping
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
TEXTS: dict[str, tuple[Tone, str, str, str]] = {  # tone, title, what was observed, what to do
    "unmeasured": (
        "warning",
        "No validation loss",
        "No validation loss was measured, so that overfitting cannot be told from learning.",
        "Hold some text out (--validation 0.1), or score another one: charloom evaluate RUN FILE.",
    ),
    "stopped": (
        "warning",
        "Stopped early",
        "Training stopped at step {step:,} of {iterations:,}.",
        "Continue with charloom resume RUN: the result is the same as if it had never stopped.",
    ),
    "setbacks": (
        "warning",
        "Training diverged",
        "It returned to a checkpoint {times} ({places}), each time with half the learning rate.",
        "Start with a lower learning rate: --learning-rate {rate:.2g}{clip}.",
    ),
    "turned": (
        "warning",
        "Validation loss is rising",
        "It was lowest at step {best_step:,}, {best_loss}, and ended at {last_loss}. Since then "
        "the model has been overfitting. The best checkpoint is kept; sample and evaluate use it.",
        "More text like this helps most; then dropout ({more_dropout}), or a smaller model.",
    ),
    "improving": (
        "advice",
        "Still improving",
        "In the second half of training, validation loss fell by {fallen:.0%}, from {half:.3f} to "
        "{last_loss}.",
        "Train for longer: {more_time}.",
    ),
    "level": (
        "good",
        "Converged",
        "Validation loss has levelled off at {last_loss}: more training would change little.",
        "",
    ),
    "overfitting": (
        "warning",
        "Overfitting",
        "Final {losses}: {more:.0%} more, after {epochs:.1f} epochs. The model has memorised parts "
        "of the text.",
        "More text, more dropout ({more_dropout}), or less training.",
    ),
    "underfitting": (
        "advice",
        "Underfitting",
        "Both losses have levelled off close to each other: {losses}. {parameters:,} parameters "
        "are too few for {characters:,} characters.",
        "A larger model{wider}, trained for longer.",
    ),
    "balanced": (
        "good",
        "No overfitting",
        "Final {losses}: the model predicts new text about as well as its training text.",
        "",
    ),
    "swings": (
        "advice",
        "Unstable loss",
        "Before its best, validation loss rose in {rises} of {looks} evaluations, last at step "
        "{step:,}: the learning rate is too high.",
        "A lower one (--learning-rate {rate:.2g}) or one that decays (--schedule cosine).",
    ),
    "unread": (
        "advice",
        "Less than one epoch",
        "It has read {read:.0%} of the training text.",
        "Train for longer: {more_time}.",
    ),
    "unknown": (
        "advice",
        "Too early to tell",
        "{lines} of metrics and {evaluations} are too few.",
        "Train for longer: {more_time}.",
    ),
    "counted": (
        "good",
        "Counted, not trained",
        "An n-gram model predicts from the last {context}{loss}. It is trained in one step and "
        "has no curve.",
        "It is the baseline for a network: charloom compare shows them side by side.",
    ),
}


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

    def finding(self, name: str, words: Mapping[str, object] = {}, **figures: float) -> Finding:
        train, points = self.run.config.train, self.curve.points
        if train.minutes is not None:
            more_time = f"--minutes {longer(train.minutes):g}"
        else:
            last = points[-1].step if points else 1000
            more_time = f"--iterations {2 * max(last, train.iterations or 0)}"
        dropout = min(0.6, max(0.2, train.dropout + 0.15))
        common = {"more_time": more_time, "more_dropout": f"--dropout {dropout:.2g}"}
        return _finding(name, common | dict(words), figures)


def diagnose(run: Run) -> tuple[Finding, ...]:
    """Return findings on a run, the most important first; at least one.

    Raises CharloomError if its files are damaged.
    """
    model = run.config.model
    known = curve(run)
    if isinstance(model, NgramConfig):
        return (_counted(known, model),)
    data = run.config.data
    learned = run.corpus.characters * (1 - data.validation - data.test)
    characters = max((point.characters or 0.0 for point in known.points), default=0.0)
    case = _Case(run, model, known, history(run.metrics()), characters / learned)
    return tuple(_findings(case)) or (
        case.finding(
            "unknown",
            {
                "lines": count(len(known.points), "line"),
                "evaluations": count(len(case.seen), "evaluation"),
            },
            looks=len(case.seen),
        ),
    )


def _findings(case: _Case) -> Iterator[Finding]:
    train, points, rollbacks = case.run.config.train, case.curve.points, case.curve.setbacks
    if case.curve.best is None:
        yield case.finding("unmeasured")
    asked = train.iterations if train.minutes is None else None
    if points and asked is not None and points[-1].step < asked:
        yield case.finding("stopped", step=points[-1].step, iterations=asked)
    if rollbacks:
        words = {
            "times": count(len(rollbacks), "time"),
            "places": ", ".join(f"from step {r.at:,} to {r.to:,}" for r in rollbacks),
            "rate": train.learning_rate * 0.5 ** len(rollbacks),
            "clip": ", or --clip-norm 1" if train.clip_norm is None else "",
        }
        yield case.finding("setbacks", words, setbacks=len(rollbacks))
    if case.seen:
        yield from _trend(case)
        yield from _gap(case)
        yield from _rises(case)
    if points and case.epochs < MIN_EPOCHS:
        yield case.finding("unread", read=case.epochs)


def _trend(case: _Case) -> Iterator[Finding]:
    best, last = best_evaluation(case.seen), case.seen[-1]
    words = {"best_loss": _loss(best.validation), "last_loss": _loss(last.validation)}
    match trend(case.seen):
        case "risen":
            figures = {"best": best.validation, "best_step": best.step, "last": last.validation}
            yield case.finding("turned", words, **figures)
        case "improving":
            half = min(case.seen, key=lambda seen: abs(seen.step - last.step / 2)).validation
            fallen = 1 - last.validation / half
            yield case.finding("improving", words, half=half, last=last.validation, fallen=fallen)
        case "level":
            yield case.finding("level", words, last=last.validation)


def _gap(case: _Case) -> Iterator[Finding]:
    """Tell overfitting and underfitting by the final validation loss over the training loss."""
    last, state = case.seen[-1], trend(case.seen)
    if not 0 < last.training < math.inf:
        return
    ratio = last.validation / last.training
    figures = {"training": last.training, "held_out": last.validation, "ratio": ratio}
    how = " (with dropout)" if case.run.config.train.dropout else ""
    words: dict[str, object] = {
        "losses": f"training loss {last.training:.3f} nats{how}, validation loss "
        f"{last.validation:.3f} nats"
    }
    if ratio > APART:
        words |= {"more": ratio - 1, "epochs": case.epochs}
        yield case.finding("overfitting", words, **figures)
    elif ratio < UNDERFITTING_RATIO and state == "level" and case.epochs > MIN_EPOCHS:
        model = case.model
        hidden = f" (--hidden {2 * model.hidden})" if isinstance(model, ModelConfig) else ""
        words["wider"] = hidden
        figures["parameters"] = parameter_count(case.model, len(case.run.vocabulary))
        figures["characters"] = case.run.corpus.characters
        yield case.finding("underfitting", words, **figures)
    elif state != "risen":
        yield case.finding("balanced", words, **figures)


def _rises(case: _Case) -> Iterator[Finding]:
    """Count rises of the loss before the best one, as from too high a learning rate."""
    before_best = case.seen[: case.seen.index(best_evaluation(case.seen)) + 1]
    pairs = list(pairwise(before_best))
    rises = [after for before, after in pairs if after.validation > RISEN * before.validation]
    if len(rises) >= max(MIN_RISES, UNSTABLE_SHARE * len(pairs)):
        words = {"step": rises[-1].step, "rate": case.run.config.train.learning_rate / 2}
        yield case.finding("swings", words, rises=len(rises), looks=len(pairs))


def _counted(known: Curve, model: NgramConfig) -> Finding:
    best = known.best
    figures, loss = {"order": float(model.order)}, ""
    if best is not None and best.held_out is not None:
        figures["held_out"] = best.held_out
        loss = f" and has a validation loss of {_loss(best.held_out)}"
    context = count(model.order - 1, "character")
    return _finding("counted", {"context": context, "loss": loss}, figures)


def _finding(name: str, words: Mapping[str, object], figures: dict[str, float]) -> Finding:
    tone, title, text, advice = TEXTS[name]
    values = {**figures, **words}
    return Finding(name, tone, title, text.format(**values), advice.format(**values), figures)


def _loss(nats: float) -> str:
    return f"{nats:.3f} nats ({nats / LN2:.3f} bits) per character"
