"""Where a training run stands: all that a checkpoint holds of it."""

import math

import numpy as np

from charloom.config import RunConfig, differences
from charloom.data.batches import Batches
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.errors import CharloomError
from charloom.models.engines import Learner
from charloom.runs.checkpoint import Checkpoint
from charloom.runs.meta import Best, Losses, Meta, Rollback
from charloom.runs.run import versions
from charloom.training.cadence import total_steps
from charloom.training.schedules import Schedule

SMOOTHING = 0.999  # of the loss, as in min-char-rnn


class TrainState:
    """A learner, its place in the text, and what is remembered of its losses.

    `first_loss` is that of guessing, ln V; `per_id` how many characters an id of the text stands
    for, which is more than one where ids are tokens. `due` says that what is to be looked at after
    `step` updates has not been looked at yet.
    """

    def __init__(
        self,
        config: RunConfig,
        learner: Learner,
        lanes: Batches,
        vocabulary: Tokenizer,
        ids: Ids,
    ) -> None:
        """Begin with a learner that is to learn ids (N,)."""
        self.learner, self.lanes = learner, lanes
        self.per_id = vocabulary.count(ids) / len(ids)
        self.first_loss = math.log(len(vocabulary)) / self.per_id
        self.versions = versions()
        self.rollbacks: list[Rollback] = []
        self.step, self.due = 0, False
        self.losses = Losses(smooth=self.first_loss)
        self.best: Best | None = None
        self._config = config
        self._begin_schedule()

    def _begin_schedule(self) -> None:
        per_epoch = self.lanes.steps_per_epoch
        self.total = total_steps(self._config.train, per_epoch)
        self.schedule = Schedule(self._config.train, self.total, per_epoch)

    @property
    def looked(self) -> int:
        """The last step that has been looked at; a look broken off may have left its line."""
        return self.step - self.due

    def take(self, losses: list[float]) -> None:
        """Count the updates that have just been made, with their losses in nats per character."""
        known = self.losses
        for loss in losses:
            known.smooth = SMOOTHING * known.smooth + (1 - SMOOTHING) * loss
            known.sum += loss
        known.count += len(losses)
        self.step += len(losses)

    @property
    def gradient_norm(self) -> float | None:
        """The norm of the last update's gradient, before it was clipped; None where unknown.

        A learner that clips it has it; one that has just been restored had it then.
        """
        norm: float | None = getattr(self.learner, "gradient_norm", None)
        return self.losses.gradient_norm if norm is None else norm

    def note_best(self, loss: float) -> bool:
        """Remember the lowest loss; whether this one is it."""
        best = self.best is None or self.best.loss is None or loss < self.best.loss
        if best:
            self.best = Best(self.step, loss)
        return best

    def is_finite(self) -> bool:
        """Whether every number of the learner's is one."""
        return all(np.isfinite(array).all() for array in self.learner.arrays().values())

    def meta(self, seconds: float) -> Meta:
        """Return what a checkpoint holds beside the arrays, after so many seconds of training."""
        self.losses.gradient_norm = self.gradient_norm
        return Meta(
            step=self.step,
            seconds=seconds,
            best=self.best,
            versions=self.versions,
            cursor=self.lanes.cursor(),
            schedule=self.schedule.state(),
            losses=self.losses,
            due=self.due,
            rollbacks=self.rollbacks,
            config=self._config,
        )

    def set_rollbacks(self, rollbacks: list[Rollback]) -> None:
        """Take note of returns to checkpoints: after each the learning rate is half."""
        self.rollbacks = rollbacks
        self.schedule.halvings = len(rollbacks)

    def restore(self, saved: Checkpoint) -> list[str]:
        """Go to where a checkpoint was made; returns notes on what may differ from then.

        Raises CharloomError where it does not fit the settings.
        """
        meta, dtype = saved.meta, self._config.dtype
        if meta.losses is None or {str(array.dtype) for array in saved.weights.values()} != {dtype}:
            raise CharloomError(f"{saved.path} does not hold {dtype} weights: the run began so")
        if meta.config and (changed := differences(meta.config, self._config)):
            raise CharloomError(
                f"{saved.path} was trained with other settings: {'; '.join(changed)}; put them "
                "back into config.json, or begin another run with `charloom train --from`"
            )
        self.learner.load(saved.weights | saved.state)
        self.lanes.seek(meta.cursor)
        self._begin_schedule()
        self.schedule.restore(meta.schedule)
        self.total = self.schedule.total or self.total
        self.step, self.due = meta.step, meta.due
        self.best, self.losses = meta.best, meta.losses
        self.set_rollbacks(meta.rollbacks)
        return [
            f"saved by {name} {then}, now {now}: last bits may differ"
            for name, now in self.versions.items()
            if (then := meta.versions.get(name)) != now
        ]
