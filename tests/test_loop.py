import copy
import errno
import math
import signal
import subprocess
import sys
import threading

import msgspec
import numpy as np
import pytest

from charloom import open_model
from charloom.analysis.diagnosis import diagnose
from charloom.config import (
    NgramConfig,
    WatchConfig,
    replace,
)
from charloom.data import batches
from charloom.data.batches import Streams
from charloom.evaluation import Score, evaluate, evaluate_part
from charloom.models.reference import ReferenceLearner
from charloom.runs import metrics
from charloom.runs.checkpoint import steps
from charloom.runs.meta import Best, Rollback
from charloom.runs.metrics import Line, Setback
from charloom.runs.run import Run
from charloom.training import cadence, monitor, reporter, writer
from charloom.training import loop as training
from charloom.training import state as training_state
from charloom.training.events import Evaluated, Finished, Progress, Sampled, Saved, Started, Warned
from charloom.training.loop import train
from charloom.training.planning import prepare
from checkpoints import forge
from every_cell import CELLS
from expect import refused
from small_runs import (
    NEVER,
    OFTEN,
    STEPS,
    TEXT,
    TRAIN,
    config_of,
    copied,
    new_run,
    outcome,
    play,
    stopped,
    write_text,
)


@pytest.fixture
def source(tmp_path):
    """A text that a test may change."""
    return write_text(tmp_path)


@pytest.fixture(scope="module")
def poem(tmp_path_factory):
    """The same text, which stays as it is."""
    return write_text(tmp_path_factory.mktemp("poem"))


@pytest.fixture(scope="module")
def unbroken(poem, tmp_path_factory):
    """The events and the outcome of a run that nothing has stopped."""
    run = new_run(tmp_path_factory.mktemp("unbroken") / "run", config_of(poem))
    return run, play(run), outcome(run)


def of_kind(events, kind):
    return [event for event in events if isinstance(event, kind)]


@pytest.fixture
def stop_at(monkeypatch):
    """Send this process a signal during the update that comes after so many of this session."""

    def arrange(count, number=signal.SIGTERM):
        class Stopping(batches.Streams):
            def next(self):
                arranged["left"] -= 1
                if arranged["left"] == 0:
                    signal.raise_signal(number)
                return super().next()

        arranged = {"left": count}
        monkeypatch.setattr(batches, "Streams", Stopping)

    yield arrange
    monkeypatch.undo()


# ---- random numbers


def test_no_two_generators_of_a_run_give_a_number_in_common(tmp_path, source, monkeypatch):
    made = []

    class Noted(np.random.Generator):
        def __init__(self, bits):
            made.append((copy.deepcopy(bits), bits))
            super().__init__(bits)

    monkeypatch.setattr(np.random, "Generator", Noted)
    monkeypatch.setattr(np.random, "default_rng", lambda seed: Noted(np.random.PCG64(seed)))
    seed = OFTEN.sample_every  # which one of the samples has, too
    settings = replace(TRAIN, batches="windows", dropout=0.5, seed=seed)
    play(new_run(tmp_path / "run", config_of(source, train=settings)))
    drawn = [first for first, last in made if repr(first.state) != repr(last.state)]
    weights, windows, masks, samples = 1, STEPS, 2 * STEPS, STEPS // OFTEN.sample_every + 1
    best = 1  # a sample of the best checkpoint
    assert len(drawn) == weights + windows + masks + samples + best
    numbers = np.concatenate([bits.random_raw(1000) for bits in drawn])
    assert len({*numbers.tolist()}) == len(numbers)  # of 64 bits: by chance there are no two


# ---- stop and resume equals the unbroken run


def test_a_run_whose_windows_were_drawn_as_of_old_goes_on_to_the_same_bits(tmp_path, source):
    config = config_of(source, train=replace(TRAIN, batches="windows"))

    def begun(path):
        run = new_run(path, config)
        events = train(run)
        saved = next(event for event in events if isinstance(event, Saved))
        events.close()
        meta = (saved.path / "meta.json").read_bytes()
        forge(saved.path, "meta.json", meta.replace(b'"drawn"', b'"position"'))
        return run

    whole = begun(tmp_path / "whole")
    play(whole, resume=True)
    assert outcome(whole)["meta"]["cursor"] == {"position": STEPS}
    run = begun(tmp_path / "run")
    for event in train(run, resume=True):
        if isinstance(event, Evaluated):
            signal.raise_signal(signal.SIGTERM)
    assert run.checkpoint("latest").meta.step < STEPS
    play(run, resume=True)
    assert outcome(run) == outcome(whole)


@pytest.mark.parametrize(
    "engine", ["reference", "compiled", pytest.param("torch", marks=pytest.mark.torch)]
)
@pytest.mark.parametrize("cell", CELLS)
def test_stopped_after_an_update_a_run_goes_on_to_the_same_bits(
    tmp_path, source, stop_at, cell, engine
):
    if engine == "torch":
        pytest.importorskip("torch")
    whole = new_run(tmp_path / "whole", config_of(source, cell, engine))
    play(whole)
    expected = outcome(whole)
    assert len(expected["arrays"]) > 20
    assert expected["meta"]["schedule"]["scale"] < 1  # the rate has been cut
    for step in (2, 7, STEPS - 1) if cell == "lstm" else (7,):
        run = new_run(tmp_path / f"stopped{step}", config_of(source, cell, engine))
        stop_at(step)
        stopped = play(run)[-1]
        assert (stopped.reason, stopped.step) == ("interrupted", step)
        stop_at(0)
        finished = play(Run.open(run.path), resume=True)[-1]
        assert (finished.reason, finished.step) == ("done", STEPS)
        assert outcome(run) == expected, f"stopped after {step}"


