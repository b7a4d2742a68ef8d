"""What both views of training have: they follow its events and sum up.

Whatever becomes of the reader (a closed pipe, a terminal that has gone or is stopped), training
goes on.
"""

import shlex
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Self, TextIO

from charloom.cli.reader import Reader
from charloom.cli.text import (
    alphabet,
    count,
    duration,
    model_name,
    nats_and_bits,
    printable,
)
from charloom.config import NgramConfig
from charloom.training.events import Evaluated, Event, Finished, Progress, Sampled, Started, Warned

RECENT = 4  # reports of progress, about a second, that the loss on training text is a mean of


class View:
    """What both views do: follow the events, keep the newest of each kind, sum up."""

    def __init__(self, out: TextIO | None) -> None:
        self.reader = Reader(out)
        self.reasons: tuple[tuple[str, str], ...] = ()  # for the choice of settings: what, why
        self.started: Started | None = None
        self.progress: Progress | None = None
        self.evaluated: Evaluated | None = None
        self.best: Evaluated | None = None
        self.sampled: Sampled | None = None
        self._recent: deque[tuple[int, float]] = deque(maxlen=RECENT)  # (updates, mean loss)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the reader, but not where a second Ctrl-C says not to."""
        if kind is not KeyboardInterrupt:
            self.reader.wait()

    def follow(self, events: Iterator[Event]) -> int:
        """Show a run to its end; returns the exit status."""
        for event in events:
            match event:
                case Started():
                    self.started = event
                    self.begin(event)
                case Progress():
                    self._add(event)
                    self.move(event)
                case Evaluated():
                    self.evaluated = event
                    self.best = event if event.best else self.best
                case Sampled():
                    self.sampled = event
                case Warned():
                    self.warn(event)
                case Finished():
                    self.end(event)
                    return 0 if event.signal is None else 128 + event.signal
        raise AssertionError("training ends with Finished")

    def status(self, text: str) -> None:
        """Say what is being done before the first event."""

    def begin(self, started: Started) -> None:
        """Say what is going to be trained."""

    def move(self, progress: Progress) -> None:
        """Show the newest of everything."""

    def warn(self, warned: Warned) -> None:
        """Say what went wrong while training goes on."""

    def end(self, finished: Finished) -> None:
        """Show how it ended and what can be done next."""

    def training_loss(self) -> float:
        """Return the mean loss of the updates of some seconds, in nats."""
        updates = sum(number for number, _ in self._recent)
        return sum(number * loss for number, loss in self._recent) / updates

    def _add(self, progress: Progress) -> None:
        before = self.progress.step if self.progress else self.started.step if self.started else 0
        self._recent.append((progress.step - before, progress.loss))
        self.progress = progress


def header(started: Started, reasons: Sequence[tuple[str, str]] = ()) -> list[str]:
    """Return the lines that say what is going to be trained, and why so."""
    run, parts = started.run, started.parts
    count_of = run.vocabulary.count
    held_out = [
        f"{count_of(part):,} {name}"
        for part, name in ((parts.validation, "held out"), (parts.test, "for a test"))
        if part is not None
    ]
    cut = f"{count_of(parts.train):,} to learn, {' and '.join(held_out) or 'none held out'}"
    engine = "" if isinstance(run.config.model, NgramConfig) else f", {started.engine} engine"
    lines = [
        f"text   {printable(run.corpus.name)}: {run.corpus.characters:,} characters, "
        f"{alphabet(run.vocabulary)}; {cut}",
        f"model  {model_name(run.config.model)}: {count(started.parameters, 'number')}{engine}",
        *([f"from   the weights of {run.config.start}"] if run.config.start else []),
        *(f"{what:6} {why}" for what, why in reasons),
        f"run    {run.path}" + (f", from step {started.step:,}" if started.step else ""),
    ]
    return lines + [f"note   {printable(note)}" for note in started.notes]


def summary(started: Started, finished: Finished) -> list[str]:
    """Return the lines that say how a run ended and what can be done next."""
    path = shlex.quote(str(finished.path))
    lines = [_outcome(started, finished), *_losses(started, finished)]
    lines += [finished.outlook] if finished.outlook else []
    lines += [f"The run lies in {finished.path}.", ""]
    commands = {f"charloom sample {path}": "lets it write"}
    if finished.reason == "interrupted":
        commands = {f"charloom resume {path}": "goes on from here"} | commands
    else:
        commands[f"charloom runs show {path}"] = "shows how it learned"
    width = max(map(len, commands))
    return lines + [f"  {command:{width}}  {what}" for command, what in commands.items()]


def _outcome(started: Started, finished: Finished) -> str:
    steps = f"{finished.step:,} of {count(finished.total, 'step')}"
    if finished.reason == "interrupted":
        return f"Stopped after {steps}, and saved."
    if started.step == finished.total:
        return f"This run has ended already, after {steps}."
    done = f"{count(finished.step, 'step')} in {duration(finished.seconds)}"
    if finished.reason == "turned":
        return f"Stopped early, for held-out loss has turned: {done}."
    return f"Done: {done}."


def _losses(started: Started, finished: Finished) -> list[str]:
    best, last = finished.best, finished.validation
    if started.parts.validation is None or started.run.config.watch.evaluate_every == 0:
        loss = finished.smooth
        return [] if loss is None else [f"Loss on training text: {nats_and_bits(loss)}."]
    if best is None:
        return []
    if best.loss is None:
        return ["Held-out loss: infinite, for one of its characters was held to be impossible."]
    line = f"Held-out loss: {nats_and_bits(best.loss)}, after {count(best.step, 'step')}"
    if last is None or f"{last.nats:.3f}" == f"{best.loss:.3f}":
        return [f"{line}."]
    return [f"{line}; {last.nats:.3f} nats at the end."]
