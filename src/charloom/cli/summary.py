"""The lines before and after training: what is trained and why so, and how it ended."""

import shlex
from collections.abc import Sequence

from charloom.cli.text import alphabet, labelled, loss_words, sized, wrapped
from charloom.config import NgramConfig
from charloom.data.split import held_out_words
from charloom.evaluation import Score
from charloom.formatting import count, duration, nats_and_bits, printable
from charloom.runs.final import Counted
from charloom.training.events import Finished, Started
from charloom.training.scoring import suggested

INDENT = "    "
MEAN_STEPS = 1000  # that the training loss is a mean over, about: it forgets 0.1% in each


def header(
    started: Started, reasons: Sequence[tuple[str, str]] = (), is_plan: bool = False
) -> list[str]:
    """Return the lines that say what is trained; `reasons` are those for chosen settings.

    Of a plan, nothing is saved.
    """
    run, parts = started.run, started.parts
    purposes = {"validation": parts.validation, "testing": parts.test}
    split = [f"{run.vocabulary.count(parts.train):,} characters for training"]
    split += [
        f"{run.vocabulary.count(ids):,} for {purpose}"
        for purpose, ids in purposes.items()
        if ids is not None
    ]
    if len(split) > 1:
        split[-1] += f": {held_out_words(run.config.data, run.corpus.layout)}"
    name, size = run.corpus.name, count(run.corpus.characters, "character")
    folder = f"{run.path}" + (f", from step {started.step:,}" if started.step else "")
    engine = "" if isinstance(run.config.model, NgramConfig) else f", {started.engine} engine"
    return labelled(
        [
            ("text", f"{name}: {size}, {alphabet(run.vocabulary)}"),
            ("split", ", ".join(split)),
            ("model", sized(run.config.model, started.parameters) + engine),
            *([("start", f"the weights of {run.config.start}")] if run.config.start else []),
            *reasons,
            ("run", "none: nothing is trained or saved in a dry run" if is_plan else folder),
            *(("note", note) for note in started.notes),
        ]
    )


def summary(started: Started, finished: Finished, width: int | None = None) -> list[str]:
    """Return the lines that say how a run ended and what can be done next.

    The lines of the sample are broken where a terminal of that `width` would break them.
    """
    path, advice = shlex.quote(str(finished.path)), finished.advice
    if advice is not None and advice.name == "stopped":  # the commands below say it
        advice = None
    lines = [_outcome(started, finished), *_losses(finished)]
    lines += [str(advice)] if advice is not None else []
    temperature = suggested(started.run.config.watch.sample).temperature
    if finished.sample is not None:
        lines += ["", f"The best checkpoint writes, at temperature {temperature:g}:", ""]
        room = None if width is None else width - len(INDENT)
        lines += [*wrapped(finished.sample.strip("\n"), INDENT, room).split("\n"), ""]
    commands = {f"charloom sample {path} --temperature {temperature:g}": "generates text"}
    if finished.reason == "interrupted":
        if advice is None:
            commands = {f"charloom resume {path}": "continues from here"} | commands
    else:
        if advice is not None and advice.resume is not None:
            more = f"charloom resume {path} --minutes {advice.resume:g}"
            commands[more] = "trains it for longer"
        commands[f"charloom runs show {path}"] = "shows how it learned"
    lines += [f"Saved to {finished.path}", "", *labelled([*commands.items()], indent=2)]
    return [printable(line) for line in lines]


def _outcome(started: Started, finished: Finished) -> str:
    steps = f"{finished.step:,} of {count(finished.total, 'step')}"
    if finished.reason == "interrupted":
        return f"Interrupted after {steps}."
    if started.step == finished.total:
        return f"Already complete: {steps}."
    done = f"{count(finished.step, 'step')} in {duration(finished.seconds)}"
    if finished.reason == "turned":
        return f"Stopped early, since the validation loss was rising: {done}."
    return f"Done: {done}."


def _losses(finished: Finished) -> list[str]:
    """Return what the loss is, of which text, and what it is beside a model that only counts."""
    final, seen = finished.final, finished.validation
    if final is None:
        lines = [] if seen is None else [f"Latest validation loss: {loss_words(seen)}."]
        if not lines and finished.training is not None:
            steps = (
                f"over the last {MEAN_STEPS:,} steps" if finished.step > MEAN_STEPS else "so far"
            )
            lines = [f"Training loss: {nats_and_bits(finished.training)}, mean {steps}."]
        return lines
    name = "Validation loss" if final.held_out else "Loss on the training text"
    step = "" if final.best == final.step else f", at step {final.best:,}"
    lines = [f"{name}: {loss_words(final.score)}{step}."]
    if final.mixture is not None:
        alone = final.mixture.alone.nats
        mixed = "That is with an n-gram model mixed in"
        lines.append(f"{mixed}; without it, the loss is {alone:.3f} nats on the same text.")
    if final.counted is not None:
        lines.append(_counted(final.score, final.counted))
    return lines


def _counted(score: Score, counted: Counted) -> str:
    """Say what a model that only counts has on the same text."""
    less = f", which only counts the last {counted.learned:,} characters of training text,"
    how = ", which only counts," if counted.whole is None else less
    gap = counted.score.nats - score.nats
    beside = "as much" if f"{abs(gap):.3f}" == "0.000" else "higher" if gap > 0 else "lower"
    loss = f"{counted.score.nats:.3f} nats on the same text: {beside}."
    return f"An n-gram model of order {counted.order}{how} has {loss}"