def test_stopped_within_the_first_update_nothing_is_lost(tmp_path, poem, unbroken, stop_at):
    """It may compile for long, so it is not waited for."""
    run = new_run(tmp_path / "stopped", config_of(poem))
    for resume, count in ((False, 1), (True, 12), (True, 1)):
        stop_at(count)
        finished = play(Run.open(run.path), resume)[-1]
        assert finished.reason == "interrupted"
        assert finished.step == (0 if not resume else 12)
        assert steps(run.checkpoints)[-1] == finished.step
    stop_at(0)
    play(run, resume=True)
    assert outcome(run) == unbroken[2]


def test_stopped_again_and_again_a_run_goes_on_to_the_same_bits(tmp_path, poem, unbroken, stop_at):
    run = new_run(tmp_path / "stopped", config_of(poem))
    for session in range(STEPS // 4):
        stop_at(4)
        assert play(Run.open(run.path), resume=session > 0)[-1].step == 4 * (session + 1)
    assert outcome(run) != unbroken[2]  # what is due after the last step is still to be done
    stop_at(0)
    play(run, resume=True)
    assert outcome(run) == unbroken[2]


def test_the_last_lowest_loss_that_was_sampled_at_is_gone_on_from(tmp_path, source, stop_at):
    watch = replace(OFTEN, sample_at_best=True, sample_every=1)
    unbroken = new_run(tmp_path / "unbroken", config_of(source, watch=watch))
    play(unbroken)
    run = new_run(tmp_path / "stopped", config_of(source, watch=watch))
    stop_at(9)
    play(run)
    assert run.checkpoint("latest").meta.losses.sampled is not None
    stop_at(0)
    play(run, resume=True)
    assert outcome(run) == outcome(unbroken)


# ---- what is told


def test_the_events_of_a_run_in_their_order(unbroken):
    run, events, _ = unbroken
    started, finished = events[0], events[-1]
    assert isinstance(started, Started)
    assert (started.engine, started.step, started.total) == ("reference", 0, STEPS)
    assert started.parameters == sum(a.size for a in run.load_weights().values())
    held_out = int(0.1 * len(TEXT))
    assert len(started.parts.train) == len(TEXT) - held_out
    assert len(started.parts.validation) == held_out
    assert [e.step for e in of_kind(events, Evaluated)] == [5, 10, 15, 20, 24]
    assert [e.step for e in of_kind(events, Sampled)] == [7, 14, 21, 24]
    saved = [e.step for e in of_kind(events, Saved)]
    assert {3, 6, 9, 12, 15, 18, 21, 24} <= set(saved)
    assert [(e.step) for e in of_kind(events, Saved) if e.best] == [
        e.step for e in of_kind(events, Evaluated) if e.best
    ]
    last = of_kind(events, Progress)[-1]
    assert (last.step, last.total, last.left) == (STEPS, STEPS, 0.0)
    assert last.characters == STEPS * 2 * 20
    assert last.epoch == STEPS / ((len(started.parts.train) // 2 - 2) // 20)
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.signal, finished.step) == ("done", None, STEPS)
    assert finished.path == run.path
    scores = {e.step: e.score.nats for e in of_kind(events, Evaluated)}
    lowest = min(scores, key=scores.get)
    assert finished.best == Best(lowest, scores[lowest])
    assert finished.validation == of_kind(events, Evaluated)[-1].score


def test_losses_are_smoothed_as_in_min_char_rnn_and_averaged_between_two_lines(
    tmp_path, source, monkeypatch
):
    losses = []
    update = ReferenceLearner.update

    def recording(self, *step):
        losses.append(update(self, *step))
        return losses[-1]

    monkeypatch.setattr(ReferenceLearner, "update", recording)
    run = new_run(tmp_path / "run", config_of(source))
    smooth = math.log(len(run.vocabulary))
    play(run)
    lines = run.metrics()
    assert len(lines) == len(losses) == STEPS
    for line, loss in zip(lines, losses, strict=True):
        smooth = 0.999 * smooth + 0.001 * loss
        assert line.loss == loss
        assert line.smooth == pytest.approx(smooth, rel=1e-12)
        assert line.characters == line.step * 40
        assert (line.validation_loss is None) == (line.step not in (5, 10, 15, 20, 24))
    assert lines[0].rate == TRAIN.learning_rate


def test_a_long_run_writes_a_bounded_number_of_lines_and_their_means(tmp_path, source):
    plan = replace(TRAIN, iterations=1203, dropout=0.0, schedule="constant")
    watch = replace(NEVER, checkpoint_every=401)
    run = new_run(tmp_path / "run", config_of(source, engine="compiled", train=plan, watch=watch))
    play(run)
    lines = run.metrics()
    assert [line.step for line in lines] == [*range(3, 1203, 3), 1203]


def test_left_to_itself_a_run_looks_a_bounded_number_of_times(tmp_path, source):
    plan = replace(TRAIN, iterations=1000)
    watch = WatchConfig(sample_length=1)
    events = play(
        new_run(tmp_path / "r", config_of(source, engine="compiled", train=plan, watch=watch))
    )
    assert [e.step for e in of_kind(events, Evaluated)] == list(range(50, 1001, 50))
    assert [e.step for e in of_kind(events, Saved)] == list(range(0, 1001, 50))
    assert [e.step for e in of_kind(events, Sampled)] == list(range(125, 1001, 125))


def test_progress_comes_by_the_clock_and_not_with_every_update(tmp_path, source, monkeypatch):
    times = iter(range(10**9))
    for module in (training, reporter):
        monkeypatch.setattr(module, "perf_counter", lambda: next(times) * 0.01)  # 10 ms a look
    plan = replace(TRAIN, iterations=500)
    events = play(new_run(tmp_path / "r", config_of(source, train=plan, watch=NEVER)))
    told = of_kind(events, Progress)
    gaps = np.diff([e.seconds for e in told])
    assert len(told) > 50
    assert gaps[:-1].min() >= training.TICK_SECONDS / 2
    assert gaps.max() < 2 * training.TICK_SECONDS
    assert [e.step for e in told] == sorted({e.step for e in told})
    assert all(e.speed > 0 and e.left >= 0 for e in told[1:])
    assert told[-1].left == 0


# ---- the best


def test_the_checkpoint_of_the_lowest_held_out_loss_stays(tmp_path, source, monkeypatch):
    nats = iter([3.0, 2.0, 2.5, 2.0, 2.25])
    monkeypatch.setattr(monitor, "evaluate", lambda *_: Score(next(nats), 10))
    watch = replace(OFTEN, evaluate_every=5, checkpoint_every=12, keep=1)
    run = new_run(tmp_path / "run", config_of(source, watch=watch))
    events = play(run)
    assert [e.best for e in of_kind(events, Evaluated)] == [True, True, False, False, False]
    assert [(e.step, e.best) for e in of_kind(events, Saved)] == [
        (0, False),
        (5, True),
        (10, True),
        (12, False),
        (24, False),
    ]
    assert events[-1].best == Best(10, 2.0)
    assert steps(run.checkpoints) == [10, 24]
    assert run.checkpoint().meta.step == 10


def test_without_held_out_text_the_best_is_the_lowest_mean_loss_of_late(tmp_path, source):
    config = config_of(source, train=replace(TRAIN, learning_rate=5.0, schedule="constant"))
    config = replace(config, data=replace(config.data, validation=0))
    run = new_run(tmp_path / "run", config)
    events = play(run)
    assert of_kind(events, Evaluated) == []
    weights = 0.001 * 0.999 ** np.arange(STEPS)
    losses = [line.loss for line in run.metrics()]
    mean = {
        step: np.average(losses[:step][::-1], weights=weights[:step])
        for step in range(1, STEPS + 1)
    }
    saved = [e.step for e in of_kind(events, Saved) if e.step]
    lowest = min(saved, key=mean.get)
    assert events[-1].best == Best(lowest, pytest.approx(mean[lowest], rel=1e-9))
    assert events[-1].training == pytest.approx(mean[STEPS], rel=1e-9)
    assert (events[-1].validation, events[-1].final.held_out) == (None, False)


# ---- samples on the way


class Late:
    """A loss that is still being computed."""

    def __init__(self, loss):
        self.loss = loss

    def __float__(self):
        return self.loss


class Scripted:
    """A learner whose losses are given."""

    def __init__(self, losses, weights):
        self.losses, self.weights = iter(losses), weights

    def update(self, inputs, targets, rate):
        return next(self.losses)

    def loss(self, inputs, targets):
        return 1.0

    def reset(self):
        pass

    def arrays(self):
        return self.weights

    def load(self, arrays):
        pass


def scripted(monkeypatch, losses):
    create = training.create_learner
    monkeypatch.setattr(
        training, "create_learner", lambda *args: Scripted(losses, create(*args).arrays())
    )


def test_samples_at_new_lowest_losses_once_they_are_low_enough(tmp_path, source, monkeypatch):
    monkeypatch.setattr(training_state, "SMOOTHING", 0.0)
    watch = WatchConfig(
        evaluate_every=0,
        checkpoint_every=0,
        sample_every=2,
        sample_at_best=True,
        sample_below=0.5,
        write_below=0.25,
        sample_length=4,
    )
    run = new_run(tmp_path / "run", config_of(source, watch=watch))
    start = math.log(len(run.vocabulary))
    shares = [0.9, 0.8, 0.4, 0.49, 0.6, 0.49, 0.3, 0.3, 0.1, 0.2, 0.3, 0.21, 0.9, 0.9, 0.1, 0.15]
    shares += [1.0] * (STEPS - len(shares))
    scripted(monkeypatch, [share * start for share in shares])
    events = play(run)
    # Looked at after every second update: 0.8, 0.49, 0.49, 0.3, 0.2, 0.21, 0.9, 0.15, 1 ...
    assert [e.step for e in of_kind(events, Sampled)] == [4, 8, 10, 16]
    written = (run.path / "samples" / "generated.txt").read_text()
    assert [
        int(line.split("step ")[1].split(",")[0]) for line in written.splitlines() if "----" in line
    ] == [10, 16]
    texts = {e.step: e.text for e in of_kind(events, Sampled)}
    assert all(len(text) == 4 for text in texts.values())
    assert (run.path / "samples" / "00000008.txt").read_text() == texts[8]


def test_samples_of_different_steps_are_drawn_with_different_numbers(tmp_path, source, monkeypatch):
    scripted(monkeypatch, [1.0] * STEPS)
    watch = replace(NEVER, sample_every=12, sample_length=40)
    first, second = of_kind(play(new_run(tmp_path / "r", config_of(source, watch=watch))), Sampled)
    assert first.text != second.text  # the weights are the same


# ---- signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_the_very_step_and_leaves(tmp_path, source, stop_at, number):
    before = signal.getsignal(number)
    run = new_run(tmp_path / "run", config_of(source, watch=NEVER))
    stop_at(11, number)
    events = play(run)
    assert isinstance(events[-2], Saved)
    assert events[-2].path == run.checkpoints / "00000011"
    finished = events[-1]
    assert (finished.reason, finished.signal, finished.step) == ("interrupted", number, 11)
    assert run.checkpoint("latest").meta.step == 11
    assert signal.getsignal(number) is before


def test_a_signal_before_the_first_update_saves_the_beginning(tmp_path, poem, unbroken):
    run = new_run(tmp_path / "run", config_of(poem))
    events = train(run)
    assert isinstance(next(events), Started)
    signal.raise_signal(signal.SIGTERM)
    assert [type(e) for e in events] == [Saved, Finished]
    assert steps(run.checkpoints) == [0]
    play(run, resume=True)
    assert outcome(run) == unbroken[2]


def test_a_second_interrupt_leaves_at_once_and_the_checkpoint_before_is_whole(tmp_path, source):
    before = signal.getsignal(signal.SIGINT)
    run = new_run(tmp_path / "run", config_of(source))
    events = train(run)
    for event in events:
        if isinstance(event, Saved) and event.step == 6:
            break
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    events.close()
    assert signal.getsignal(signal.SIGINT) is before
    assert run.checkpoint("latest").meta.step == 6
    assert play(run, resume=True)[-1].step == STEPS


def test_what_was_ignored_stays_ignored(tmp_path, source):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        events = train(new_run(tmp_path / "run", config_of(source)))
        next(events)
        signal.raise_signal(signal.SIGHUP)
        assert list(events)[-1].reason == "done"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_a_run_trains_without_handlers(tmp_path, source):
    run = new_run(tmp_path / "run", config_of(source))
    found = []
    thread = threading.Thread(target=lambda: found.extend(play(run)))
    thread.start()
    thread.join()
    assert found[-1].reason == "done"


def test_whoever_stops_listening_gives_the_folder_and_the_handlers_back(tmp_path, source):
    before = signal.getsignal(signal.SIGTERM)
    run = new_run(tmp_path / "run", config_of(source))
    events = train(run)
    next(events)
    with refused("busy"):
        next(train(Run.open(run.path)))
    events.close()
    assert signal.getsignal(signal.SIGTERM) is before
    assert play(run)[-1].reason == "done"


def test_a_signal_breaks_off_an_evaluation_or_a_sample_which_is_made_up_for(
    tmp_path, poem, unbroken, monkeypatch
):
    for name in ("evaluate", "generate"):
        run = new_run(tmp_path / name, config_of(poem))
        with monkeypatch.context() as patched:
            real, calls = getattr(monitor, name), []

            def interrupted(*args, real=real, calls=calls, **more):
                calls.append(args)
                if len(calls) == 2:
                    signal.raise_signal(signal.SIGTERM)
                    raise AssertionError("it went on")
                return real(*args, **more)

            patched.setattr(monitor, name, interrupted)
            finished = play(run)[-1]
        assert (finished.reason, finished.signal) == ("interrupted", signal.SIGTERM)
        assert finished.step == {"evaluate": 10, "generate": 14}[name]
        assert run.checkpoint("latest").meta.due
        run.append_metrics(Line(step=finished.step))  # a kill while it is made up for
        play(run, resume=True)
        assert outcome(run) == unbroken[2]


def test_a_signal_can_ask_for_a_checkpoint(tmp_path, source):
    run = new_run(tmp_path / "run", config_of(source, watch=replace(OFTEN, checkpoint_every=0)))
    events = train(run)
    for event in events:
        if isinstance(event, Evaluated):
            signal.raise_signal(signal.SIGUSR1)
            break
    rest = list(events)
    assert [e.step for e in of_kind(rest, Saved)] == [5, STEPS]
    assert rest[-1].reason == "done"


@pytest.mark.parametrize("diverges", [False, True])
def test_a_disk_that_is_full_for_a_while_ends_neither_a_resumed_run_nor_a_rollback(
    tmp_path, poem, unbroken, monkeypatch, diverges
):
    run = stopped(tmp_path / "run", config_of(poem), 7)
    run.append_metrics(Line(step=8))
    if diverges:
        scripted(monkeypatch, [math.nan] + [1.0] * STEPS)
    truncate, failures = metrics.truncate, iter([True] * 3)

    def full_at_first(path, step):
        if next(failures, False):
            raise OSError(errno.ENOSPC, "full")
        truncate(path, step)

    monkeypatch.setattr(metrics, "truncate", full_at_first)
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.0)
    events = play(run, resume=True)
    assert [type(event) for event in events].count(Warned) == 2 + diverges
    assert [line.step for line in run.metrics()] == list(range(1, STEPS + 1))
    if not diverges:
        assert outcome(run) == unbroken[2]


@pytest.mark.parametrize("changes", [{"length": 100_000}, {"batch": 100_000}])
def test_a_step_that_is_larger_than_the_text_takes_no_memory(
    tmp_path, source, monkeypatch, changes
):
    run = new_run(tmp_path / "run", config_of(source))
    path = run.path / "config.json"
    config = replace(run.config, train=replace(TRAIN, **changes))
    path.write_bytes(msgspec.json.encode(config))
    monkeypatch.setattr(training, "create_learner", None)
    with refused("no-text"):
        play(Run.open(run.path))


# ---- NaN and infinity


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_leads_back_to_the_checkpoint_before(
    tmp_path, source, monkeypatch, bad
):
    machine = Machine(monkeypatch, lambda _: 0.0)
    losses = iter([1.0] * 8 + [bad] + [1.0] * 30)
    machine.losses = lambda: next(losses)
    plan = replace(TRAIN, schedule="constant")
    run = new_run(tmp_path / "run", config_of(source, train=plan))
    events = play(run)
    assert [e.step for e in of_kind(events, Warned)] == [9]
    assert machine.rates == [0.2] * 9 + [0.1] * (STEPS - 6)
    rollback = Rollback(at=9, to=6, loss=repr(bad))
    assert run.checkpoint("latest").meta.rollbacks == [rollback]
    lines = run.metrics()
    assert [line.step for line in lines] == list(range(1, STEPS + 1))
    told = {line.step: line.setbacks for line in lines if line.setbacks}
    assert told == {7: (Setback(9, 6, repr(bad)),)}
    assert events[-1].reason == "done"


def test_what_was_broken_off_after_a_rollback_goes_on_with_half_the_rate(
    tmp_path, source, monkeypatch, stop_at
):
    outcomes = []
    for name in ("unbroken", "stopped"):
        run = new_run(tmp_path / name, config_of(source))
        update, calls = ReferenceLearner.update, []

        def break_once(self, *step, update=update, calls=calls):
            calls.append(step)
            return math.nan if len(calls) == 9 else update(self, *step)

        with monkeypatch.context() as patched:
            patched.setattr(ReferenceLearner, "update", break_once)
            events = train(run)
            for event in events:
                if name == "stopped" and isinstance(event, Saved) and calls[8:]:
                    break  # the checkpoint that was gone back to has been written again
            events.close()
        if name == "stopped":
            assert run.checkpoint("latest").meta.step == 6
            play(run, resume=True)
        outcomes.append(outcome(run))
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0]["meta"]["rollbacks"]) == 1


