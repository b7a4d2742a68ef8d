"""`charloom resume RUN --minutes X`: more time for a run that has ended, or was stopped."""

import math

import msgspec
import numpy as np
import pytest

import charloom
from charloom.cli.resume import resume
from charloom.config import Extension, ModelConfig, NgramConfig, TransformerConfig, replace
from charloom.evaluation import Score
from charloom.files import read_json
from charloom.runs.meta import Best
from charloom.runs.run import Run
from charloom.training import loop as training
from charloom.training import monitor
from charloom.training.cadence import Intervals
from charloom.training.events import Started
from charloom.training.facts import facts_of
from charloom.training.loop import train
from charloom.training.schedules import Schedule
from charloom.training.time_budget import TimeBudget
from checkpoints import forge
from expect import refused
from small_runs import (
    OFTEN,
    STEPS,
    TRAIN,
    config_of,
    copied,
    new_run,
    outcome,
    played,
    signal_during_update,
    stopped,
    write_text,
)

MORE = 40  # the step at which an extended run ends, in these tests
COSINE = replace(TRAIN, schedule="cosine", final_rate=0.1)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def finished(source, tmp_path_factory):
    return played(tmp_path_factory.mktemp("finished") / "run", config_of(source, train=COSINE))


@pytest.fixture
def run(finished, tmp_path):
    """A run that has ended, which a test may change."""
    return copied(finished, tmp_path / "run")


@pytest.fixture
def rates(monkeypatch):
    """The first learning rate of each step; and runs with minutes end at MORE."""
    seen = {}
    rate_of = Schedule.rate

    def rate(schedule, step):
        found = rate_of(schedule, step)
        seen.setdefault(step, found)  # later it is asked for to be shown
        return found

    monkeypatch.setattr(Schedule, "rate", rate)
    end_at(monkeypatch, MORE)
    return seen


def end_at(monkeypatch, end):
    """Let runs with minutes end at this step, whatever the time."""

    def total(budget, step, planned, *_):
        return planned if math.isinf(budget.seconds) else max(step, end)

    monkeypatch.setattr(TimeBudget, "total", total)


def longer(run, minutes=5.0):
    return list(train(run, resume=True, minutes=minutes))


def minutes_of(config):
    return [extension.minutes for extension in config.extended]


def test_a_run_that_has_ended_goes_on_from_what_it_learned(run, rates):
    before, lines, first = run.config, run.metrics(), run.checkpoint("latest").meta
    assert run.final().step == STEPS
    events = longer(run)
    started, ended = events[0], events[-1]
    assert (started.step, ended.step, ended.reason) == (STEPS, MORE, "done")
    assert run.metrics()[: len(lines)] == lines
    assert run.metrics()[-1].step == MORE
    assert run.final().step == MORE
    peak = COSINE.learning_rate
    assert rates[STEPS] == pytest.approx(peak / 2)
    falling = [rates[step] for step in range(STEPS, MORE)]
    assert falling == sorted(falling, reverse=True)
    assert 0.1 * peak < falling[-1] < 0.11 * peak
    config = Run.open(run.path).config
    assert config == run.config == run.checkpoint("latest").meta.config
    assert minutes_of(config) == [5.0]
    assert config.granted == 5.0
    assert config.train.minutes == pytest.approx(5 + first.seconds / 60, rel=1e-9)
    assert config.train.iterations > STEPS
    assert config.train.epochs is None
    unchanged = {"minutes": None, "iterations": None, "epochs": None}
    assert replace(config.train, **unchanged) == replace(before.train, **unchanged)
    assert replace(config, train=before.train, extended=()) == before


def test_an_extended_run_is_left_alone_by_resume_and_extended_again(run, rates, monkeypatch):
    longer(run)
    before = outcome(run)
    assert list(train(run, resume=True))[-1].step == MORE
    assert outcome(run) == before
    end_at(monkeypatch, MORE + 10)
    assert longer(run, 2.0)[-1].step == MORE + 10
    assert minutes_of(run.config) == [5.0, 2.0]
    assert rates[MORE] == pytest.approx(COSINE.learning_rate / 2)


@pytest.mark.parametrize("step", [STEPS + 2, STEPS + 3, STEPS + 9, MORE - 1])
def test_an_extended_run_that_is_stopped_goes_on_to_the_same_bits(
    finished, tmp_path, rates, step, monkeypatch
):
    # which end is planned depends on the speed of this machine, and with it what is due when
    monkeypatch.setattr("charloom.training.extension.MOST_STEPS", MORE - STEPS)
    whole, cut = copied(finished, tmp_path / "whole"), copied(finished, tmp_path / "cut")
    longer(whole)
    with signal_during_update(step - STEPS):
        assert longer(cut)[-1].reason == "interrupted"
    assert list(train(Run.open(cut.path), resume=True))[-1].step == MORE
    expected, found = outcome(whole), outcome(cut)
    for one in expected, found:  # the minutes so far are in it
        one["meta"]["config"] = replace(one["meta"]["config"], train=COSINE)
    assert found == expected


