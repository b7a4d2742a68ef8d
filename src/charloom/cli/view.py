"""Training as the user watches it: redrawn in place on a terminal, plain lines elsewhere.

Whatever becomes of the reader (a closed pipe, a terminal that has gone or is stopped), training
goes on.
"""

import shlex
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Self, TextIO

from charloom.cli.reader import Reader
from charloom.cli.text import (
    LN2,
    alphabet,
    count,
    duration,
    is_plain,
    model_name,
    nats_and_bits,
    printable,
    speed,
)
from charloom.config import NgramConfig
from charloom.events import Evaluated, Event, Finished, Progress, Sampled, Started, Warned

QUIET = 10  # seconds without an evaluation after which a plain line is written all the same
RECENT = 4  # reports of progress, about a second, that the loss on training text is a mean of


def open_view() -> "View":
    """Return the view that suits standard output."""
    out = sys.stdout
    if out is None or is_plain():
        return PlainView(out)
    from charloom.cli.live import LiveView

    return LiveView(out)


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


class PlainView(View):
    """A line for each evaluation, or every 10 seconds, and each sample below its line."""

    def __init__(self, out: TextIO | None) -> None:
        super().__init__(out)
        self._written_at = perf_counter()
        self._shown: tuple[Evaluated | None, Sampled | None] = (None, None)

    def status(self, text: str) -> None:
        """Write a line: what is being done may take its time."""
        self.reader.write(f"{text} ...\n")

    def begin(self, started: Started) -> None:
        """Write the header."""
        self.reader.write("\n".join(header(started, self.reasons)) + "\n\n")

    def move(self, progress: Progress) -> None:
        """Write a line if there is something new to say."""
        quiet = perf_counter() - self._written_at > QUIET
        news = quiet or self._shown != (self.evaluated, self.sampled)
        if news and not self.reader.is_behind:
            self._write_line(progress)
            self._write_sample()

    def warn(self, warned: Warned) -> None:
        """Write a line."""
        self.reader.write(f"note: {printable(warned.text)}\n")

    def end(self, finished: Finished) -> None:
        """Write what is left, and the summary."""
        self._write_sample()
        assert self.started is not None
        gap = "\n" if self.progress or self.sampled else ""
        self.reader.write(gap + "\n".join(summary(self.started, finished)) + "\n")

    def _write_line(self, progress: Progress) -> None:
        losses = f"training {_short(self.training_loss())}"
        if self.evaluated and self.evaluated is not self._shown[0]:
            losses += f", held-out {_short(self.evaluated.score.nats)}"
        left = "" if progress.left is None else f", {duration(progress.left)} left"
        timed = self.started is not None and self.started.run.config.train.minutes
        total = f"about {progress.total:,}" if timed else f"{progress.total:,}"
        self.reader.write(
            f"step {progress.step:,} of {total}: {losses}, rate {progress.rate:.3g}, "
            f"{speed(progress.speed)}{left}\n"
        )
        self._shown = (self.evaluated, self._shown[1])
        self._written_at = perf_counter()

    def _write_sample(self) -> None:
        if self.sampled is not self._shown[1] and self.sampled is not None:
            lines = printable(self.sampled.text).splitlines()
            block = "\n".join(f"    {line}".rstrip() for line in lines)
            self.reader.write(f"  wrote at step {self.sampled.step:,}:\n{block}\n")
            self._shown = (self._shown[0], self.sampled)


def _short(nats: float) -> str:
    return f"{nats:.3f} nats ({nats / LN2:.3f} bits)"


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