def test_a_network_that_breaks_a_fourth_time_is_given_up(tmp_path, source, monkeypatch):
    scripted(monkeypatch, [1.0] * 8 + [math.nan] * 9)
    run = new_run(tmp_path / "run", config_of(source))
    with refused("diverged", step=7):
        play(run)
    assert len(run.checkpoint("latest").meta.rollbacks) == 3
    assert all(math.isfinite(line.loss) for line in run.metrics())


def test_weights_that_are_not_finite_are_not_saved(tmp_path, source, monkeypatch):
    create = training.create_learner

    class Spoiled(Scripted):
        def update(self, inputs, targets, rate):
            if rate == TRAIN.learning_rate and self.made == 5:
                self.weights["head.b"][0] = math.nan
            self.made += 1
            return 1.0

        def load(self, arrays):
            self.weights.update(arrays)

    Spoiled.made = 0
    monkeypatch.setattr(
        training, "create_learner", lambda *args: Spoiled([], create(*args).arrays())
    )
    plan = replace(TRAIN, schedule="constant")
    looks = replace(NEVER, checkpoint_every=3)
    run = new_run(tmp_path / "run", config_of(source, train=plan, watch=looks))
    events = play(run)
    assert [e.step for e in of_kind(events, Warned)] == [6]
    assert run.checkpoint("latest").meta.rollbacks == [Rollback(at=6, to=3, loss="nan")]
    assert np.isfinite(run.checkpoint("latest").weights["head.b"]).all()


