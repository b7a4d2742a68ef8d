"""Training as lines of text; and which view suits standard output."""

import sys
from time import perf_counter
from typing import TextIO

from charloom.cli.summary import header, summary
from charloom.cli.text import is_plain
from charloom.cli.view import View
from charloom.formatting import LN2, duration, printable, speed
from charloom.training.events import Evaluated, Finished, Progress, Sampled, Started, Warned

QUIET_SECONDS = 10  # without an evaluation, after which a line is written all the same


def open_view() -> View:
    """Return the view that suits standard output."""
    out = sys.stdout
    if out is None or is_plain():
        return PlainView(out)
    from charloom.cli.live import LiveView

    return LiveView(out)


class PlainView(View):
    """A line for each evaluation, or every 10 seconds, and each sample below its line."""

    def __init__(self, out: TextIO | None) -> None:
        super().__init__(out)
        self._written_at = perf_counter()
        self._shown: tuple[Evaluated | None, Sampled | None] = (None, None)

    def status(self, text: str) -> None:
        """Write a line: what is being done may take a while."""
        self.reader.write(f"{text} ...\n")

    def begin(self, started: Started) -> None:
        """Write the header."""
        self.reader.write("\n".join(header(started, self.reasons)) + "\n\n")

    def move(self, progress: Progress) -> None:
        """Write a line if there is something new to say."""
        quiet = perf_counter() - self._written_at > QUIET_SECONDS
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
        losses = f"training loss {_short(self.training_loss())}"
        if self.evaluated and self.evaluated is not self._shown[0]:
            losses += f", validation loss {_short(self.evaluated.score.nats)}"
        left = "" if progress.left is None else f", {duration(progress.left)} left"
        timed = self.started is not None and self.started.run.config.train.minutes
        total = f"about {progress.total:,}" if timed else f"{progress.total:,}"
        self.reader.write(
            f"step {progress.step:,} of {total}: {losses}, learning rate {progress.rate:.3g}, "
            f"{speed(progress.speed)}{left}\n"
        )
        self._shown = (self.evaluated, self._shown[1])
        self._written_at = perf_counter()

    def _write_sample(self) -> None:
        if self.sampled is not self._shown[1] and self.sampled is not None:
            lines = printable(self.sampled.text).splitlines()
            block = "\n".join(f"    {line}".rstrip() for line in lines)
            self.reader.write(f"  sample at step {self.sampled.step:,}:\n{block}\n")
            self._shown = (self._shown[0], self.sampled)


def _short(nats: float) -> str:
    return f"{nats:.3f} nats ({nats / LN2:.3f} bits)"