def test_a_run_that_was_stopped_gets_the_minutes_from_there(source, tmp_path, rates):
    run = stopped(tmp_path / "run", config_of(source, train=COSINE), 4)
    assert longer(run)[-1].step == MORE
    before = Schedule(COSINE, STEPS, 10.0)
    assert rates[4] == pytest.approx(before.rate(4))  # above half of the peak: no jump
    late = stopped(tmp_path / "late", config_of(source, train=COSINE), STEPS - 1)
    rates.clear()
    assert longer(late)[-1].step == MORE
    assert rates[STEPS - 1] == pytest.approx(COSINE.learning_rate / 2)


def test_the_time_is_counted_from_now(run, monkeypatch):
    budgets = []
    make = training.TimeBudget

    def noted(*args):
        budgets.append(args)
        return make(*args)

    monkeypatch.setattr(training, "TimeBudget", noted)
    end_at(monkeypatch, MORE)
    saved = run.checkpoint("latest").meta.seconds
    assert longer(run, 1.0)[-1].seconds > saved
    assert budgets[0][0] == pytest.approx(60 + saved)
    assert budgets[0][4] == 60


def test_an_end_is_kept_to_a_hundredth_of_the_minutes_that_were_added():
    every, pace = Intervals(0, 0, 0, 0), SteadyPace()
    late = {"step": 60_000, "total": 60_600, "elapsed": 6000.0, "known": pace}
    assert TimeBudget(6030.0, every, 60_600).total(**late) == 60_600  # 30 s are half a hundredth
    assert TimeBudget(6030.0, every, 60_600, granted=30.0).total(**late) == 60_300


class SteadyPace:
    """Ten updates a second."""

    def per_second(self, window=0.0):
        return 10.0


def test_a_crash_after_the_settings_are_written_leaves_a_run_that_goes_on(run, rates, monkeypatch):
    class Crash(Exception):  # noqa: N818
        pass

    def crash(*_):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(training, "create_learner", crash)
        with pytest.raises(Crash):
            longer(run)
    again = Run.open(run.path)
    assert minutes_of(again.config) == [5.0]
    assert again.final().step == STEPS  # still so
    assert again.checkpoint("latest").meta.config.extended == ()
    assert list(train(again, resume=True))[-1].step == MORE
    assert rates[STEPS] == pytest.approx(COSINE.learning_rate / 2)
    assert again.final().step == MORE