@pytest.fixture
def one_tick(monkeypatch):
    """Let nothing be due before step 12, and no tick be over."""
    monkeypatch.setattr(training, "next_due", lambda *_: 12)
    monkeypatch.setattr(training, "TICK_SECONDS", math.inf)


def test_a_lazy_loss_is_waited_for_only_at_the_end_of_a_tick(
    tmp_path, source, monkeypatch, one_tick
):
    asked, made = [], []

    class Lazy(Late):
        def __float__(self):
            asked.append(len(made))
            return self.loss

    class Learner(Scripted):
        def update(self, *step):
            made.append(step)
            return Lazy(1.0)

    create = training.create_learner
    monkeypatch.setattr(
        training, "create_learner", lambda *args: Learner([], create(*args).arrays())
    )
    plan = replace(TRAIN, schedule="constant", iterations=12)
    play(new_run(tmp_path / "run", config_of(source, train=plan, watch=NEVER)))
    assert asked == [1] + [12] * 11  # the first step is a tick of its own


def test_late_losses_change_nothing(tmp_path, source, monkeypatch):
    """Not those of a schedule that follows from them either."""
    outcomes = []
    update = ReferenceLearner.update
    for name in ("at once", "late"):
        run = new_run(tmp_path / name, config_of(source))
        play(run)
        outcomes.append(outcome(run))
        monkeypatch.setattr(ReferenceLearner, "update", lambda *step: Late(update(*step)))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0]["meta"]["schedule"]["scale"] < 1


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("diverged", [False, True])
def test_a_jump_is_looked_into_whenever_it_is_seen(
    tmp_path, source, monkeypatch, one_tick, late, diverged
):
    """Of four steps of 512 characters the losses are known, when step 8, amid a tick, jumps."""
    losses, made, asked = iter([2.0] * 7 + [4.0] * 40), [], []

    def update(self, *step):
        made.append(next(losses))
        return Late(made[-1]) if late else made[-1]

    def loss_now(self, inputs, targets):
        asked.append(len(made))
        return 4.0 if diverged and len(made) in (8, 12) else 2.0

    monkeypatch.setattr(Scripted, "update", update)
    monkeypatch.setattr(Scripted, "loss", loss_now)
    scripted(monkeypatch, [])
    source.write_text(TEXT * 40)
    plan = replace(TRAIN, batch=16, length=32, schedule="constant", dropout=0.0, iterations=12)
    run = new_run(tmp_path / "run", config_of(source, train=plan, watch=NEVER))
    events = play(run)
    assert [e.step for e in of_kind(events, Warned)] == ([8] if diverged else [])
    known = [Rollback(at=8, to=0, loss="4.0")] if diverged else []
    assert run.checkpoint("latest").meta.rollbacks == known
    assert asked[:4] == [12 if late else 8] * 4
    assert events[-1].reason == "done"


