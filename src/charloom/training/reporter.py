"""The time that a run takes, its pace, and the progress that is reported."""

import math
from time import perf_counter

from charloom.training.events import Progress
from charloom.training.state import TrainState
from charloom.training.time_budget import Pace


class Reporter:
    """Measures the time and the pace of training and reports its progress.

    A run of `time_limit` seconds counts them from `began`, a reading of perf_counter.
    """

    def __init__(
        self, state: TrainState, max_steps: int, minutes: float | None, began: float | None
    ) -> None:
        """Begin with a run that ends after `max_steps` even if there are minutes left."""
        self.time_limit = 60 * (minutes or math.inf)
        self.began = began or perf_counter()
        self._state, self._max_steps = state, max_steps
        self._reported_at = perf_counter()
        self.reset()

    def reset(self) -> None:
        """Forget the steps so far: training continues from another one."""
        self.pace = Pace()
        self._losses: list[float] = []  # of the steps since the last report

    def seconds(self) -> float:
        """Return the seconds of training so far, those before a resume included."""
        return perf_counter() - self.began

    def note(self, losses: list[float], seconds: float) -> None:
        """Record steps that the state has just counted, and how long they took."""
        self._losses += losses
        self.pace.mark(self._state.step, seconds)

    def progress(self, pause: float) -> Progress | None:
        """Return the progress, if `pause` seconds have passed since the last or the run ends."""
        state, now = self._state, perf_counter()
        if not self._losses or (now - self._reported_at <= pause and state.step < state.total):
            return None
        loss = sum(self._losses) / len(self._losses)
        self._losses, self._reported_at = [], now
        pace = self.pace.per_second()
        left = (state.total - state.step) / pace if pace else None
        if left and math.isfinite(self.time_limit) and state.total < self._max_steps:
            left = max(0.0, self.time_limit - self.seconds())
        return Progress(
            step=state.step,
            total=state.total,
            epoch=state.step / state.batches.steps_per_epoch,
            characters=state.characters,
            loss=loss,
            smooth=state.losses.smooth,
            rate=state.schedule.rate(state.step - 1),
            speed=pace * state.characters / state.step,
            seconds=self.seconds(),
            left=left,
        )
