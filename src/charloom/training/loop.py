"""The training loop: a run folder and its text in; a trained model and a stream of events out.

It prints nothing. Evaluations, samples, checkpoints and the clock change no bit of the weights,
and a run that was stopped and resumed ends with exactly the same weights.

The path to a gradient: `_Trainer._take_steps` calls `learner.update`, and a learner is made by
`create_learner` in models/engines.py.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import perf_counter, sleep
from typing import Any

from charloom.config import NetworkConfig, NgramConfig
from charloom.data.batches import check_fits
from charloom.errors import CharloomError
from charloom.evaluation import Score
from charloom.models.engines import create_learner, pick_engine
from charloom.models.weights import from_frequencies, parameter_count
from charloom.runs import checkpoint
from charloom.runs.checkpoint import Checkpoint
from charloom.runs.final import Final
from charloom.runs.meta import Rollback
from charloom.runs.run import Run
from charloom.runs.start import first_weights
from charloom.signals import Interrupted, Signals
from charloom.training import mixture
from charloom.training.advice import MOST_ROLLBACKS, advise
from charloom.training.cadence import is_due, most_steps, next_due
from charloom.training.divergence import Detector, Divergence
from charloom.training.events import Evaluated, Event, Finished, Saved, Started, Warned
from charloom.training.extension import extended
from charloom.training.facts import facts_of
from charloom.training.monitor import Monitor
from charloom.training.ngram import fit
from charloom.training.reporter import Reporter
from charloom.training.scoring import Time, conclude
from charloom.training.state import TrainState
from charloom.training.time_budget import TimeBudget
from charloom.training.trend import Evaluation, history, turned
from charloom.training.writer import RETRY_SECONDS, RunWriter

TICK_SECONDS = 0.25  # between two reports of progress
SCORING_SHARE = 0.02  # of the time, to score the best model in even if the time is over


def train(
    run: Run, resume: bool = False, began: float | None = None, minutes: float | None = None
) -> Iterator[Event]:
    """Train a run and yield its events. This is a generator: training starts with the first next().

    With `resume`, training continues from the newest valid checkpoint, to the same bits as if it
    had never stopped. A run with minutes ends when they are over, counted from `began` (a reading
    of perf_counter; None is now), or earlier if its validation loss is clearly rising.

    With `resume` and `minutes`, a run that has ended or was stopped goes on for so many minutes
    from now, whatever was to end it, and whether or not its validation loss rises (see
    `Schedule.restart` and extension.py). Stopped again, it is resumed like any other.

    If training diverges (see divergence.py), it rolls back to the newest checkpoint with half the
    learning rate, three times at most; after that it raises CharloomError. A failed write is
    retried for ten minutes while training continues. SIGINT, SIGTERM and SIGHUP save a checkpoint
    after the current step and end the stream with `Finished`; a second SIGINT raises
    KeyboardInterrupt. SIGUSR1 saves and training continues. Raises CharloomError if the run was
    trained before and `resume` is False, if it cannot be given `minutes`, or if it cannot be read,
    locked or written.
    """
    with run.lock():
        saved: Checkpoint | None = None
        if checkpoint.steps(run.checkpoints):
            if not resume:
                message = f"{run.path} has been trained: resume it, or choose another folder"
                raise CharloomError(message, "taken", path=str(run.path))
            saved = run.checkpoint("latest")
        if minutes is not None:
            run.extend(extended(run, saved, minutes))
        if isinstance(run.config.model, NgramConfig):
            yield from fit(run, run.config.model, saved)
            return
        trainer = _Trainer(run, run.config.model, saved, began)
        with trainer.signals:
            yield from trainer.events()


class _Trainer:
    """A training run in progress. Everything that a checkpoint saves is in `state`."""

    def __init__(
        self, run: Run, model: NetworkConfig, saved: Checkpoint | None, began: float | None
    ) -> None:
        config, vocabulary = run.config, run.vocabulary
        self.run, self.config, self.signals = run, config.train, Signals()
        size, data = len(vocabulary), run.dataset()
        learned = mixture.learned(data.train, config.train.mixture)
        # First, because a learner takes memory for a step.
        check_fits(len(learned), config.train.batch, config.train.length, vocabulary.unit)
        self.learner = create_learner(
            model, config.train, size, config.engine, config.dtype, None, vocabulary.lengths
        )
        self.state = state = TrainState(config, self.learner, vocabulary, learned)
        self.monitor = Monitor(run, data, state)
        self.every = self.monitor.every
        self.writer = RunWriter(run, has_saved=saved is not None)
        self.max_steps = most_steps(config.train, state.batches.steps_per_epoch)
        self.reporter = Reporter(state, self.max_steps, config.train.minutes, began)
        self.granted = 60 * (config.granted or math.inf)  # seconds
        limit, monitor = self.reporter.time_limit, self.monitor
        self.budget = TimeBudget(
            limit, self.every, state.total, monitor.end, self.granted, monitor.least
        )
        notes = [*data.notes]
        self.score: Score | None = None  # of the latest evaluation
        self.turned = False  # the validation loss is clearly rising: stop early
        self.compiled = False  # the first step, which may compile, has been taken
        self.saved_step: int | None = None
        if saved is not None:
            notes += [*saved.notes, *state.restore(saved)]
            self.reporter.began -= saved.meta.seconds
            self.saved_step = state.step
        else:
            weights, added = first_weights(config, vocabulary)
            if weights is None and config.preset is None:
                weights = from_frequencies(self.learner.arrays(), learned)
            if weights is not None:
                self.learner.load(weights)
            notes += added
        notes += self.monitor.notes
        engine = pick_engine(config.engine, model, config.train)
        parameters = parameter_count(model, size)
        self.started = Started(run, engine, parameters, data, state.step, state.total, tuple(notes))
        self._start_from_state()

    def _start_from_state(self) -> None:
        """Reset what neither a checkpoint nor `state` holds; after a rollback, too."""
        done = self.state.done
        lines = [line for line in self.run.metrics() if line.step <= done]
        self.evaluations = history(lines)
        self.writer.forget(done)
        self.detector = Detector(self.learner, self.config.batch * self.config.length)
        self.reporter.reset()

    def events(self) -> Iterator[Event]:
        """Train to the end of the run, or until a signal."""
        yield self.started
        if self.saved_step is None:  # so that there is always a checkpoint to roll back to
            yield from self._save(best=False)
        while True:
            try:
                yield from self._train()
                yield from self._save_last()
                break
            except Divergence as found:
                if self.signals.caught:  # stop; the last checkpoint is from before the divergence
                    break
                yield from self._roll_back(found)
        final = None
        if not self.signals.caught:
            time, guard = self._time_to_score(), self.signals.at_once
            final = yield from conclude(self.run, self.state.step, time, guard)
        yield self._finished(final)

    def _train(self) -> Iterator[Event]:
        """Take steps up to the next evaluation, sample or checkpoint, do that, and repeat."""
        state = self.state
        while (state.due or state.step < state.total) and not self.signals.caught:
            with suppress(Interrupted):
                if not state.due:
                    self._step_until(next_due(state.step, state.total, self.every))
                    self._set_end()
                yield from self._monitor()
            yield from self._report()

    def _step_until(self, until: int) -> None:
        """Take at least one step; stop at step `until`, after TICK_SECONDS or at a signal."""
        if self.compiled:
            self._take_steps(until)
        else:
            before = self.state.step
            try:
                with self.signals.at_once():  # even from a long compilation: nothing is lost
                    self._take_steps(before + 1)
            except Interrupted:
                self.state.due = self.state.step > before  # it came when the step was counted
                raise
            self.compiled = True

    def _take_steps(self, until: int) -> None:
        """Take steps, then add them to the state. This loop is where the time goes.

        inputs and targets are ids (B, T), and losses mean nats per character. On a GPU a loss is
        still being computed when `update` returns it: such losses are read after the last step.
        """
        state, learner, signals = self.state, self.learner, self.signals
        next_batch, schedule, detector = state.batches.next, state.schedule, self.detector
        step, began, losses = state.step, perf_counter(), list[Any]()
        pending: list[tuple[int, Any, Any]] = []  # steps whose loss is still being computed
        while True:
            inputs, targets, fresh = next_batch()
            if fresh:
                learner.reset()
            loss = learner.update(inputs, targets, schedule.rate(step))
            step += 1
            losses.append(loss)
            if type(loss) is float:
                detector.see(step, loss, inputs, targets)
            else:
                pending.append((step, inputs, targets))
            schedule.observe(loss)
            if step >= until or signals.caught or perf_counter() > began + TICK_SECONDS:
                break
        losses = [float(loss) for loss in losses]  # waits for the pending ones
        for taken, inputs, targets in pending:
            detector.see(taken, losses[taken - state.step - 1], inputs, targets)
        state.count(losses)
        self.reporter.note(losses, perf_counter() - began)

    def _set_end(self) -> None:
        """Set the last step: where the minutes will be over, or here when stopping early."""
        state, total = self.state, self.state.step
        if not self.turned:
            seconds, pace = self.reporter.seconds(), self.reporter.pace
            total = self.budget.total(state.step, state.total, seconds, pace)
        state.end_at(min(self.max_steps, total))

    def _monitor(self) -> Iterator[Event]:
        """Evaluate, sample, log and save if due after this step; the learner does not change."""
        state, monitor, every, best = self.state, self.monitor, self.every, False
        score = text = None
        state.due = True  # until evaluation and sample are done: a signal may interrupt them
        if monitor.evaluates:
            with self._timed("evaluate"), self.signals.at_once():
                score = monitor.evaluate()
            self._stop_if_rising(score)
        if monitor.samples:
            with self._timed("sample"), self.signals.at_once():
                text = monitor.sample()
        state.due = False
        if score is not None:
            self.score, best = score, state.note_best(score.nats)
            yield Evaluated(state.step, score, best)
        if score is not None or is_due(state.step, state.total, every.log):
            monitor.log(self.reporter.seconds(), score, self.writer)
        if text is not None:
            yield monitor.keep(text, self.writer)
        saves = is_due(state.step, state.total, every.save)
        if saves and monitor.validation is None:
            best = state.note_best(state.training_loss)
        if saves or (best and every.save) or self.signals.save or self.writer.is_time():
            with self._timed("save"):
                saved = [*self._save(best)]
            yield from saved

    def _stop_if_rising(self, score: Score) -> None:
        """Record the score; end a run with minutes here if its validation loss clearly rises."""
        state, minutes = self.state, self.reporter.seconds() / 60
        self.evaluations.append(Evaluation(state.step, minutes, score.nats, math.nan))
        if self.config.minutes is None or self.run.config.extended:  # these were asked for
            return
        if state.step < state.total and turned(self.evaluations):
            self.turned = True
            self._set_end()

    @contextmanager
    def _timed(self, pause: str) -> Iterator[None]:
        """Tell the time budget how long this pause in training took, in seconds."""
        began = perf_counter()
        yield
        self.budget.note(pause, perf_counter() - began, self.reporter.pace.per_second())

    def _roll_back(self, found: Divergence) -> Iterator[Event]:
        """Return to the newest checkpoint with half the learning rate; see `train`."""
        state = self.state
        before, rate = state.rollbacks, state.schedule.rate(state.step)
        problem = f"training diverged at step {found.step:,}, with a loss of {found.loss:.4g}"
        if len(before) == MOST_ROLLBACKS:
            message = (
                f"{problem} at learning rate {rate:.3g}, after {MOST_ROLLBACKS} rollbacks, each to "
                "half the rate: train again with a lower --learning-rate, or with --clip-norm 1"
            )
            raise CharloomError(message, "diverged", step=found.step)
        state.restore(self.run.checkpoint("latest"))
        self.saved_step = state.step
        state.roll_back([*before, Rollback(at=found.step, to=state.step, loss=repr(found.loss))])
        self._start_from_state()
        rate = state.schedule.rate(state.step)
        text = f"{problem}: back to step {state.step:,}, with half the learning rate, {rate:.3g}"
        yield Warned(found.step, text)
        yield from self._write(best=False)

    def _save(self, best: bool) -> Iterator[Event]:
        """Save a checkpoint; raises Divergence instead if training has diverged."""
        self.detector.check(self.state.step)
        if not self.state.is_finite():
            raise Divergence(self.state.step, math.nan)
        yield from self._write(best)

    def _write(self, best: bool) -> Iterator[Event]:
        self.signals.save = False
        meta = self.state.meta(self.reporter.seconds())
        path = self.writer.save(self.learner.arrays(), meta)
        if path is not None:
            self.saved_step = self.state.step
            yield Saved(self.state.step, path, best)

    def _save_last(self) -> Iterator[Event]:
        """Save the last step if it is not saved; retry while the disk is full, until a signal."""
        step = self.state.step
        if self.saved_step != step:
            yield from self._save(best=False)
        while self.saved_step != step:
            yield from self._report()
            with suppress(Interrupted), self.signals.at_once():
                sleep(RETRY_SECONDS)
            yield from self._write(best=False)
            if self.saved_step != step and self.signals.caught:
                assert self.writer.error
                raise self.writer.error

    def _report(self) -> Iterator[Event]:
        """Yield warnings, and progress if half a tick has passed since the last or the run ends."""
        for text in self.writer.news:
            yield Warned(self.state.step, text)
        self.writer.news.clear()
        if progress := self.reporter.progress(TICK_SECONDS / 2):
            yield progress

    def _time_to_score(self) -> Time | None:
        """Return the time that a run with minutes has left; None if it was over before.

        A share of what it was given is taken in any case.
        """
        limit = self.reporter.time_limit
        if math.isinf(limit) or self.started.step == self.state.step:
            return None
        left = max(0.0, limit - self.reporter.seconds()) + SCORING_SHARE * self.granted
        return Time(left, self.monitor.pace)

    def _finished(self, final: Final | None) -> Finished:
        state, caught = self.state, self.signals.caught
        done = state.step >= state.total and not state.due
        return Finished(
            reason="turned" if self.turned else "done" if done else "interrupted",
            signal=caught[0] if caught else None,
            step=state.step,
            total=state.total,
            training=state.training_loss,
            validation=self.score,
            best=state.best,
            path=self.run.path,
            seconds=self.reporter.seconds(),
            advice=advise(facts_of(self.run, done)),
            final=final,
            sample=self.run.best_sample() if final else None,
        )