# ---- beginning and going on


@pytest.mark.parametrize(
    ("iterations", "epochs", "total"), [(7, None, 7), (None, 1.5, 12), (7, 1.5, 7), (99, 0.1, 1)]
)
def test_a_run_ends_with_its_iterations_or_epochs_whichever_comes_first(
    tmp_path, source, iterations, epochs, total
):
    plan = replace(TRAIN, iterations=iterations, epochs=epochs)
    events = play(new_run(tmp_path / "run", config_of(source, train=plan, watch=NEVER)))
    assert events[0].total == events[-1].step == total


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"a", "no-text"),
        (b"ab" * 20, "no-text"),
        (b"\xff\xfea", "not-text"),
        (b"caf\xe9 " * 99, "not-text"),
    ],
)
def test_a_text_that_cannot_be_learned_leaves_no_folder(tmp_path, source, content, code):
    source.write_bytes(content)
    given = {"batch": TRAIN.batch, "length": TRAIN.length, "iterations": STEPS}
    with refused(code):
        prepare([str(source)], given, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_trained_run_is_not_trained_over(tmp_path, poem, unbroken):
    run = copied(unbroken[0], tmp_path / "run")
    with refused("taken"):
        play(run)
    events = play(run, resume=True)
    assert [type(e) for e in events] == [Started, Finished]
    assert events[-1].reason == "done"
    assert outcome(run) == unbroken[2]


def test_a_run_that_never_saved_begins_at_the_beginning_when_it_is_resumed(
    tmp_path, poem, unbroken
):
    run = new_run(tmp_path / "run", config_of(poem))
    run.append_metrics(Line(step=1, loss=99.0))
    play(run, resume=True)
    assert outcome(run) == unbroken[2]


def test_a_damaged_newest_checkpoint_is_passed_over_and_it_is_said(
    tmp_path, poem, unbroken, stop_at
):
    run = new_run(tmp_path / "run", config_of(poem))
    stop_at(13)
    play(run)
    (run.checkpoints / "00000013" / "state.safetensors").write_bytes(b"")
    stop_at(0)
    events = play(run, resume=True)
    assert events[0].step == 12
    assert any("00000013" in note and "state.safetensors" in note for note in events[0].notes)
    assert outcome(run) == unbroken[2]


def test_other_versions_are_said(tmp_path, source, stop_at, monkeypatch):
    run = new_run(tmp_path / "run", config_of(source))
    stop_at(5)
    play(run)
    stop_at(0)
    now = training_state.versions("reference")
    monkeypatch.setattr(training_state, "versions", lambda _: now | {"numpy": "99"})
    notes = next(train(run, resume=True)).notes
    (note,) = notes
    assert all(word in note for word in ("numpy", now["numpy"], "99"))


def test_a_run_from_another_begins_with_its_best_weights_and_nothing_else(tmp_path, source):
    teacher = new_run(tmp_path / "teacher", config_of(source))
    play(teacher)
    other = tmp_path / "other.txt"
    other.write_text(TEXT[80:] * 2)
    config = replace(config_of(other, watch=replace(OFTEN, keep=99)), start=str(teacher.path))
    run = new_run(tmp_path / "run", config)
    play(run)
    assert run.vocabulary == teacher.vocabulary
    begun = run.checkpoint(0)
    best = teacher.load_weights()
    assert {n: w.tobytes() for n, w in begun.weights.items()} == {
        n: w.tobytes() for n, w in best.items()
    }
    assert not any(a.any() for name, a in begun.state.items() if name != "rng.seed")
    assert begun.meta.cursor == {"position": 0, "epoch": 0}


def test_another_run_in_the_place_of_the_one_to_begin_with_is_refused(tmp_path, source):
    teacher = new_run(tmp_path / "teacher", config_of(source))
    play(teacher)
    run = new_run(tmp_path / "run", replace(config_of(source), start=str(teacher.path)))
    path = teacher.path / "vocabulary.json"
    path.write_text(path.read_text().replace('"y"', '"z"'))
    with refused("other-settings", path=teacher.path):
        play(run)


@pytest.mark.parametrize("engine", ["reference", "compiled"])
def test_characters_that_the_other_run_did_not_know_are_added_and_told(tmp_path, source, engine):
    teacher = new_run(tmp_path / "teacher", config_of(source, engine=engine))
    play(teacher)
    source.write_text((TEXT + "Größe\n") * 2)
    watch = replace(OFTEN, keep=99)
    config = replace(config_of(source, engine=engine, watch=watch), start=str(teacher.path))
    run = new_run(tmp_path / "run", config)
    events = play(run)
    assert {*run.vocabulary.characters} == {*teacher.vocabulary.characters, *"Größe\n"}
    (note,) = (note for note in events[0].notes if "ß" in note)
    assert str(teacher.path) in note
    places = run.vocabulary.encode("".join(teacher.vocabulary.characters))
    then, begun = teacher.load_weights(), run.checkpoint(0)
    for name, axis in (("layer0.Wx", 0), ("head.W", 1), ("head.b", 0)):
        assert np.array_equal(begun.weights[name].take(places, axis), then[name])
    assert np.array_equal(begun.weights["layer1.Wx"], then["layer1.Wx"])
    assert not any(a.any() for name, a in begun.state.items() if name != "rng.seed")


def test_all_new_characters_are_named_if_they_are_many(tmp_path, source):
    teacher = new_run(tmp_path / "teacher", config_of(source))
    play(teacher)
    many = "ÆØÅæøåЖдñ☃☂"
    source.write_text((TEXT + many + "\n") * 2)
    run = new_run(tmp_path / "run", replace(config_of(source), start=str(teacher.path)))
    (note,) = (note for note in play(run)[0].notes if note.startswith("11 characters added"))
    assert all(repr(character) in note for character in many)


# ---- minutes


class Machine:
    """Plays the clock: an update takes `cost(now)` seconds, and so much else as is asked."""

    def __init__(self, monkeypatch, cost, losses=None):
        self.now = 500.0
        create = training.create_learner
        self.losses = losses or (lambda: 1.0)

        class Learner(Scripted):
            def update(learner, inputs, targets, rate):  # noqa: N805
                self.now += cost(self.now - 500)
                self.rates.append(rate)
                return self.losses()

        self.rates = []
        for module in (training, reporter):
            monkeypatch.setattr(module, "perf_counter", lambda: self.now)
        monkeypatch.setattr(
            training, "create_learner", lambda *args: Learner([], create(*args).arrays())
        )


def timed(minutes, iterations, **more):
    more = {"schedule": "cosine", "warmup": 5} | more
    return replace(TRAIN, minutes=minutes, iterations=iterations, **more)


LIGHT = WatchConfig(sample_length=1)


@pytest.mark.parametrize(
    ("cost", "steps_made"),
    [
        (lambda _: 0.05, 1200),
        (lambda now: 0.05 if now < 30 else 0.15, 800),
        (lambda now: 0.05 if now < 30 else 0.025, 1800),
    ],
    ids=["steady", "slowed to a third", "twice as fast"],
)
def test_a_run_with_minutes_ends_with_them_and_so_does_its_rate(
    tmp_path, source, monkeypatch, cost, steps_made
):
    machine = Machine(monkeypatch, cost)
    run = new_run(tmp_path / "run", config_of(source, train=timed(1.0, 1000), watch=LIGHT))
    events = list(train(run, began=machine.now))
    finished = events[-1]
    assert finished.reason == "done"
    assert finished.seconds == pytest.approx(60, rel=0.02)
    assert finished.step == finished.total == pytest.approx(steps_made, rel=0.03)
    assert machine.rates[-1] < 0.001 * TRAIN.learning_rate
    assert events[0].total == 1000
    progress = of_kind(events, Progress)
    assert progress[-1].total == finished.step
    assert all(e.left == pytest.approx(max(0.0, 60 - e.seconds)) for e in progress[2:-1])
    again = play(Run.open(run.path), resume=True)
    assert [type(e) for e in again] == [Started, Finished]
    assert (again[0].total, again[1].step, again[1].reason) == (
        finished.step,
        finished.step,
        "done",
    )


def test_what_was_spent_before_counts_and_a_resumed_run_has_what_is_left(
    tmp_path, source, monkeypatch, stop_at
):
    config = config_of(source, train=timed(1.0, 1000), watch=LIGHT)
    run = new_run(tmp_path / "run", config)
    stop_at(300)
    machine = Machine(monkeypatch, lambda _: 0.05)
    machine.now += 20  # reading, compiling
    stopped = list(train(run, began=machine.now - 20))[-1]
    assert (stopped.reason, stopped.advice.name) == ("interrupted", "stopped")
    assert stopped.seconds == pytest.approx(35)
    machine.now += 1000
    stop_at(0)
    machine = Machine(monkeypatch, lambda _: 0.05)
    finished = list(train(Run.open(run.path), resume=True, began=machine.now))[-1]
    assert finished.seconds == pytest.approx(60, rel=0.02)
    assert finished.step == pytest.approx(800, rel=0.03)


def test_an_end_that_does_not_move_changes_no_bit(tmp_path, source, monkeypatch):
    config = config_of(source, train=timed(None, STEPS))
    plain = new_run(tmp_path / "plain", config)
    play(plain)
    monkeypatch.setattr(training.TimeBudget, "total", lambda self, step, total, *_: total)
    run = new_run(tmp_path / "run", replace(config, train=timed(60.0, STEPS)))
    assert play(run)[-1].reason == "done"
    assert outcome(run)["arrays"] == outcome(plain)["arrays"]


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_a_run_whose_end_has_moved_goes_on_to_the_same_bits(
    tmp_path, source, stop_at, monkeypatch, schedule
):
    ends = {3: 40, 9: 14, 12: 30, 25: 26}
    monkeypatch.setattr(
        training.TimeBudget, "total", lambda self, step, total, *_: ends.get(step, total)
    )
    config = config_of(source, train=timed(60.0, STEPS, schedule=schedule))
    unbroken = new_run(tmp_path / "unbroken", config)
    assert play(unbroken)[-1].step == 26
    expected = outcome(unbroken)
    for step in (2, 3, 8, 9, 11, 20, 25):
        run = new_run(tmp_path / f"stopped{step}", config)
        stop_at(step)
        assert play(run)[-1].step == step
        stop_at(0)
        assert play(Run.open(run.path), resume=True)[-1].step == 26
        assert outcome(run) == expected, f"stopped after {step}"


def test_a_run_with_minutes_stops_where_held_out_loss_has_turned(tmp_path, source, monkeypatch):
    nats = [3.0, 2.0, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0]
    config = config_of(source, train=timed(1.0, 1000), watch=replace(LIGHT, evaluate_every=50))
    for name, minutes, end in (("timed", 1.0, 350), ("plain", None, 400)):
        scores = iter(nats)
        monkeypatch.setattr(monitor, "evaluate", lambda *_, s=scores: Score(next(s), 9))
        Machine(monkeypatch, lambda _: 0.05)
        run = new_run(tmp_path / name, replace(config, train=timed(minutes, 400)))
        finished = play(run)[-1]
        assert finished.step == end
        assert finished.reason == ("done" if minutes is None else "turned")
        assert finished.best == Best(150, 1.5)
        assert steps(run.checkpoints)[-1] == end
        assert finished.advice.name == "beaten"  # by n-grams, on a text that repeats
        assert diagnose(run)[0] == finished.advice
        if minutes is not None:
            before = outcome(run)
            assert play(Run.open(run.path), resume=True)[-1].step == end
            assert outcome(run) == before


def test_a_run_with_minutes_and_epochs_ends_with_the_sooner(tmp_path, source, monkeypatch):
    for name, seconds, end in (("few", 0.001, 40), ("slow", 2.0, 27)):
        Machine(monkeypatch, lambda _, seconds=seconds: seconds)
        config = config_of(source, train=timed(1.0, 10), watch=LIGHT)
        run = new_run(tmp_path / name, config)
        epochs = 40 / Streams(run.dataset().train, TRAIN.batch, TRAIN.length).steps_per_epoch
        run = new_run(tmp_path / f"{name}-e", replace(config, train=timed(1.0, 10, epochs=epochs)))
        finished = play(run)[-1]
        assert (finished.reason, finished.step) == ("done", pytest.approx(end, abs=3))


def test_of_much_held_out_text_a_run_with_minutes_scores_a_part_that_is_spread_evenly(
    tmp_path, source, monkeypatch
):
    source.write_text(TEXT * 100)
    Machine(monkeypatch, lambda _: 0.05)
    run = new_run(tmp_path / "run", config_of(source, train=timed(0.1, 100), watch=LIGHT))
    events = play(run)
    held_out = events[0].parts.validation
    assert len(held_out) == 3900
    assert f" 2,000 of {len(held_out):,} characters, spread evenly" in events[0].notes[-1]
    scores = [e.score for e in of_kind(events, Evaluated)]
    assert {(s.characters, s.whole) for s in scores} == {(1995, 3900)}  # in seven stretches
    assert events[-1].best.loss == min(score.nats for score in scores)
    assert scores[-1] == evaluate_part(open_model(run.path, "reference"), held_out, 2000)


def test_a_run_of_an_earlier_version_goes_on_with_the_first_part(
    tmp_path, source, monkeypatch, stop_at
):
    source.write_text(TEXT * 20)
    monkeypatch.setattr(cadence, "ENOUGH_CHARACTERS", 100)
    monkeypatch.setattr(training_state, "SPREAD", False)
    run = new_run(tmp_path / "run", config_of(source))
    stop_at(7)
    events = play(run)
    held_out = events[0].parts.validation
    assert not run.checkpoint("latest").meta.spread
    monkeypatch.setattr(training_state, "SPREAD", True)
    stop_at(0)
    events = play(Run.open(run.path), resume=True)
    assert "the first 192 of 780 " in events[0].notes[-1]
    score = of_kind(events, Evaluated)[-1].score
    assert (score.characters, score.whole) == (192, 780)
    assert score.nats == evaluate(open_model(run.path, "reference"), held_out[:192]).nats


# ---- n-grams


@pytest.mark.parametrize("smoothing", ["kneser-ney", "none"])
def test_an_n_gram_run_tells_the_same_events_and_is_left_alone_when_resumed(
    tmp_path, source, smoothing
):
    config = replace(config_of(source), model=NgramConfig(order=3, smoothing=smoothing))
    run = new_run(tmp_path / "run", config)
    events = play(run)
    assert [type(e) for e in events] == [Started, Evaluated, Sampled, Saved, Finished]
    score = events[1].score
    assert events[-1].validation == score
    assert run.metrics()[0].validation_loss == score.nats
    model = open_model(run.path)
    assert evaluate(model, events[0].parts.validation) == score
    assert (run.path / "samples" / "00000001.txt").read_text() == events[2].text
    again = play(Run.open(run.path), resume=True)
    assert [type(e) for e in again] == [Started, Finished]
    assert again[0].parameters == events[0].parameters
    assert len(run.metrics()) == 1


def test_an_n_gram_run_that_was_killed_before_it_saved_can_be_resumed(tmp_path, source):
    run = new_run(tmp_path / "run", replace(config_of(source), model=NgramConfig()))
    run.append_metrics(Line(step=1))
    assert play(run, resume=True)[-1].reason == "done"
    assert [line.step for line in run.metrics()] == [1]


def test_the_best_model_of_a_run_can_be_opened(tmp_path, source):
    run = new_run(tmp_path / "run", config_of(source))
    events = play(run)
    score = evaluate(open_model(run.path), events[0].parts.validation)
    assert score.nats == pytest.approx(events[-1].best.loss, rel=1e-12)


def test_training_loads_nothing_that_draws_on_a_terminal():
    script = (
        "import sys, charloom.training.loop; print({'click', 'rich', 'torch'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_a_signal_just_as_the_first_step_is_counted_loses_no_line_of_metrics(source, tmp_path):
    config = config_of(source)
    whole = new_run(tmp_path / "whole", config)
    play(whole)
    count = training_state.TrainState.count

    def count_and_signal(state, losses):
        count(state, losses)
        signal.raise_signal(signal.SIGHUP)

    run = new_run(tmp_path / "cut", config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_state.TrainState, "count", count_and_signal)
        finished = play(run)[-1]
    assert (finished.signal, run.checkpoint("latest").meta.due) == (signal.SIGHUP, True)
    assert play(run, resume=True)[-1].reason == "done"
    cut, uncut = ([line.step for line in each.metrics()] for each in (run, whole))
    assert cut == uncut
