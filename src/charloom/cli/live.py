"""Training at the bottom of a terminal: some lines that are redrawn as it goes."""

import math
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from charloom.cli.summary import header, summary
from charloom.cli.text import MAX_COLUMNS
from charloom.cli.view import View
from charloom.formatting import LN2, count, duration, printable, speed
from charloom.training.events import (
    Evaluated,
    Event,
    Finished,
    Progress,
    Sampled,
    Saved,
    Scoring,
    Started,
    Warned,
)

SAMPLE_LINES = 8
OTHER_LINES = 11  # of the view, besides the sample
LABEL = 15  # characters in front of a loss


class LiveView(View):
    """Bar, losses and newest sample, in one write each time."""

    def __init__(self, out: TextIO) -> None:
        super().__init__(out)
        self._console = Console(
            file=StringIO(), force_terminal=True, highlight=False, emoji=False, markup=False
        )
        self._drawn: list[int] = []  # the width of each line that is to be drawn over
        self._status = ""

    def __exit__(self, *error: Any) -> None:
        """Leave the last figures in place; wipe a status that came before the first."""
        if self.started is None:
            self._draw(Group())
        super().__exit__(*error)

    def status(self, text: str) -> None:
        """Show what is being done, until something else is."""
        self._status = printable(text)
        self._redraw()

    def show(self, event: Event) -> None:
        """Draw the newest of everything; write what stays above it, and the summary below."""
        match event:
            case Started():
                self._status = self._first_status(event)
                self._draw(Group())
                self._print(*map(Text, header(event, self.reasons)), Text())
            case Progress():
                self._status = ""
            case Warned():
                self._draw(Group())
                self._print(Text(f"note   {printable(event.text)}", "yellow"))
            case Scoring():
                self._status = "scoring the best checkpoint"
            case Evaluated() | Sampled() | Saved():
                return  # the next Progress draws it
            case Finished():
                self._status = ""
                self.sampled = None if event.sample else self.sampled
        self._redraw()
        if isinstance(event, Finished):
            assert self.started is not None
            self._drawn = []
            first, *rest = summary(self.started, event, min(self._console.width, MAX_COLUMNS))
            self._print(Text(first, "bold"), *map(Text, rest))

    def _first_status(self, started: Started) -> str:
        if started.step == started.total:
            return ""
        if started.engine == "compiled" and not self.minutes:  # planning has compiled
            return "compiling the model, which takes a few seconds the first time"
        return "running the first steps"

    def _redraw(self) -> None:
        if self.reader.is_behind:
            return
        lines: list[RenderableType] = []
        width = min(self._console.width, MAX_COLUMNS) - 1
        if self.progress is not None:
            lines += [_bar(self.progress, width, self.minutes), Text()]
            lines += [*self._losses(width), Text(), *_pace(self.progress, width), Text()]
        if self._status:
            lines += [Text(f"{self._status} ...", "dim", no_wrap=True, overflow="ellipsis")]
        if self.sampled is not None:
            most = min(SAMPLE_LINES, self._console.height - OTHER_LINES)
            lines += [*_sample(self._console, self.sampled, width, most), Text()]
        self._draw(Group(*lines))

    def _losses(self, width: int) -> list[Text]:
        lines = [Text(f"{'':{LABEL}}  {'nats':>6}  {'bits':>6}  per character", "dim")]
        nats, steps = self.training_loss()
        over = [f"over the last {count(steps, 'step')}", f"over {count(steps, 'step')}"]
        lines += [_loss("training loss", nats, over, width)]
        if self.evaluated is not None:
            when = _when(self.evaluated, self.best)
            lines += [_loss("validation loss", self.evaluated.score.nats, when, width, "bold")]
        return lines

    def _print(self, *lines: Text) -> None:
        """Write what stays, below all that was drawn."""
        with self._console.capture() as capture:
            for line in lines:
                self._console.print(line)
        self.reader.write(capture.get())

    def _draw(self, frame: Group) -> None:
        """Write over what was drawn before, however the terminal has broken its lines since."""
        width, height = self._console.size
        rows = sum(max(1, math.ceil(cells / width)) for cells in self._drawn)
        up = f"\x1b[{min(rows, height)}F" if rows else ""
        with self._console.capture() as capture:
            self._console.print(frame, width=min(width, MAX_COLUMNS) - 1, end="")
        lines = capture.get().splitlines()[: height - 1]
        self._drawn = [cell_len(Text.from_ansi(line).plain) for line in lines]
        self.reader.write(up + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")


def _bar(progress: Progress, width: int, minutes: float | None) -> Table:
    """Show how far training is: in steps, or in time if that is what ends it."""
    done, total = progress.step, progress.total
    words = f"step {done:,} of {total:,}"
    if progress.left is not None:
        left = duration(progress.left)
        words += f"  {left} left" if done < total else f"  {duration(progress.seconds)}"
    share = done / total
    if minutes is not None and done < total:
        share = min(1.0, progress.seconds / (60 * minutes))
        words = f"{duration(progress.seconds)} of {duration(60 * minutes)}  step {done:,}"
    words = f"{int(100 * share):3d}%  {words}"
    row = Table.grid(padding=(0, 2), pad_edge=False)
    row.add_column()
    row.add_column(no_wrap=True, overflow="ellipsis")
    columns = max(4, min(40, width - len(words) - 2))
    row.add_row(ProgressBar(total=1.0, completed=share, width=columns), Text(words))
    return row


def _loss(label: str, nats: float, notes: Sequence[str], width: int, style: str = "") -> Text:
    """Show a loss, with the first note that there is room for."""
    figures = f"  {nats:6.3f}  {nats / LN2:6.3f}  "
    note = next((n for n in notes if len(n) <= width - LABEL - len(figures)), "")
    line = Text.assemble((f"{label:{LABEL}}", "dim"), (figures, style), (note, "dim"))
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _when(newest: Evaluated, best: Evaluated | None) -> list[str]:
    """Return when a loss was measured, the longest words first."""
    at = f"at step {newest.step:,}"
    if best is None:
        return [at]
    if best is newest:
        return [f"{at}, the lowest", "the lowest"]
    lowest = f"lowest {best.score.nats:.3f}"
    return [f"{at}; {lowest} at {best.step:,}", f"{lowest} at {best.step:,}", lowest]


def _pace(progress: Progress, width: int) -> Iterator[Text]:
    """Yield how fast it learns, in lines of that width."""
    line = ""
    rate, epoch = f"learning rate {progress.rate:.3g}", f"epoch {progress.epoch:.1f}"
    for figure in (rate, speed(progress.speed), epoch):
        if line and len(f"{line}   {figure}") > width:
            yield Text(line, "dim", no_wrap=True, overflow="ellipsis")
            line = ""
        line += f"   {figure}" if line else figure
    yield Text(line, "dim", no_wrap=True, overflow="ellipsis")


def _sample(console: Console, sampled: Sampled, width: int, most: int) -> list[Text]:
    """Return the first lines of a sample, framed at the left; none if the terminal is too low."""
    if most < 2:
        return []
    text = Text(printable(sampled.text).strip("\n"))
    lines = text.wrap(console, max(1, width - 2))[:most]
    title = Text(f"sample at step {sampled.step:,}", "dim")
    return [title, *(Text.assemble(("│ ", "dim"), line) for line in lines)]
