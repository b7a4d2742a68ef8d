"""What a run has come to, and what to do next: one finding, from facts.

The last lines of `train`, `runs show` and a report all give this one, so that they agree.
docs/LOG.md has the runs on which the advice was tried.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

from charloom.data.likeness import share_words
from charloom.formatting import count, duration
from charloom.training.facts import ROOM, Facts
from charloom.training.recipe import MOST_EPOCHS
from charloom.training.trend import best_evaluation, middle, trend, turned

FITS = 1.03  # times the training loss, at most: the model is too small to overfit
SOLVED = 0.01  # nats per character: there is nothing left to learn
SLOW = 0.03  # share of the loss that fell in the second half, below which more time gains little
GENTLER = 1 / 3  # of the learning rate
MOST_ROLLBACKS = 3  # of a run, each to half its learning rate
MINUTES = (0.5, 1, 3, 10, 30, 60, 180, 480)  # to suggest


Tone = Literal["good", "advice", "warning"]
TEXTS: dict[str, tuple[Tone, str, str, str]] = {  # tone, title, what was observed, what to do
    "counted": (
        "good",
        "Counted, not trained",
        "An n-gram model predicts from the last {context}, and is trained in one step.",
        "It is the baseline that a network has to beat: charloom compare shows them side by side.",
    ),
    "imported": (
        "good",
        "Trained by another program",
        "It was trained by {program}, and imported.",
        "Measure it on a text that it has not learned: charloom evaluate RUN FILE.",
    ),
    "stopped": (
        "warning",
        "Not finished",
        "Training was stopped at step {step:,}{of}.",
        "Continue with charloom resume RUN: the result is the same as if it had never stopped.",
    ),
    "stopped-past-best": (
        "good",
        "Stopped after its best",
        "The validation loss was lowest at step {best_step:,}, {best}, and training was stopped at "
        "{last}.",
        "Resuming would not help: sample and evaluate use the best checkpoint.",
    ),
    "setbacks": (
        "warning",
        "Training diverged",
        "Training diverged and returned to a checkpoint {times} ({places}), each time with half "
        "the learning rate.",
        "Train again with a lower one: --learning-rate {slower:.2g}.",
    ),
    "unmeasured": (
        "warning",
        "No validation loss",
        "Nothing was held out, so learning cannot be told from memorising.",
        "Hold some text out (--validation 0.1), or score another: charloom evaluate RUN FILE.",
    ),
    "too-little-text": (
        "warning",
        "No validation loss",
        "Nothing could be held out of {characters}, so learning cannot be told from memorising.",
        "Give it more text of this kind.",
    ),
    "repeated": (
        "warning",
        "Validation part seen in training",
        "{Share} of the validation part is in the training part word for word, so its loss "
        "measures memory more than prediction.",
        "Remove what is there twice, and train again.",
    ),
    "no-curve": (
        "advice",
        "No validation loss during training",
        "The validation loss was not measured during training, so whether more time would help is "
        "not known.",
        "Leave out --evaluate-every 0.",
    ),
    "solved": (
        "good",
        "Nothing left to learn",
        "The validation part is predicted almost without error.",
        "If that is a surprise, check whether it repeats the training text.",
    ),
    "unlike": (
        "warning",
        "Validation part unlike the rest",
        "The validation part is unlike the rest of the text, so its loss says little about that.",
        "{otherwise}.",
    ),
    "tuned-too-far": (
        "warning",
        "Past its best",
        "The validation loss was lowest at step {best_step:,}, {best}, and rose to {last}. Sample "
        "and evaluate use the best checkpoint.",
        "Learn more slowly: --learning-rate {gentler:.2g}.",
    ),
    "beaten": (
        "warning",
        "Counting does better",
        "An n-gram model predicts this text better, and more time would not change that.",
        "Use one (--model ngram), or give more text of this kind.",
    ),
    "turned": (
        "warning",
        "Past its best",
        "The validation loss was lowest at step {best_step:,}, {best}, and rose to {last}: the "
        "model began to memorise the text. Sample and evaluate use the best checkpoint.",
        "More text of this kind would help most.",
    ),
    "used-up": (
        "advice",
        "About what the text allows",
        "This is about what the text allows: it was read {read:.0f} times in {used}, and in many "
        "more a model would memorise it.",
        "More text of this kind would help most.",
    ),
    "improving": (
        "advice",
        "Still improving",
        "Still improving: in the second half of training the validation loss fell by {fallen:.0%}.",
        "Give it more time: {more}.",
    ),
    "improving-beaten": (
        "advice",
        "Still improving",
        "Still improving: in the second half of training the validation loss fell by {fallen:.0%}, "
        "though an n-gram model still predicts better.",
        "Give it more time: {more}.",
    ),
    "slow": (
        "advice",
        "Improving slowly",
        "Still improving, but slowly: the validation loss fell by {fallen:.0%} in the second half "
        "of training, which took {late}.",
        "More time would gain a little more: {more}.",
    ),
    "exhausted": (
        "advice",
        "About what the text allows",
        "This is about what the text allows: it was read {read:.0f} times, and in the second half "
        "of that, which took {late}, the validation loss fell by only {fallen:.0%}.",
        "More text of this kind would help more than more time.",
    ),
    "unread": (
        "advice",
        "Less than one epoch",
        "It has read {read:.0%} of the training text.",
        "Give it more time: {more}.",
    ),
    "overfitting": (
        "good",
        "As good as this text allows",
        "The validation loss is level, {apart:.0%} above the training loss: more time would "
        "change little.",
        "More text of this kind would help most.",
    ),
    "underfitting": (
        "advice",
        "The model is small for this text",
        "The validation loss is level, and hardly above the training loss: more time alone would "
        "change little.",
        "Give it a larger model, and more time: {larger} {anew}.",
    ),
    "level": (
        "good",
        "Converged",
        "The validation loss is level: more time would change little.",
        "",
    ),
    "unknown": (
        "advice",
        "Too early to tell",
        "The validation loss was measured too rarely to tell how it will go on: {evaluations}.",
        "Give it more time: {more}.",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One finding on a run: a title, what was observed, and what to do.

    `advice` is empty if nothing is to be done. `resume` are the minutes to resume the run for, if
    it asks for more of them; else None.
    """

    name: str
    tone: Tone
    title: str
    text: str
    advice: str
    resume: float | None = None

    def __str__(self) -> str:
        return f"{self.text} {self.advice}".rstrip()


