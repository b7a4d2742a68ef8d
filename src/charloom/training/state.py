"""The state of a training run: everything that a checkpoint saves."""

import math
import os
from collections.abc import Mapping

import numpy as np

from charloom.config import RunConfig, TrainConfig, differences, replace, unextended
from charloom.data.batches import open_batches
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.errors import CharloomError
from charloom.models.engines import pick_engine
from charloom.models.protocols import DependsOnThreads, Learner, ReportsGradientNorm
from charloom.models.versions import versions
from charloom.runs.checkpoint import Checkpoint
from charloom.runs.meta import Best, Losses, Meta, Rollback
from charloom.training.cadence import total_steps
from charloom.training.schedules import Schedule

SMOOTHING = 0.999  # of the loss, as in min-char-rnn
SPREAD = True  # what is scored of a long validation text; False in early runs, which go on so
THREADS_PER_PROCESSOR = 4  # at most, whatever a checkpoint says


class TrainState:
    """Everything that the next update and the next line of metrics depend on.

    `learner` has made `step` of `total` updates, on `batches`, with the learning rates of
    `schedule`; `losses` and `best` summarise them. `due` is True while the evaluation, sample or
    checkpoint that belongs after `step` is still to be done; `spread` is as in Meta. `rollbacks`
    are those so far. Two
    values never change: `per_id` is the mean number of characters that an id stands for (1, or
    more for tokens), and `first_loss` the loss of uniform guessing, ln V / `per_id` nats per
    character.
    """

    def __init__(
        self, config: RunConfig, learner: Learner, vocabulary: Tokenizer, ids: Ids
    ) -> None:
        """Start at step 0 on ids (N,); raises CharloomError if they are too few for one step."""
        self.learner, self.batches = learner, open_batches(ids, config.train)
        self.per_id = vocabulary.count(ids) / len(ids)
        self.first_loss = math.log(len(vocabulary)) / self.per_id
        self._versions = versions(pick_engine(config.engine, config.model, config.train))
        self.step, self.due, self.spread = 0, False, SPREAD
        self.losses = Losses(smooth=self.first_loss)
        self.best: Best | None = None
        self.rollbacks: list[Rollback] = []
        self._config = config
        self._norm = learner if isinstance(learner, ReportsGradientNorm) else None
        self._begin_schedule(config.train)

    def _begin_schedule(self, train: TrainConfig) -> None:
        per_epoch = self.batches.steps_per_epoch
        self.total = total_steps(train, per_epoch)
        self.schedule = Schedule(train, self.total, per_epoch)

    @property
    def done(self) -> int:
        """The last step whose evaluation, sample and checkpoint, if due, are done."""
        return self.step - self.due

    @property
    def versions(self) -> dict[str, str]:
        """What the last bits depend on beside text and settings, by name."""
        threads = self.learner.threads if isinstance(self.learner, DependsOnThreads) else None
        return self._versions | ({} if threads is None else {"threads": str(threads)})

    @property
    def characters(self) -> int:
        """How many characters have been read in updates."""
        train = self._config.train
        return round(self.step * train.batch * train.length * self.per_id)

    @property
    def training_loss(self) -> float:
        """The mean training loss over the last thousand steps or so, in nats per character.

        `losses.smooth` less the share of its first value (Kingma & Ba 2015, section 3):
        (s_t - 0.999^t s_0) / (1 - 0.999^t). Before the first step it is that value.
        """
        first = SMOOTHING**self.step
        if first == 1:
            return self.first_loss
        return (self.losses.smooth - first * self.first_loss) / (1 - first)

    @property
    def gradient_norm(self) -> float | None:
        """The norm of the last update's gradient, before clipping; None if it is unknown.

        Only a learner that clips by norm computes it; after a restore it is the saved one.
        """
        norm = None if self._norm is None else self._norm.gradient_norm
        return self.losses.gradient_norm if norm is None else norm

    def count(self, losses: list[float]) -> None:
        """Count the updates that have just been made, with their losses in nats per character."""
        totals = self.losses
        for loss in losses:
            totals.smooth = SMOOTHING * totals.smooth + (1 - SMOOTHING) * loss
            totals.sum += loss
        totals.count += len(losses)
        self.step += len(losses)

    def note_best(self, loss: float) -> bool:
        """Record a loss in nats per character; return whether it is the lowest so far."""
        best = self.best is None or self.best.loss is None or loss < self.best.loss
        if best:
            self.best = Best(self.step, loss)
        return best

    def end_at(self, total: int) -> None:
        """Set the last step to `total`, and replan the rest of the learning rate schedule."""
        if total != self.total:
            self.total = total
            self.schedule.replan(self.step, total)

    def is_finite(self) -> bool:
        """Whether all of the learner's arrays, weights and training state, are finite."""
        return all(np.isfinite(array).all() for array in self.learner.arrays().values())

    def meta(self, seconds: float) -> Meta:
        """Return what a checkpoint saves besides arrays; `seconds` is the training time so far."""
        self.losses.gradient_norm = self.gradient_norm
        return Meta(
            step=self.step,
            seconds=seconds,
            best=self.best,
            versions=self.versions,
            cursor=self.batches.cursor(),
            schedule=self.schedule.state(),
            losses=self.losses,
            due=self.due,
            spread=self.spread,
            rollbacks=self.rollbacks,
            config=self._config,
        )

    def restore(self, saved: Checkpoint) -> list[str]:
        """Restore the state of a checkpoint; return notes, as of each version that differs.

        If the run was given more minutes after it was saved, they begin there. Raises
        CharloomError if the checkpoint was made with other settings or another dtype.
        """
        check_settings(saved, self._config)
        meta = saved.meta
        assert meta.losses is not None
        self.learner.load(saved.weights | saved.state)
        self.batches.seek(meta.cursor)
        then = meta.config
        if then is None:  # an early checkpoint: if it is from before, that was the end
            then = config = self._config
            if config.extended:
                train = replace(config.train, iterations=max(1, meta.step))
                then = replace(config, train=train, extended=())
        self._begin_schedule(then.train)
        self.schedule.restore(meta.schedule)
        self.total = self.schedule.total
        self.step, self.due, self.spread = meta.step, meta.due, meta.spread
        self.best, self.losses = meta.best, meta.losses
        self.roll_back(meta.rollbacks)
        return [*self._extend(then), *self._restore_threads(meta.versions)]

    def _extend(self, then: RunConfig) -> list[str]:
        """Begin with the minutes that the run was given after it had settings `then`; a note."""
        extended = self._config.extended
        if then.extended == extended:
            return []
        self.total = total_steps(self._config.train, self.batches.steps_per_epoch)
        self.schedule.restart(self.step, self.total)
        return [
            f"{extended[-1].minutes:g} more minutes from step {self.step:,} on, at learning rate "
            f"{self.schedule.rate(self.step):.3g}"
        ]

    def _restore_threads(self, saved: Mapping[str, str]) -> list[str]:
        """Compute on as many threads as then, unless the bits differ anyway; return notes."""
        now = self.versions
        differing = {name for name in now if saved.get(name, now[name]) != now[name]}
        if differing == {"threads"} and isinstance(self.learner, DependsOnThreads):
            then = saved["threads"]
            if then.isdigit() and 0 < int(then) <= THREADS_PER_PROCESSOR * (os.cpu_count() or 1):
                self.learner.threads = int(then)
                return [f"computing with {then} threads, as before, not {now['threads']}"]
        return [
            f"saved with {name} {saved[name]}, now {now[name]}: last bits may differ"
            for name in now
            if name in differing
        ]

    def roll_back(self, rollbacks: list[Rollback]) -> None:
        """Set the rollbacks so far: each halves the learning rate."""
        self.rollbacks = rollbacks
        self.schedule.halvings = len(rollbacks)


def check_settings(saved: Checkpoint, config: RunConfig) -> None:
    """Raise CharloomError if a checkpoint was made with other settings or another dtype.

    More minutes that the run was given since are none.
    """
    meta, dtype = saved.meta, config.dtype
    if meta.losses is None or {str(array.dtype) for array in saved.weights.values()} != {dtype}:
        message = f"{saved.path} does not hold {dtype} weights, with which the run began"
        raise CharloomError(message, "other-settings", path=str(saved.path), field="dtype")
    if meta.config is None:
        return
    if changed := differences(unextended(meta.config, config) or meta.config, config):
        raise CharloomError(
            f"{saved.path} was trained with other settings: {'; '.join(changed)}; put them "
            "back into config.json, or begin another run with `charloom train --from`",
            "other-settings",
            path=str(saved.path),
            changed=tuple(changed),
        )
