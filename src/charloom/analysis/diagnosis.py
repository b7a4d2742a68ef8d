"""What a run's folder says about how it learned, in plain language, and what to do next.

The limits are those of outlook.py, which stops runs and tells them their last sentence.
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
TOGETHER = 1.03  # held-out loss is at most so much above that in training: nothing is by heart
RISES = 0.2  # share of the looks up to the best that are above the look before: it swings
FEWEST_RISES = 2
PASSES = 1.0  # times through the text, below which there is more to read


@dataclass(frozen=True)
class Finding:
    """One thing about a run: a title, what was seen with its `figures`, and what to do.

    Losses in `figures` are nats per character. `advice` is empty where nothing is to be done.
    """

    name: str
    tone: Tone
    title: str
    text: str
    advice: str
    figures: dict[str, float]


@dataclass(frozen=True)
class _Case:
    """What the findings are made from; `read` is how often the training text was read."""

    run: Run
    model: NetworkConfig
    curve: Curve
    seen: list[Evaluation]
    read: float


def diagnose(run: Run) -> tuple[Finding, ...]:
    """Return what is worth knowing about a run, the most important first; one thing at least.

    Raises CharloomError where its files are damaged.
    """
    model = run.config.model
    if isinstance(model, NgramConfig):
        return (_counted(run, model),)
    known = curve(run)
    data = run.config.data
    learned = run.corpus.characters * (1 - data.validation - data.test)
    characters = max((point.characters or 0.0 for point in known.points), default=0.0)
    case = _Case(run, model, known, _looks(run), characters / learned)
    found = (finding(case) for finding in _FINDINGS)
    told = tuple(finding for finding in found if finding is not None)
    return told or (_unknown(case),)


def _looks(run: Run) -> list[Evaluation]:
    """The looks at held-out text, of lines that hold all that a look has."""
    numbers = {"loss", "seconds"}
    whole = [
        line
        for line in run.metrics()
        if all(isinstance(line.get(name), int | float) for name in numbers)
    ]
    return history(whole)


def _unmeasured(case: _Case) -> Finding | None:
    if case.curve.best is not None:
        return None
    return Finding(
        "unmeasured",
        "warning",
        "Nothing tells how it does on new text",
        "No held-out loss was measured on the way, so nobody can say whether it learned the "
        "language of the text or the text itself.",
        "Hold some out (--validation 0.1), or score any other text: charloom evaluate RUN FILE.",
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
        "Not at its end yet",
        f"It stands at step {last[0].step:,} of {asked.iterations:,}.",
        "charloom resume RUN goes on, to the very same bits.",
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
        "The network broke on the way",
        f"It went back to a checkpoint {count(len(setbacks), 'time')} ({places}), each time with "
        "half the learning rate.",
        f"Begin with a lower rate: --learning-rate {_half(case, len(setbacks)):.2g}"
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
        "Held-out loss has turned",
        f"It was lowest at step {best.step:,}, with {_both(best.held_out)}, and stood at "
        f"{_both(last.held_out)} at the end. What came after the best was learning by heart; the "
        "checkpoint of the best is kept, and is what sample and evaluate open.",
        f"More of such text would help most; then dropout ({_more_dropout(case)}), or a "
        "narrower model.",
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
        f"In the second half of its steps held-out loss fell by {100 * fallen:.0f}%, from "
        f"{half.held_out:.3f} to {_both(last.held_out)}.",
        f"Give it more time: {_more_time(case)}.",
        {"half": half.held_out, "last": last.held_out, "fallen": fallen},
    )


def _level(case: _Case) -> Finding:
    last = case.seen[-1]
    return Finding(
        "level",
        "good",
        "Learned out",
        f"Held-out loss has levelled off at {_both(last.held_out)}: more time alone would change "
        "little.",
        "",
        {"last": last.held_out},
    )


def _gap(case: _Case) -> Finding | None:
    """Over- or underfitting: how far held-out loss lies above that in training, at the end."""
    if not case.seen or not 0 < case.seen[-1].training < float("inf"):
        return None
    last = case.seen[-1]
    ratio = last.held_out / last.training
    figures = {"training": last.training, "held_out": last.held_out, "ratio": ratio}
    how = " (with dropout)" if case.run.config.train.dropout else ""
    losses = f"{last.training:.3f} nats on training text{how}, {last.held_out:.3f} on held-out text"
    if ratio > APART:
        return Finding(
            "overfitting",
            "warning",
            "It knows parts of the text by heart",
            f"At the end it had {losses}: {100 * (ratio - 1):.0f}% more, after reading the text "
            f"{case.read:.1f} times.",
            f"More text, more dropout ({_more_dropout(case)}), or fewer minutes.",
            figures,
        )
    if ratio < TOGETHER and trend(case.seen) == "level" and case.read > PASSES:
        return _underfitting(case, losses, figures)
    if trend(case.seen) != "risen":
        return Finding(
            "balanced",
            "good",
            "Nothing learned by heart",
            f"At the end it had {losses}: new text is about as easy for it as its own.",
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
        "Too small for the text",
        f"Both losses have levelled off, and close together: {losses}. {numbers:,} numbers hold "
        f"no more of {case.run.corpus.characters:,} characters.",
        f"A wider model{wider}, with the time that it needs.",
        figures | {"parameters": numbers, "characters": case.run.corpus.characters},
    )


def _swings(case: _Case) -> Finding | None:
    """Rises on the way to the best, as of a learning rate that is too high."""
    if not case.seen:
        return None
    way = case.seen[: case.seen.index(best_evaluation(case.seen)) + 1]
    pairs = list(pairwise(way))
    rises = [after for before, after in pairs if after.held_out > RISEN * before.held_out]
    if len(rises) < max(FEWEST_RISES, RISES * len(pairs)):
        return None
    return Finding(
        "swings",
        "advice",
        "The loss swings",
        f"On the way to the best, held-out loss rose in {len(rises)} of {len(pairs)} looks, last "
        f"at step {rises[-1].step:,}: the steps are too long for where it stands.",
        f"A lower rate (--learning-rate {_half(case):.2g}) or one that falls (--schedule cosine).",
        {"rises": len(rises), "looks": len(pairs)},
    )


def _read_little(case: _Case) -> Finding | None:
    if case.read >= PASSES or not case.curve.points:
        return None
    return Finding(
        "unread",
        "advice",
        "It has not seen all of the text",
        f"What it read is {100 * case.read:.0f}% of the training text, once.",
        f"Give it more time: {_more_time(case)}.",
        {"read": case.read},
    )


def _unknown(case: _Case) -> Finding:
    points = len(case.curve.points)
    return Finding(
        "unknown",
        "advice",
        "Too early to tell",
        f"{count(points, 'line')} of metrics, {count(len(case.seen), 'look')} at held-out text: "
        "that says nothing yet.",
        f"Give it more time: {_more_time(case)}.",
        {"looks": len(case.seen)},
    )


def _counted(run: Run, model: NgramConfig) -> Finding:
    best = curve(run).best
    figures = {"order": float(model.order)} | ({"held_out": best.held_out or 0.0} if best else {})
    loss = f", and has {_both(best.held_out)} on held-out text" if best and best.held_out else ""
    return Finding(
        "counted",
        "good",
        "Counted, not trained",
        f"An n-gram model looks back over {count(model.order - 1, 'character')}{loss}. It learns "
        "in one step, so that there is no way to look at.",
        "It is the mark that a network has to beat: charloom compare puts them side by side.",
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
