"""The learning rate as a function of the step and of the losses seen."""

import math

from charloom.config import TrainConfig

RISE = 0.3  # one-cycle: the share of the steps after which the rate is at its peak
RISE_FROM = 1 / 25  # one-cycle: where it starts, as a share of the peak (fastai, PyTorch)


class Schedule:
    """The learning rate of every update of one training run.

    Each schedule is a share of ``config.learning_rate``, which is the peak:

    - constant: 1.
    - step: times ``decay_factor`` at each multiple of ``decay_every`` epochs that is not
      before ``decay_after`` (char-rnn and torch-rnn).
    - exponential: the same smoothly, ``decay_factor ** ((epochs - decay_after) / decay_every)``.
    - cosine: half a cosine from 1 to ``final_rate`` at `total_steps` (Loshchilov & Hutter
      2017, "SGDR", equation 5, without restarts).
    - one-cycle: linearly from 1/25 to 1 over the first 30 % of the steps, then half a cosine
      to ``final_rate`` (Smith & Topin 2018, "Super-Convergence", in fastai's two phases).
    - plateau: times ``decay_factor``, but not below ``final_rate``, each time `patience`
      windows of `window` updates have passed without a new lowest mean loss. The mean of a window
      is no new low if the loss stalls and if it swings, which is when the author of
      min-char-lstm lowered the rate by hand. Any new low counts, however small.

    During the first ``warmup`` updates, whatever the schedule, the rate is also multiplied by
    a line that climbs from 0 before the first to 1 after the last (Goyal et al. 2017); cosine
    and one-cycle begin where it ends.

    `total_steps` is the number of updates in the whole run; it may change on the way (`replan`).
    `steps_per_epoch` is that of one pass through the training text, not necessarily whole.
    """

    def __init__(self, config: TrainConfig, total_steps: int, steps_per_epoch: float) -> None:
        self.needs_losses = config.schedule == "plateau"
        self.total = total_steps
        self._anchor: tuple[int, float] | None = None  # a step, and the progress made by it
        self._config = config
        self._peak = config.learning_rate
        self._after_warmup = max(1, total_steps - config.warmup)
        self._interval = config.decay_every * steps_per_epoch
        self._uncut = max(0, math.ceil(config.decay_after / config.decay_every) - 1)
        self._delay = config.decay_after * steps_per_epoch
        self.halvings = 0  # of every rate: see TrainState.roll_back
        self._scale = 1.0
        self._best = math.inf
        self._windows = 0  # since the best
        self._sum = 0.0
        self._count = 0
        self._unseen: list[float] = []  # observed, and not in the sum yet

    def rate(self, step: int) -> float:
        """Return the learning rate for update `step`, counted from 0."""
        rate = self._peak * self._share(step) * 0.5**self.halvings
        warmup = self._config.warmup
        return rate * (step + 1) / (warmup + 1) if step < warmup else rate

    def _share(self, step: int) -> float:
        config = self._config
        name = config.schedule
        if name == "constant":
            return 1.0
        if name == "plateau":
            return self._scale
        if name == "step":
            return math.pow(config.decay_factor, max(0, step // self._interval - self._uncut))
        if name == "exponential":
            return math.pow(config.decay_factor, max(0, step - self._delay) / self._interval)
        done = self._done(step)
        if name == "one-cycle":
            if done < RISE:
                return RISE_FROM + (1 - RISE_FROM) * done / RISE
            done = (done - RISE) / (1 - RISE)
        floor = config.final_rate
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))

    def _done(self, step: int) -> float:
        """The share of the way from the end of the warm-up to the end of the run."""
        if self._anchor is None:
            return min(1.0, max(0, step - self._config.warmup) / self._after_warmup)
        at, done = self._anchor
        return min(1.0, done + (1 - done) * max(0, step - at) / max(1, self.total - at))

    def replan(self, step: int, total: int) -> None:
        """Let the run end at step `total`: from `step` on, cosine and one-cycle go from where
        they are to where they end by even steps. The rate does not jump.
        """
        self._anchor = max(step, self._config.warmup), self._done(step)
        self.total = total

    def restart(self, step: int, total: int) -> None:
        """Let a run that was at its end, or on the way, go on from `step` to step `total`.

        Cosine and one-cycle go back to where they fall through half of the peak, unless they are
        before that, and from there by even steps to where they end: a warm restart (Loshchilov &
        Hutter 2017), lower than the first, because the weights are no longer random. The others
        do not depend on `total`, and go on.
        """
        floor = self._config.final_rate
        half = (
            math.acos(max(-1.0, 2 * (0.5 - floor) / (1 - floor) - 1)) / math.pi if floor < 1 else 1
        )
        if self._config.schedule == "one-cycle":
            half = RISE + (1 - RISE) * half
        self._anchor = max(step, self._config.warmup), min(half, self._done(step))
        self.total = total

    def observe(self, loss: float) -> None:
        """Take note of the loss of the update just made, in nats.

        Only plateau needs it: the others ignore it. If the loss is still being computed, it is
        waited for when its window ends.
        """
        if not self.needs_losses:
            return
        self._unseen.append(loss)
        if self._count + len(self._unseen) >= self._config.window:
            self._end_window()

    def _see(self) -> None:
        """Add up what has been observed; only here is a loss waited for."""
        for loss in self._unseen:
            self._sum += float(loss)
        self._count += len(self._unseen)
        self._unseen.clear()

    def _end_window(self) -> None:
        self._see()
        mean = self._sum / self._count
        self._sum, self._count = 0.0, 0
        if mean < self._best:
            self._best, self._windows = mean, 0
            return
        self._windows += 1
        if self._windows >= self._config.patience:
            config = self._config
            self._scale = max(self._scale * config.decay_factor, config.final_rate)
            self._windows = 0

    def state(self) -> dict[str, float | int]:
        """Return what `restore` needs to go on exactly; JSON holds it without loss."""
        state: dict[str, float | int] = {}
        if self._anchor is not None:
            state |= {"total": self.total, "at": self._anchor[0], "done": self._anchor[1]}
        if not self.needs_losses:
            return state
        self._see()
        state |= {
            "scale": self._scale,
            "windows": self._windows,
            "sum": self._sum,
            "count": self._count,
        }
        if self._best < math.inf:  # JSON has no infinity
            state["best"] = self._best
        return state

    def restore(self, state: dict[str, float | int]) -> None:
        """Go on from what `state` gave; what is missing there starts afresh."""
        if {"total", "at", "done"} <= state.keys():
            self.total = int(state["total"])
            self._anchor = int(state["at"]), float(state["done"])
        self._scale = float(state.get("scale", 1.0))
        self._windows = int(state.get("windows", 0))
        self._sum = float(state.get("sum", 0.0))
        self._count = int(state.get("count", 0))
        self._best = float(state.get("best", math.inf))