def advise(facts: Facts) -> Finding:
    """Return what a run has come to, and what to do next."""
    name = _name(facts)
    tone, title, text, advice = TEXTS[name]
    words = _words(facts)
    resume = _missing(facts) if "{more}" in advice else None
    return Finding(name, tone, title, text.format(**words), advice.format(**words), resume)


def _name(facts: Facts) -> str:
    """Return the key of TEXTS that the facts lead to: what rules out the rest comes first."""
    seen = facts.seen
    state = "risen" if turned(seen) else trend(seen)
    if facts.program:
        return "imported"
    if facts.order:
        return "repeated" if facts.repeated else "counted"
    if not facts.finished and len(facts.setbacks) < MOST_ROLLBACKS:
        return "stopped-past-best" if state == "risen" and not facts.repeated else "stopped"
    if facts.setbacks:
        return "setbacks"
    if facts.held_out == 0:
        return "too-little-text"
    if facts.held_out is None:
        return "unmeasured"
    if facts.repeated:
        return "repeated"
    if facts.loss is not None and facts.loss < SOLVED:
        return "solved"
    if not seen:
        return "no-curve"
    improving = state == "improving" and not facts.used_up
    if improving and facts.fallen >= SLOW:
        return "improving-beaten" if facts.behind > 0 else "improving"
    if facts.otherwise:
        return "unlike"
    if improving:
        return _slow(facts)
    if state is None and not facts.used_up:
        return "unknown"
    if facts.read < 1 and not facts.used_up:
        return "unread"
    if state == "risen" and facts.fine_tuned:
        return "tuned-too-far"
    if facts.behind > 0:
        return "beaten"
    if state == "risen":
        return "turned"
    if facts.used_up and state != "level":
        return "used-up"
    return _level(facts)


def _slow(facts: Facts) -> str:
    """Tell whether a loss that still falls, but slowly, is worth more time."""
    if facts.behind > 0:  # by more than a second half like this one gains
        return "beaten" if facts.behind > facts.fallen else "improving-beaten"
    return "exhausted" if ROOM * facts.read > MOST_EPOCHS else "slow"


def _level(facts: Facts) -> str:
    """Tell by the training loss what keeps the validation loss from falling."""
    last = facts.seen[-1]
    if not 0 < last.training < math.inf:
        return "level"
    if facts.overfits:
        return "overfitting"
    small = last.validation < FITS * last.training
    return "underfitting" if small and facts.larger else "level"


def _words(facts: Facts) -> dict[str, Any]:
    """Return what the sentences of TEXTS are filled with."""
    words: dict[str, Any] = {
        "program": facts.program,
        "context": count(facts.order - 1, "character"),
        "step": facts.step,
        "of": f" of {facts.iterations:,}" if facts.iterations and not facts.minutes else "",
        "times": count(len(facts.setbacks), "time"),
        "places": ", ".join(f"from step {at:,} to {to:,}" for at, to in facts.setbacks),
        "slower": facts.rate * 0.5 ** len(facts.setbacks),
        "gentler": facts.rate * GENTLER,
        "characters": count(facts.characters, "character"),
        "used": duration(60 * facts.used),
        "read": facts.read,
        "more": _more(facts),
        "anew": _anew(facts),
        "Share": share_words(facts.repeated).capitalize(),
        "larger": facts.larger,
        "otherwise": facts.otherwise[:1].upper() + facts.otherwise[1:],
        "evaluations": count(len(facts.seen), "evaluation"),
    }
    if facts.seen:
        best, half, last = best_evaluation(facts.seen), middle(facts.seen), facts.seen[-1]
        words |= {
            "best_step": best.step,
            "best": f"{best.validation:.3f} nats",
            "last": f"{last.validation:.3f} nats",
            "fallen": facts.fallen,
            "late": duration(60 * (last.minutes - half.minutes)),
            "apart": last.validation / (last.training or math.nan) - 1,
        }
    return words


def _more(facts: Facts) -> str:
    """Return how to train for longer: the option of a new run, or if it was resumed, that again."""
    if facts.resumed and facts.minutes is not None:  # a config.json may have been edited
        return f"charloom resume RUN --minutes {_missing(facts):g}"
    return _anew(facts)


def _missing(facts: Facts) -> float | None:
    """Return the minutes that make it so much longer, more than it has had; None without them."""
    if facts.minutes is None:
        return None
    return float(f"{_minutes(facts.minutes) - facts.minutes:.2g}")


def _minutes(had: float) -> float:
    """Return minutes to suggest, at least twice as many."""
    return next((m for m in MINUTES if m >= 2 * had), 2 * had)


def _anew(facts: Facts) -> str:
    """Return the option that makes a run longer, at least twice as long."""
    if facts.minutes is not None:
        return f"--minutes {_minutes(facts.minutes):g}"
    if facts.iterations is None and facts.epochs is not None:
        return f"--epochs {2 * facts.epochs:g}"
    return f"--iterations {2 * max(facts.step, facts.iterations or 0)}"
