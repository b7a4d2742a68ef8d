"""THE loop: a text and a `RunConfig` become a run folder, told as a stream of events.

It prints nothing. Whatever is looked at on the way (losses, samples, checkpoints, the clock)
changes no bit of the weights, and a run that was stopped goes on to the very same weights.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import numpy as np

from charloom import checkpoint
from charloom.batches import Lanes
from charloom.checkpoint import Best, Checkpoint, Losses, Meta
from charloom.config import ModelConfig, NgramConfig, replace
from charloom.deadline import Deadline, Pace
from charloom.errors import CharloomError
from charloom.evaluation import Score, evaluate
from charloom.events import (
    Evaluated,
    Event,
    Finished,
    Progress,
    Sampled,
    Saved,
    Started,
    StopSignals,
)
from charloom.fitting import fit
from charloom.intervals import intervals, most_steps, total_steps
from charloom.model import LanguageModel, create_learner, create_model, pick_engine
from charloom.outlook import history, outlook, turned
from charloom.run import Run, versions
from charloom.sampling import generate
from charloom.schedules import Schedule
from charloom.weights import parameter_count

SMOOTHING = 0.999  # of the loss, as in min-char-rnn
TICK = 0.25  # seconds between two reports of progress


def train(run: Run, resume: bool = False, began: float | None = None) -> Iterator[Event]:
    """Train, and tell what happens; nothing does before the first event is asked for.

    With `resume`, goes on from the newest whole checkpoint to the same bits as if it had never
    stopped. A run with minutes ends when they are over, counted from `began` (a reading of
    perf_counter; None is now), or before, where held-out loss has clearly turned. SIGINT,
    SIGTERM and SIGHUP save a checkpoint after the update at hand and end the stream with
    `Finished`; a second SIGINT raises KeyboardInterrupt. Raises CharloomError.
    """
    with run.lock(), StopSignals() as caught:
        saved = _last_checkpoint(run, resume)
        if isinstance(run.config.model, NgramConfig):
            yield from fit(run, run.config.model, saved)
        else:
            yield from _Trainer(run, run.config.model, saved, caught, began).events()


def _last_checkpoint(run: Run, resume: bool) -> Checkpoint | None:
    """What to go on from; None is the beginning."""
    if not checkpoint.steps(run.checkpoints):
        return None
    if not resume:
        raise CharloomError(f"{run.path} is trained already: resume it, or choose another folder")
    return run.checkpoint("latest")


class _Trainer:
    """A training run between two events."""

    def __init__(
        self,
        run: Run,
        model: ModelConfig,
        saved: Checkpoint | None,
        caught: list[int],
        began: float | None = None,
    ) -> None:
        config, V = run.config, len(run.vocabulary)
        self.run, self.model, self.caught = run, model, caught
        self.parts = run.read_parts()
        self.lanes = Lanes(self.parts.train, config.train.batch, config.train.length)
        self.total = total_steps(config.train, self.lanes.steps_per_epoch)
        self.most = most_steps(config.train, self.lanes.steps_per_epoch)
        self.notes = [*self.parts.notes]
        held_out = self.parts.validation
        size = 0 if held_out is None else len(held_out)
        self.every, scored = intervals(config.train, config.watch, self.total, size)
        self.held_out = None if held_out is None or not self.every.evaluate else held_out[:scored]
        if self.held_out is not None and scored < size:
            part = f"on the way the first {scored:,} of {size:,} held-out characters are scored"
            self.notes.append(f"{part}; `charloom evaluate` scores all")
        self.deadline: Deadline | None = None
        if config.train.minutes is not None:
            self.deadline = Deadline(60 * config.train.minutes, self.every, self.total)
        self.schedule = Schedule(config.train, self.total, self.lanes.steps_per_epoch)
        self.learner = create_learner(
            model, config.train, V, config.engine, config.dtype, config.train.seed
        )
        self.versions, self.first_loss = versions(), math.log(V)
        self.step, self.saved_step = 0, -1
        self.losses = Losses(smooth=self.first_loss)
        self.told_sum, self.told_count, self.told_at = 0.0, 0, perf_counter()  # the last report
        self.best: Best | None = None
        self.score: Score | None = None
        self.pace, self.turned = Pace(), False
        self.began = began or self.told_at
        if saved is not None:
            self._restore(saved)
        run.truncate_metrics(self.step)

    def events(self) -> Iterator[Event]:
        yield self._started()
        while self.step < self.total and not self.caught:
            due = min((self.step // every + 1) * every for every in self.every if every)
            self._advance(min(due, self.total))
            self._replan()
            yield from self._look()
        if self.saved_step != self.step:
            yield self._save(best=False)
        yield self._finished()

    def _advance(self, until: int) -> None:
        """Update once at least, up to step `until` or the next tick.

        The time of training goes here, so what is rare is done elsewhere.
        """
        step, began = self.step, perf_counter()
        tick = began + TICK
        losses: list[float] = []
        next_batch, rate, observe = self.lanes.next, self.schedule.rate, self.schedule.observe
        update, reset, caught = self.learner.update, self.learner.reset, self.caught
        observing = self.schedule.needs_losses
        while True:
            inputs, targets, fresh = next_batch()
            if fresh:
                reset()
            loss = update(inputs, targets, rate(step))
            if observing:
                observe(loss)
            losses.append(loss)
            step += 1
            if step >= until or caught or perf_counter() > tick:
                break
        self._take(losses)
        self.step = step
        self.pace.mark(step, perf_counter() - began)

    def _replan(self) -> None:
        """Move the end to where the time will be over, or to here where there is no more use."""
        total, spent = self.step, self._seconds()
        if self.deadline and not self.turned:
            total = min(self.most, self.deadline.total(total, self.total, spent, self.pace))
        if self.deadline and total != self.total:
            self.total = total
            self.schedule.replan(self.step, total)

    def _take(self, losses: list[float]) -> None:
        """Fold in losses; only here are lazy ones waited for."""
        known = self.losses
        for step, lazy in enumerate(losses, self.step + 1):
            loss = float(lazy)
            if not math.isfinite(loss):
                raise self._diverged(f"the loss became {loss} at step {step:,}")
            known.smooth = SMOOTHING * known.smooth + (1 - SMOOTHING) * loss
            known.sum += loss
            self.told_sum += loss
        known.count += len(losses)
        self.told_count += len(losses)

    def _look(self) -> Iterator[Event]:
        """Do what is due after this step. None of it touches the learner."""
        every, best, score = self.every, False, None
        if self.held_out is not None and self._is_due(every.evaluate):
            with self._noting("evaluate"):
                score = self.score = evaluate(self._language_model(), self.held_out)
            best = self._note_best(score.nats)
            yield Evaluated(self.step, score, best)
        if score is not None or self._is_due(every.log):
            self._log(score)
        early = self.deadline is not None and self.step < self.total
        if score and early and turned(history(self.run.metrics())):
            self.turned = True
            self._replan()
        if self._is_due(every.sample) and self._takes_sample():
            with self._noting("sample"):
                sampled = self._sample()
            yield sampled
        saving = self._is_due(every.save)
        if saving and self.held_out is None:
            best = self._note_best(self.losses.smooth)
        if saving or (best and every.save):
            with self._noting("save"):
                saved = self._save(best)
            yield saved
        if perf_counter() - self.told_at > TICK / 2 or self.step == self.total:
            yield self._progress()

    @contextmanager
    def _noting(self, look: str) -> Iterator[None]:
        began = perf_counter()
        yield
        if self.deadline is not None:
            self.deadline.note(look, perf_counter() - began, self.pace.per_second())

    def _is_due(self, every: int) -> bool:
        return every > 0 and (self.step % every == 0 or self.step == self.total)

    def _note_best(self, loss: float) -> bool:
        best = self.best is None or self.best.loss is None or loss < self.best.loss
        if best:
            self.best = Best(self.step, loss)
        return best

    def _takes_sample(self) -> bool:
        watch = self.run.config.watch
        if not watch.sample_at_best:
            return True
        below = watch.sample_below * self.first_loss
        if self.losses.sampled is not None:
            below = min(below, self.losses.sampled)
        if self.losses.smooth >= below:
            return False
        self.losses.sampled = self.losses.smooth
        return True

    def _language_model(self) -> LanguageModel:
        config, vocabulary = self.run.config, self.run.vocabulary
        arrays = self.learner.arrays()
        return create_model(self.model, arrays, vocabulary, config.engine, config.dtype)

    def _sample(self) -> Sampled:
        watch = self.run.config.watch
        seed = None if watch.sample.seed is None else watch.sample.seed + self.step
        config = replace(watch.sample, seed=seed)
        text = "".join(generate(self._language_model(), config, length=watch.sample_length))
        self.run.write_sample(self.step, text)
        share = self.losses.smooth / self.first_loss
        if watch.write_below is not None and share < watch.write_below:
            self.run.append_generated(self.step, self.losses.smooth, text)
        return Sampled(self.step, text)

    def _log(self, score: Score | None) -> None:
        record = {
            "step": self.step,
            "characters": self._characters(),
            "seconds": self._seconds(),
            "loss": self.losses.sum / self.losses.count,
            "smooth": self.losses.smooth,
            "rate": self.schedule.rate(self.step - 1),
        }
        self.run.append_metrics(record | ({"validation": score.nats} if score else {}))
        self.losses.sum, self.losses.count = 0.0, 0

    def _save(self, best: bool) -> Saved:
        arrays = self.learner.arrays()
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise self._diverged(f"a weight became NaN or infinite by step {self.step:,}")
        meta = Meta(
            step=self.step,
            seconds=self._seconds(),
            best=self.best,
            versions=self.versions,
            cursor=self.lanes.cursor(),
            schedule=self.schedule.state(),
            losses=self.losses,
        )
        path = self.run.save(arrays, meta)
        self.saved_step = self.step
        return Saved(self.step, path, best)

    def _restore(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint; raises CharloomError where it does not fit the settings."""
        meta, dtype = saved.meta, self.run.config.dtype
        if meta.losses is None or {str(array.dtype) for array in saved.weights.values()} != {dtype}:
            raise CharloomError(f"{saved.path} does not hold {dtype} weights: the run began so")
        self.learner.load(saved.weights | saved.state)
        self.lanes.seek(meta.cursor)
        self.schedule.restore(meta.schedule)
        self.total = int(meta.schedule.get("total", self.total))
        self.step = self.saved_step = meta.step
        self.best, self.losses = meta.best, meta.losses
        self.began -= meta.seconds
        self.notes += saved.notes
        for name, now in self.versions.items():
            if (then := meta.versions.get(name)) != now:
                self.notes.append(f"saved by {name} {then}, now {now}: last bits may differ")

    def _started(self) -> Started:
        return Started(
            run=self.run,
            engine=pick_engine(self.run.config.engine),
            parameters=parameter_count(self.model, len(self.run.vocabulary)),
            parts=self.parts,
            step=self.step,
            total=self.total,
            notes=tuple(self.notes),
        )

    def _progress(self) -> Progress:
        loss = self.told_sum / max(1, self.told_count)
        self.told_sum, self.told_count, self.told_at = 0.0, 0, perf_counter()
        pace = self.pace.per_second()
        left = (self.total - self.step) / pace if pace else None
        if self.deadline and left and self.total < self.most:
            left = max(0.0, self.deadline.seconds - self._seconds())
        return Progress(
            step=self.step,
            total=self.total,
            epoch=self.step / self.lanes.steps_per_epoch,
            characters=self._characters(),
            loss=loss,
            smooth=self.losses.smooth,
            rate=self.schedule.rate(self.step - 1),
            speed=pace * self._characters() / self.step,
            seconds=self._seconds(),
            left=left,
        )

    def _finished(self) -> Finished:
        done, minutes = self.step >= self.total, self.run.config.train.minutes
        return Finished(
            reason="turned" if self.turned else "done" if done else "interrupted",
            signal=self.caught[0] if self.caught else None,
            step=self.step,
            total=self.total,
            smooth=self.losses.smooth,
            validation=self.score,
            best=self.best,
            path=self.run.path,
            seconds=self._seconds(),
            outlook=outlook(history(self.run.metrics()), minutes) if done and minutes else None,
        )

    def _characters(self) -> int:
        return self.step * self.run.config.train.batch * self.run.config.train.length

    def _seconds(self) -> float:
        return perf_counter() - self.began

    def _diverged(self, what: str) -> CharloomError:
        kept = "no checkpoint was saved before"
        if self.saved_step >= 0:
            kept = f"the checkpoint of step {self.saved_step:,} is from before"
        return CharloomError(
            f"{what}, with learning rate {self.schedule.rate(self.step):g} ({kept}): train anew "
            "with a lower --learning-rate, or with --clip-norm 1"
        )
