"""Training as lines of text; and which view suits standard output."""

import sys
from time import perf_counter
from typing import TextIO

from charloom.cli.summary import header, summary
from charloom.cli.text import (
    echo_json,
    echo_note,
    is_plain,
)
from charloom.cli.view import View
from charloom.formatting import LN2, count, duration, printable, speed
from charloom.training.events import (
    Evaluated,
    Event,
    Finished,
    Progress,
    Sampled,
    Started,
    Warned,
)

QUIET_SECONDS = 10  # without an evaluation, after which a line is written all the same


def open_view(as_json: bool = False) -> View:
    """Return the view that suits standard output."""
    out = sys.stdout
    if as_json:
        return JsonView(out)
    if out is None or is_plain():
        return PlainView(out)
    from charloom.cli.live import LiveView

    return LiveView(out)


class JsonView(View):
    """One JSON document at the end, with what `runs --json` says of the run, and nothing else."""

    def status(self, text: str) -> None:
        """Be silent."""

    def show(self, event: Event) -> None:
        """Write the document when the run has ended; warnings go to standard error."""
        if isinstance(event, Warned):
            echo_note(event.text)
        if isinstance(event, Finished):
            assert self.started is not None
            from charloom.runs.listing import summarized
            from charloom.runs.run import Run

            document = summarized(Run.open(event.path))
            document |= {"ended": event.reason, "advice": event.advice, "reasons": self.reasons}
            echo_json(document)


class PlainView(View):
    """A line for each evaluation, or every 10 seconds, and each sample below its line."""

    def __init__(self, out: TextIO | None) -> None:
        super().__init__(out)
        self._written_at = perf_counter()
        self._evaluated: Evaluated | None = None  # ... and
        self._sampled: Sampled | None = None  # still to be written

    def status(self, text: str) -> None:
        """Write a line: what is being done may take a while."""
        self.reader.write(f"{printable(text)} ...\n")

    def show(self, event: Event) -> None:
        """Write the header, a line if there is something new to say, or the summary."""
        match event:
            case Started():
                self.reader.write("\n".join(header(event, self.reasons)) + "\n\n")
            case Evaluated():
                self._evaluated = event
            case Sampled():
                self._sampled = event
            case Progress():
                quiet = perf_counter() - self._written_at > QUIET_SECONDS
                if (quiet or self._evaluated or self._sampled) and not self.reader.is_behind:
                    self.reader.write(self._line(event))
                    self._write_sample()
                    self._written_at, self._evaluated = perf_counter(), None
            case Warned():
                self.reader.write(f"note: {printable(event.text)}\n")
            case Finished():
                assert self.started is not None
                self._write_sample()
                gap = "\n" if self.progress or self.sampled else ""
                self.reader.write(gap + "\n".join(summary(self.started, event)) + "\n")

    def _line(self, progress: Progress) -> str:
        nats, steps = self.training_loss()
        losses = f"training loss {_short(nats)} over {count(steps, 'step')}"
        if self._evaluated is not None:
            losses += f", validation loss {_short(self._evaluated.score.nats)}"
        pace = f", {speed(progress.speed)}" if progress.speed else ""  # not known at step 1
        left = "" if progress.left is None else f", {duration(progress.left)} left"
        about = "about " if self.minutes else ""
        return (
            f"step {progress.step:,} of {about}{progress.total:,}: {losses}, "
            f"learning rate {progress.rate:.3g}{pace}{left}\n"
        )

    def _write_sample(self) -> None:
        if self._sampled is not None:
            lines = printable(self._sampled.text).splitlines()
            block = "\n".join(f"    {line}".rstrip() for line in lines)
            self.reader.write(f"  sample at step {self._sampled.step:,}:\n{block}\n")
            self._sampled = None


def _short(nats: float) -> str:
    return f"{nats:.3f} nats ({nats / LN2:.3f} bits)"
