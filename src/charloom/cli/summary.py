"""The lines before and after training: what is trained and why so, and how it ended."""

import shlex
from collections.abc import Sequence

from charloom.cli.text import alphabet, labelled, sized
from charloom.config import NgramConfig
from charloom.formatting import count, duration, nats_and_bits, printable
from charloom.training.events import Finished, Started


def header(started: Started, reasons: Sequence[tuple[str, str]] = ()) -> list[str]:
    """Return the lines that say what is trained; `reasons` are those for chosen settings."""
    run, parts = started.run, started.parts
    purposes = {"validation": parts.validation, "testing": parts.test}
    split = [f"{run.vocabulary.count(parts.train):,} characters for training"]
    split += [
        f"{run.vocabulary.count(ids):,} for {purpose}"
        for purpose, ids in purposes.items()
        if ids is not None
    ]
    name, size = printable(run.corpus.name), count(run.corpus.characters, "character")
    engine = "" if isinstance(run.config.model, NgramConfig) else f", {started.engine} engine"
    return labelled(
        [
            ("text", f"{name}: {size}, {alphabet(run.vocabulary)}"),
            ("split", ", ".join(split)),
            ("model", sized(run.config.model, started.parameters) + engine),
            *([("start", f"the weights of {run.config.start}")] if run.config.start else []),
            *reasons,
            ("run", f"{run.path}" + (f", from step {started.step:,}" if started.step else "")),
            *(("note", printable(note)) for note in started.notes),
        ]
    )


def summary(started: Started, finished: Finished) -> list[str]:
    """Return the lines that say how a run ended and what can be done next."""
    path = shlex.quote(str(finished.path))
    lines = [_outcome(started, finished), *_losses(started, finished)]
    lines += _advice(finished)
    commands = {f"charloom sample {path}": "generates text"}
    if finished.reason == "interrupted":
        commands = {f"charloom resume {path}": "continues from here"} | commands
    else:
        commands[f"charloom runs show {path}"] = "shows how it learned"
    return [*lines, f"Saved to {finished.path}", "", *labelled([*commands.items()], indent=2)]


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


def _advice(finished: Finished) -> list[str]:
    """Return what the run has come to; of one that was interrupted, the commands below say it."""
    found = finished.advice
    if found is None or found.name == "stopped":
        return []
    return [str(found)]


def _losses(started: Started, finished: Finished) -> list[str]:
    best, last = finished.best, finished.validation
    if started.parts.validation is None or started.run.config.watch.evaluate_every == 0:
        loss = finished.smooth
        return [] if loss is None else [f"Training loss: {nats_and_bits(loss)}."]
    if best is None:
        return []
    if best.loss is None:
        return ["Validation loss: infinite, since the model rules out one of the characters."]
    line = f"Validation loss: {nats_and_bits(best.loss)} at step {best.step:,}"
    if last is None or f"{last.nats:.3f}" == f"{best.loss:.3f}":
        return [f"{line}."]
    return [f"{line}, the lowest; {last.nats:.3f} nats at the end."]
