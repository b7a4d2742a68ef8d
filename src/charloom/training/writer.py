"""Writing into a run folder; a disk that is full or gone for a while does not end the run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter

from charloom.errors import CharloomError
from charloom.runs.meta import Meta
from charloom.runs.metrics import Line
from charloom.runs.run import Run
from charloom.runs.tensors import Array

PATIENCE_SECONDS = 600.0  # for which a run goes on while it cannot save
RETRY_SECONDS = 5.0  # between two tries


class RunWriter:
    """Writes into a run folder; what cannot be written now is tried again later.

    `news` gathers sentences on that, `error` is the newest failure. The first checkpoint of a run
    must succeed, and a failure that lasts longer than PATIENCE_SECONDS is raised: CharloomError.
    """

    def __init__(self, run: Run, has_saved: bool) -> None:
        """Write into a run that has a checkpoint already, or not."""
        self.news: list[str] = []
        self.error: CharloomError | None = None
        self._run = run
        self._lines: list[Line] = []
        self._forgotten: int | None = None  # lines after this step are still to be removed
        self._has_saved = has_saved
        self._since: float | None = None  # the first failure of those that have no end yet
        self._tried = 0.0

    def is_time(self) -> bool:
        """Whether a save that has failed should be tried again."""
        return self._since is not None and perf_counter() - self._tried > RETRY_SECONDS

    def log(self, line: Line) -> None:
        """Add a line of metrics, after those that still wait."""
        self._lines.append(line)
        self._attempt(self._write_lines)

    def forget(self, step: int) -> None:
        """Drop the lines of metrics after `step`."""
        self._lines = [line for line in self._lines if line.step <= step]
        self._forgotten = step
        self._attempt(self._write_lines)

    def write_sample(self, step: int, text: str, loss: float | None = None) -> None:
        """Keep a sample, with its loss in generated.txt too; if that fails, it is lost."""
        self._attempt(lambda: self._run.write_sample(step, text))
        if loss is not None:
            self._attempt(lambda: self._run.append_generated(step, loss, text))

    def save(self, arrays: Mapping[str, Array], meta: Meta) -> Path | None:
        """Write a checkpoint, with the metrics up to it; None if that failed."""
        self._tried = perf_counter()
        saved: list[Path] = []

        def write() -> None:
            self._write_lines()
            saved.append(self._run.save(arrays, meta))

        self._attempt(write)
        if not saved:
            return None
        if self._since is not None:
            self.news.append(f"saved again, at step {meta.step:,}")
        self._has_saved, self._since = True, None
        return saved[0]

    def _write_lines(self) -> None:
        if self._forgotten is not None:
            self._run.truncate_metrics(self._forgotten)
            self._forgotten = None
        while self._lines:
            self._run.append_metrics(self._lines[0])
            del self._lines[0]

    def _attempt(self, write: Callable[[], object]) -> None:
        try:
            write()
        except CharloomError as error:
            self.error = CharloomError(f"{error}, then resume", error.code, **error.facts)
            if not self._has_saved:
                raise self.error from error
            if self._since is None:
                self._since = self._tried = perf_counter()
                minutes = PATIENCE_SECONDS / 60
                self.news.append(
                    f"{error}; training continues, and retries for {minutes:g} minutes"
                )
            elif perf_counter() - self._since > PATIENCE_SECONDS:
                raise self.error from error
