"""THE loop: a text and a `RunConfig` become a run folder, told as a stream of events.

It prints nothing. Whatever is looked at on the way (losses, samples, checkpoints, the clock)
changes no bit of the weights, and a run that was stopped goes on to the very same weights.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import perf_counter, sleep
from typing import Any

from charloom.config import NetworkConfig, NgramConfig
from charloom.data.batches import open_batches
from charloom.errors import CharloomError, DivergedError
from charloom.evaluation import Score
from charloom.models.engines import create_learner, pick_engine
from charloom.models.weights import parameter_count
from charloom.runs import checkpoint
from charloom.runs.checkpoint import Checkpoint
from charloom.runs.meta import Rollback
from charloom.runs.open import first_weights
from charloom.runs.run import Run
from charloom.signals import Interrupted, Signals
from charloom.training.cadence import most_steps
from charloom.training.divergence import Divergence, Guard
from charloom.training.events import Evaluated, Event, Finished, Progress, Saved, Started, Warned
from charloom.training.monitor import Monitor
from charloom.training.ngram import fit
from charloom.training.state import TrainState
from charloom.training.time_budget import Deadline, Pace
from charloom.training.trend import Evaluation, history, outlook, turned
from charloom.training.writer import RETRY, RunWriter

TICK = 0.25  # seconds between two reports of progress
ROLLBACKS = 3  # times that a run goes back to a checkpoint and halves its rate


def train(run: Run, resume: bool = False, began: float | None = None) -> Iterator[Event]:
    """Train, and tell what happens; nothing does before the first event is asked for.

    With `resume`, goes on from the newest whole checkpoint to the same bits as if it had never
    stopped. A run with minutes ends when they are over, counted from `began` (a reading of
    perf_counter; None is now), or before, where held-out loss has clearly turned.

    Where the network breaks (stability.py says what that is), it goes back to the newest
    checkpoint with half the learning rate, three times at most: then DivergedError is raised.
    What cannot be written is tried again for ten minutes, and training goes on meanwhile.
    SIGINT, SIGTERM and SIGHUP save a checkpoint after the update at hand and end the stream with
    `Finished`; a second SIGINT raises KeyboardInterrupt. SIGUSR1 saves and goes on. Raises
    CharloomError.
    """
    with run.lock():
        saved = _last_checkpoint(run, resume)
        if isinstance(run.config.model, NgramConfig):
            yield from fit(run, run.config.model, saved)
            return
        trainer = _Trainer(run, run.config.model, saved, began)
        with Signals() as trainer.signals:
            yield from trainer.events()


def _last_checkpoint(run: Run, resume: bool) -> Checkpoint | None:
    """What to go on from; None is the beginning."""
    if not checkpoint.steps(run.checkpoints):
        return None
    if not resume:
        raise CharloomError(f"{run.path} is trained already: resume it, or choose another folder")
    return run.checkpoint("latest")


class _Trainer:
    """A training run between two events; `now` is where it stands."""

    def __init__(
        self,
        run: Run,
        model: NetworkConfig,
        saved: Checkpoint | None,
        began: float | None = None,
    ) -> None:
        config, V = run.config, len(run.vocabulary)
        self.run, self.model, self.signals, self.writer = run, model, Signals(), RunWriter(run)
        self.parts = run.dataset()
        lanes = open_batches(self.parts.train, config.train)
        self.most = most_steps(config.train, lanes.steps_per_epoch)
        self.learner = create_learner(
            model, config.train, V, config.engine, config.dtype, None, run.vocabulary.lengths
        )
        self.now = TrainState(config, self.learner, lanes, run.vocabulary, self.parts.train)
        self.monitor = Monitor(run, self.parts.validation, self.now, self.writer)
        self.notes = [*self.parts.notes, *self.monitor.notes]
        self.deadline: Deadline | None = None
        if config.train.minutes is not None:
            minutes, every = config.train.minutes, self.monitor.every
            self.deadline = Deadline(60 * minutes, every, self.now.total)
        self.told_at = perf_counter()  # the last report
        self.score: Score | None = None
        self.turned, self.warm = False, False
        self.began = began or self.told_at
        if saved is not None:
            self.notes += [*saved.notes, *self.now.restore(saved)]
            self.began -= saved.meta.seconds
        elif (weights := first_weights(config)) is not None:
            self.learner.load(weights)
        self.writer.forget(self.now.looked)
        self._recall()
        if saved is None:
            self.saved_step = -1

    def events(self) -> Iterator[Event]:
        yield self._started()
        if self.saved_step < 0:  # from here on there is always something to go back to
            yield from self._save(best=False)
        while True:
            try:
                yield from self._train()
                yield from self._save_last()
                break
            except Divergence as found:
                if self.signals.caught:  # the checkpoint before it is whole
                    break
                yield from self._go_back(found)
        yield self._finished()

    def _train(self) -> Iterator[Event]:
        now = self.now
        while (now.due or now.step < now.total) and not self.signals.caught:
            with suppress(Interrupted):
                if not now.due:
                    self._advance(self.monitor.next())
                    self._replan()
                yield from self._look()
            yield from self._tell()

    def _advance(self, until: int) -> None:
        """Update once at least, up to step `until` or the next tick.

        The time of training goes here, so what is rare is done elsewhere.
        """
        if not self.warm:
            with self.signals.at_once():  # compiling takes its time, and nothing is lost
                return self._update(self.now.step + 1)
        return self._update(until)

    def _update(self, until: int) -> None:
        now, began = self.now, perf_counter()
        step, tick = now.step, began + TICK
        losses: list[float] = []
        unseen: list[tuple[int, Any, Any]] = []
        next_batch, rate, observe = now.lanes.next, now.schedule.rate, now.schedule.observe
        update, reset, caught = self.learner.update, self.learner.reset, self.signals.caught
        suspects, observing = self.guard.suspects, now.schedule.needs_losses
        while True:
            inputs, targets, fresh = next_batch()
            if fresh:
                reset()
            loss = update(inputs, targets, rate(step))
            step += 1
            if type(loss) is not float:  # it is still being computed: `_take` looks at it
                unseen.append((step, inputs, targets))
            elif suspects(loss, inputs, targets):
                self.guard.check(step, loss)
            if observing:
                observe(loss)
            losses.append(loss)
            if step >= until or caught or perf_counter() > tick:
                break
        self.warm = True
        self._take(losses, unseen)
        self.pace.mark(step, perf_counter() - began)

    def _take(self, lazy: list[float], unseen: list[tuple[int, Any, Any]]) -> None:
        """Fold in losses; only here are lazy ones waited for, and their steps judged."""
        losses, first = [float(loss) for loss in lazy], self.now.step + 1
        for step, *read in unseen:
            if self.guard.suspects(loss := losses[step - first], *read):
                self.guard.check(step, loss)
        for step, loss in enumerate(losses, first):
            if not math.isfinite(loss):
                raise Divergence(step, loss)
        self.now.take(losses)
        self.told_sum += sum(losses)
        self.told_count += len(losses)

    def _replan(self) -> None:
        """Move the end to where the time will be over, or to here where there is no more use."""
        now, total, spent = self.now, self.now.step, self._seconds()
        if self.deadline and not self.turned:
            total = min(self.most, self.deadline.total(total, now.total, spent, self.pace))
        if self.deadline and total != now.total:
            now.total = total
            now.schedule.replan(now.step, total)

    def _go_back(self, found: Divergence) -> Iterator[Event]:
        """Go on from the newest checkpoint with half the learning rate."""
        now = self.now
        known, rate = now.rollbacks, now.schedule.rate(now.step)
        what = f"the network broke at step {found.step:,}, with a loss of {found.loss:.4g}"
        if len(known) == ROLLBACKS:
            raise DivergedError(
                f"{what} at learning rate {rate:.3g}, and half the rate, {ROLLBACKS} times, did "
                "not help: train anew with a lower --learning-rate, or with --clip-norm 1"
            )
        now.restore(self.run.checkpoint("latest"))
        now.set_rollbacks([*known, Rollback(at=found.step, to=now.step, loss=repr(found.loss))])
        self.writer.forget(now.looked)
        self._recall()
        rate = now.schedule.rate(now.step)
        text = f"{what}: back to step {now.step:,}, with half the learning rate, {rate:.3g}"
        yield Warned(found.step, text)
        yield from self._write(best=False)

    def _recall(self) -> None:
        """Take up what belongs to the checkpoint that has been restored."""
        self.seen = history(self.run.metrics())
        self.monitor.untold = [s for s in self.now.rollbacks if s.to == self.now.step]
        self.saved_step = self.now.step
        train = self.run.config.train
        self.guard = Guard(self.learner, train.batch * train.length)
        self.pace, self.told_sum, self.told_count = Pace(), 0.0, 0

    def _look(self) -> Iterator[Event]:
        """Do what is due after this step. None of it touches the learner."""
        now, monitor, best, score, text = self.now, self.monitor, False, None, None
        every = monitor.every
        now.due = True  # until it is certain that no signal breaks it off
        if monitor.scores():
            with self._noting("evaluate"), self.signals.at_once():
                score = monitor.score()
            self._see(score)
        if monitor.samples():
            with self._noting("sample"), self.signals.at_once():
                text = monitor.sample()
        now.due = False
        if score is not None:
            self.score, best = score, now.note_best(score.nats)
            yield Evaluated(now.step, score, best)
        if score is not None or monitor.is_due(every.log):
            monitor.log(self._seconds(), score)
        if text is not None:
            yield monitor.keep_sample(text)
        saving = monitor.is_due(every.save)
        if saving and monitor.held_out is None:
            best = now.note_best(now.losses.smooth)
        if saving or (best and every.save) or self.signals.save or self.writer.is_time():
            with self._noting("save"):
                saved = [*self._save(best)]
            yield from saved

    def _see(self, score: Score) -> None:
        """End here, where held-out loss has clearly turned."""
        look = Evaluation(self.now.step, self._seconds() / 60, score.nats, math.nan)
        self.seen.append(look)
        if self.deadline and self.now.step < self.now.total and turned(self.seen):
            self.turned = True
            self._replan()

    @contextmanager
    def _noting(self, look: str) -> Iterator[None]:
        began = perf_counter()
        yield
        if self.deadline is not None:
            self.deadline.note(look, perf_counter() - began, self.pace.per_second())

    def _save(self, best: bool) -> Iterator[Event]:
        """Save, unless the network has broken: raises Divergence."""
        self.guard.check(self.now.step)
        if not self.now.is_finite():
            raise Divergence(self.now.step, math.nan)
        yield from self._write(best)

    def _write(self, best: bool) -> Iterator[Event]:
        now = self.now
        self.signals.save = False
        path = self.writer.save(self.learner.arrays(), now.meta(self._seconds()))
        if path is not None:
            self.saved_step = now.step
            yield Saved(now.step, path, best)

    def _save_last(self) -> Iterator[Event]:
        """Save what is not saved yet; wait for a disk that is full until a signal comes."""
        if self.saved_step != self.now.step:
            yield from self._save(best=False)
        while self.saved_step != self.now.step:
            yield from self._tell()
            with suppress(Interrupted), self.signals.at_once():
                sleep(RETRY)
            yield from self._write(best=False)
            if self.saved_step != self.now.step and self.signals.caught:
                raise CharloomError(self.writer.error)

    def _started(self) -> Started:
        return Started(
            run=self.run,
            engine=pick_engine(self.run.config.engine, self.model, self.run.config.train),
            parameters=parameter_count(self.model, len(self.run.vocabulary)),
            parts=self.parts,
            step=self.now.step,
            total=self.now.total,
            notes=tuple(self.notes),
        )

    def _tell(self) -> Iterator[Event]:
        now = self.now
        for text in self.writer.news:
            yield Warned(now.step, text)
        self.writer.news.clear()
        late = perf_counter() - self.told_at > TICK / 2
        if self.told_count and (late or now.step == now.total):
            yield self._progress()

    def _progress(self) -> Progress:
        now, loss, train = self.now, self.told_sum / self.told_count, self.run.config.train
        characters = round(now.step * train.batch * train.length * now.per_id)
        self.told_sum, self.told_count, self.told_at = 0.0, 0, perf_counter()
        pace = self.pace.per_second()
        left = (now.total - now.step) / pace if pace else None
        if self.deadline and left and now.total < self.most:
            left = max(0.0, self.deadline.seconds - self._seconds())
        return Progress(
            step=now.step,
            total=now.total,
            epoch=now.step / now.lanes.steps_per_epoch,
            characters=characters,
            loss=loss,
            smooth=now.losses.smooth,
            rate=now.schedule.rate(now.step - 1),
            speed=pace * characters / now.step,
            seconds=self._seconds(),
            left=left,
        )

    def _finished(self) -> Finished:
        now, minutes = self.now, self.run.config.train.minutes
        done = now.step >= now.total and not now.due
        return Finished(
            reason="turned" if self.turned else "done" if done else "interrupted",
            signal=self.signals.caught[0] if self.signals.caught else None,
            step=now.step,
            total=now.total,
            smooth=now.losses.smooth,
            validation=self.score,
            best=now.best,
            path=self.run.path,
            seconds=self._seconds(),
            outlook=outlook(history(self.run.metrics()), minutes) if done and minutes else None,
        )

    def _seconds(self) -> float:
        return perf_counter() - self.began