def test_settings_that_cannot_be_written_leave_the_run_as_it_was(run, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = (run.path / "config.json").read_bytes()
    config = run.config
    monkeypatch.setattr("charloom.runs.run.replace_file", full)
    with refused("unwritable"):
        longer(run)
    assert (run.path / "config.json").read_bytes() == before
    assert run.config == config


def test_if_the_newest_checkpoint_is_damaged_the_minutes_begin_at_the_one_before(run, rates):
    with signal_during_update(4):
        longer(run)
    newest = run.checkpoint("latest").path
    assert minutes_of(run.checkpoint("latest").meta.config) == [5.0]
    (newest / "state.safetensors").write_bytes(b"")
    assert list(train(Run.open(run.path), resume=True))[-1].step == MORE


def test_other_changed_settings_are_refused_and_nothing_is_written(run):
    path = run.path / "config.json"
    changed = replace(run.config, train=replace(run.config.train, learning_rate=0.5))
    run.extend(changed)  # as an editor would
    before = path.read_bytes()
    with refused("other-settings"):
        longer(Run.open(run.path))
    assert path.read_bytes() == before
    run.extend(
        replace(changed, extended=(Extension(minutes=5.0, scored=9),))
    )  # nor with minutes as an excuse
    with refused("other-settings"):
        list(train(Run.open(run.path), resume=True))
    run.extend(replace(changed, train=replace(COSINE, iterations=STEPS + 9)))
    with refused("other-settings"):
        list(train(Run.open(run.path), resume=True))


def test_a_checkpoint_of_an_early_version_has_no_settings_and_was_the_end(run, rates):
    path = run.checkpoint("latest").path
    document = read_json(path / "meta.json", dict)
    document.pop("config")
    forge(path, "meta.json", msgspec.json.encode(document))
    assert longer(run)[-1].step == MORE
    assert rates[STEPS] == pytest.approx(COSINE.learning_rate / 2)


def test_a_rising_validation_loss_does_not_end_minutes_that_were_asked_for(run, rates, monkeypatch):
    nats = iter(range(3, 99))
    monkeypatch.setattr(monitor, "evaluate", lambda *_: Score(float(next(nats)), 9))
    ended = longer(run)[-1]
    assert (ended.reason, ended.step) == ("done", MORE)
    assert isinstance(ended.best, Best)
    assert ended.best.step <= STEPS


def test_as_much_is_evaluated_as_before_so_that_losses_can_be_compared(
    source, tmp_path, rates, monkeypatch
):
    monkeypatch.setattr("charloom.training.cadence.ENOUGH_CHARACTERS", 9)
    monkeypatch.setattr("charloom.training.cadence.FEWEST_CHARACTERS", 1)
    seen, evaluate_part = [], monitor.evaluate_part

    def noted(model, ids, most):
        seen.append(most)
        return evaluate_part(model, ids, most)

    monkeypatch.setattr(monitor, "evaluate_part", noted)
    config = config_of(source, train=COSINE, watch=replace(OFTEN, evaluate_every=1))
    run = played(tmp_path / "run", replace(config, data=replace(config.data, validation=0.3)))
    before = TRAIN.batch * TRAIN.length  # as many as are learned from in a step
    assert seen == [before] * STEPS
    longer(run)
    assert seen == [before] * MORE
    longer(run)
    assert {*seen} == {before}
    assert [extension.scored for extension in run.config.extended] == [before, before]


def test_what_cannot_be_given_minutes_is_refused(source, run, tmp_path):
    before = (run.path / "config.json").read_bytes()
    for minutes in (0, -1, math.nan, math.inf):
        with refused("bad-setting", field="minutes"):
            longer(run, minutes)
    assert (run.path / "config.json").read_bytes() == before
    counts = played(tmp_path / "counts", replace(config_of(source), model=NgramConfig(order=3)))
    with refused("bad-setting", field="minutes"):
        longer(counts, 1.0)
    for name, begun in (
        ("new", lambda p, c: new_run(p, c)),
        ("zero", lambda p, c: stopped(p, c, 0)),
    ):
        nothing = begun(tmp_path / name, config_of(source))
        with refused("unsupported", path=nothing.path):
            longer(nothing, 1.0)


def test_under_torchrun_which_may_start_it_again_it_is_refused(run, monkeypatch):
    rank = {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "MASTER_PORT": 29500}
    for name, value in (rank | {"MASTER_ADDR": "127.0.0.1"}).items():
        monkeypatch.setenv(name, str(value))
    before = (run.path / "config.json").read_bytes()
    with refused("unsupported", field="minutes"):
        resume.main([str(run.path), "--minutes", "1"], standalone_mode=False)
    assert (run.path / "config.json").read_bytes() == before


def test_more_minutes_than_there_are_steps_to_count(run, rates):
    assert longer(run, 1e300)[-1].step == MORE
    assert Run.open(run.path).config.train.iterations > 10**14


@pytest.mark.parametrize("batches", ["lanes", "windows"])
def test_epochs_no_longer_end_it_and_each_way_of_reading_goes_on(source, tmp_path, rates, batches):
    settings = replace(TRAIN, batches=batches, epochs=2.0, iterations=None)
    run = played(tmp_path / "run", config_of(source, train=settings))
    end = run.checkpoint("latest").meta.step
    assert end < MORE
    weights = run.checkpoint("latest").weights
    assert longer(run)[-1].step == MORE
    now = run.checkpoint("latest").weights
    assert all(np.isfinite(array).all() for array in now.values())
    assert any(not np.array_equal(now[name], weights[name]) for name in now)


@pytest.mark.torch
@pytest.mark.parametrize("batches", ["lanes", "windows"])
@pytest.mark.parametrize(
    "model", [ModelConfig(hidden=4), TransformerConfig(layers=1, width=8, heads=2, context=20)]
)
def test_the_torch_engine_extends_a_run(source, tmp_path, rates, model, batches):
    pytest.importorskip("torch")
    settings = replace(COSINE, batches=batches, learning_rate=0.01)
    config = config_of(source, train=settings, engine="torch")
    run = played(tmp_path / "run", replace(config, model=model))
    assert longer(run)[-1].step == MORE
    assert rates[STEPS] == pytest.approx(0.005)


def test_the_advice_on_a_run_that_was_given_more_is_to_give_it_more(run, rates):
    assert not facts_of(run).resumed
    longer(run)
    facts = facts_of(run)
    assert facts.resumed
    assert facts.minutes == pytest.approx(run.config.train.minutes)


def test_python_extends_a_run(run, rates):
    seen = []
    again = charloom.resume(run.path, minutes=0.5, on_event=seen.append)
    assert isinstance(seen[0], Started)
    assert minutes_of(again.config) == [0.5]
    assert again.checkpoint("latest").meta.step == MORE
