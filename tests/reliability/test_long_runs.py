"""Section 7: runs of days. Logs stay small, checkpoints are rotated, clocks jump, readers hang."""

import gc
import os
import random
import shutil
import time
from collections import deque
from pathlib import Path

import pytest
from msgspec import UNSET

from charloom.config import WatchConfig, replace
from charloom.data import batches
from charloom.runs import metrics
from charloom.runs.metrics import Line, Setback
from charloom.runs.run import Run
from charloom.training import loop as training
from charloom.training import reporter, writer
from charloom.training.events import Evaluated, Progress, Saved, Warned
from charloom.training.trend import history
from expect import refused
from small_runs import NEVER, STEPS, TRAIN, config_of, new_run, outcome, play, played, write_text

# ---- G1: nothing grows


def resources():
    """Memory in KiB that is this process's own, descriptors and threads."""
    lines = Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    memory = sum(int(status[name].split()[0]) for name in ("RssAnon", "VmSwap"))
    return memory, len([*Path("/proc/self/fd").iterdir()]), int(status["Threads"])


def size(folder):
    return sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.reliability("G1", "steps of one run, with all looks: memory, descriptors, threads")
def test_nothing_grows_in_a_long_run(tmp_path, trials):
    steps = trials.of(3_000, 10**6)
    looks = WatchConfig(
        evaluate_every=100, sample_every=500, checkpoint_every=200, sample_length=20, keep=2
    )
    plan = replace(TRAIN, iterations=steps, learning_rate=0.01, schedule="cosine")
    source = write_text(tmp_path)
    run = new_run(tmp_path / "run", config_of(source, engine="compiled", train=plan, watch=looks))
    seen, times, bytes_saved = [], [], {}
    for event in training.train(run):
        if isinstance(event, Saved) and event.step and event.step % (steps // 5) == 0:
            gc.collect()
            seen.append((event.step, *resources()))
            times.append(time.perf_counter())
        if isinstance(event, Saved) and event.step in (1000, steps):
            bytes_saved[event.step] = size(event.path)
    assert event.reason == "done"
    assert len(seen) == 5
    _, memory, descriptors, threads = zip(*seen, strict=True)
    grown = memory[-1] - memory[1]  # KiB, over three fifths of the steps
    allowed = 1024 * max(1.0, steps * 0.6 / 100_000)
    assert grown <= allowed
    assert len({*descriptors[1:]}) == len({*threads[1:]}) == 1
    assert bytes_saved[steps] <= 1.01 * bytes_saved[1000]
    assert (run.path / "metrics.jsonl").stat().st_size <= 2**23 + 2**20
    slower = (times[-1] - times[-2]) / (times[1] - times[0])
    share = bytes_saved[steps] / bytes_saved[1000]
    trials.result(
        f"{grown:+,} KiB in the last three fifths; descriptors, threads constant; "
        f"checkpoint x{share:.4f}; time of the last fifth x{slower:.2f}"
    )


# ---- G2: metrics.jsonl


def line_of(step, noise):
    return Line(
        step=step,
        characters=2048 * step,
        seconds=step / 7,
        loss=1 + 3 / step + noise.random(),
        smooth=2.345678901234,
        rate=0.003,
        validation=UNSET if step % 7 else 1 + noise.random(),
        setbacks=(Setback(at=step, to=step - 1),) if step in (5, 20_000) else (),
    )


@pytest.mark.slow
@pytest.mark.reliability("G2", "records through the log: its size, what stays of it")
def test_the_log_of_a_long_run_stays_small_and_its_outline_stays(tmp_path, trials, monkeypatch):
    number, newest = trials.of(40_000, 10**7), 10_000
    if not trials.full:
        newest = 1000
        monkeypatch.setattr(metrics, "LARGEST_BYTES", 2**19)
        monkeypatch.setattr(metrics, "NEWEST_LINES", newest)
        monkeypatch.setattr(metrics, "STRETCHES", 100)
    path, noise, largest = tmp_path / "metrics.jsonl", random.Random(1), 0
    size_now = 0
    seen = {"loss": [], "validation": []}
    extremes = {name: set() for name in seen}
    last = deque(maxlen=newest)
    for step in range(1, number + 1):
        line = line_of(step, noise)
        metrics.append(path, line)
        last.append(line)
        for name in seen:
            if (loss := getattr(line, name)) is not UNSET:
                seen[name] = sorted([*seen[name], (loss, step)])
                seen[name] = [seen[name][0], seen[name][-1]]
                extremes[name] = {step for _, step in seen[name]}
        size_before, size_now = size_now, path.stat().st_size
        largest = max(largest, size_now)
        if size_now < size_before or step == number:  # it has been thinned
            found = metrics.lines(path)
            assert found[-newest:] == [*last]
    steps = [line.step for line in found]
    assert largest <= (2**26 if trials.full else 2**19 + 2**18)
    assert steps == sorted({*steps})
    assert {5, 20_000, *extremes["loss"], *extremes["validation"]} <= {*steps}
    gaps = [after - before for before, after in zip([0, *steps], steps, strict=False)]
    assert max(gaps) < number / 20  # nowhere is nothing left
    assert history(found)
    metrics.truncate(path, number // 2)
    kept = [line.step for line in metrics.lines(path)]
    assert kept == [step for step in steps if step <= number // 2]
    trials.result(f"{largest / 2**20:.1f} MiB at most; the newest {newest:,} whole; extremes kept")


@pytest.mark.reliability("G2", "a crash in the middle of a line, and a line after it")
def test_a_line_cut_short_swallows_no_other(tmp_path, trials):
    chance = random.Random(2)
    for trial in range(trials.of(100, 100)):
        path = tmp_path / f"{trial}.jsonl"
        written = [line_of(step, chance) for step in range(1, 30)]
        back = Setback(at=30, to=29, loss="nan")
        written[-1] = replace(written[-1], setbacks=(back,) * chance.choice((0, 300)))
        for line in written:
            metrics.append(path, line)
        content = path.read_bytes()
        cut = chance.randrange(len(content))
        path.write_bytes(content[:cut])
        whole = content[:cut].count(b"\n")
        assert metrics.lines(path) == written[:whole]
        metrics.truncate(path, whole)  # as every trainer begins
        metrics.append(path, written[whole])
        assert metrics.lines(path) == written[: whole + 1]
    trials.result("readable, and gone on with")


# ---- G7, G9: clocks


class Clock:
    """Shows what updates take: a millisecond each, and an hour if the machine sleeps meanwhile."""

    def __init__(self, monkeypatch, asleep_at):
        self.now, left = 500.0, asleep_at
        update = batches.Streams.next

        def timed(streams):
            nonlocal left
            left -= 1
            self.now += 3600 if left == 0 else 0.001
            return update(streams)

        monkeypatch.setattr(batches.Streams, "next", timed)
        for module in (training, reporter, writer):
            monkeypatch.setattr(module, "perf_counter", lambda: self.now)


@pytest.fixture
def source(tmp_path):
    return write_text(tmp_path)


@pytest.mark.slow
@pytest.mark.reliability("G7", "jumps of the wall clock within a run, and of files' times")
def test_the_wall_clock_changes_nothing(tmp_path, source, trials, monkeypatch):
    jumps = trials.of(100, 1000)
    config = config_of(source, engine="compiled", train=replace(TRAIN, iterations=jumps))
    config = replace(config, watch=replace(config.watch, evaluate_every=9, sample_every=50))
    expected = outcome(played(tmp_path / "whole", config))
    chance = random.Random(7)
    times = (0.0, 86_400.0, 2.0**31 - 1, 2.0**31 + 1, 1e9, 2e9, 4e9)
    for name in ("time", "monotonic", "time_ns"):
        jump = lambda n=name: (int(1e9) if n == "time_ns" else 1) * chance.choice(times)  # noqa: E731
        monkeypatch.setattr(time, name, jump)
    run = new_run(tmp_path / "jumping", config)
    told = []
    for event in training.train(run):
        told.append(event)
        if isinstance(event, Saved):
            for path in run.checkpoints.iterdir():
                os.utime(path, (chance.choice(times),) * 2)
                os.utime(path / "MANIFEST.json", (chance.choice(times),) * 2)
            assert run.checkpoint("latest").meta.step == event.step
    assert outcome(run) == expected
    figures = [e for e in told if isinstance(e, Progress)]
    assert figures
    assert all(e.speed >= 0 and e.seconds >= 0 and (e.left or 0) >= 0 for e in figures)
    trials.result("no figure below 0, the latest is the latest, bit-identical")


@pytest.mark.slow
@pytest.mark.reliability("G9", "the machine sleeps for an hour on the way")
def test_an_hour_of_sleep_changes_no_bit_and_is_forgotten(tmp_path, source, trials, monkeypatch):
    config = config_of(source, train=replace(TRAIN, iterations=400), watch=NEVER)
    expected, chance = outcome(played(tmp_path / "whole", config)), random.Random(9)
    monkeypatch.setattr(training, "TICK_SECONDS", 0.0025)  # which are three updates
    for trial in range(trials.of(1, 20)):
        asleep_at = chance.randint(30, 350)
        run = new_run(tmp_path / f"slept{trial}", config)
        with monkeypatch.context() as patch:
            Clock(patch, asleep_at)
            told = [event for event in training.train(run) if isinstance(event, Progress)]
        assert outcome(run) == expected
        before = [e.speed for e in told if e.step < asleep_at]
        after = [e.speed for e in told if e.step >= asleep_at]
        characters = TRAIN.batch * TRAIN.length  # of an update, which takes a millisecond
        assert before[1:] == pytest.approx([1000 * characters] * (len(before) - 1))
        assert after[0] < characters
        assert after[3:] == pytest.approx([1000 * characters] * (len(after) - 3)), asleep_at
    trials.result("bit-identical; the speed shown is right again after three reports")


# ---- G10: the run folder goes away


@pytest.mark.slow
@pytest.mark.reliability(
    "G10", "the run folder is moved away, or loses its checkpoints, for a while"
)
def test_a_folder_that_is_gone_for_a_while_is_written_when_it_is_back(
    tmp_path, source, trials, monkeypatch
):
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(training, "RETRY_SECONDS", 0.01)
    config = config_of(source, watch=replace(NEVER, checkpoint_every=3, evaluate_every=1))
    expected, chance = outcome(played(tmp_path / "whole", config)), random.Random(10)
    for trial in range(trials.of(4, 10)):
        run, away = new_run(tmp_path / f"run{trial}", config), tmp_path / f"away{trial}"
        gone, back = sorted(chance.sample(range(1, STEPS + 1), 2))
        if trial == 0:
            back = STEPS  # it comes back when all is over but the last save
        warned = []
        for event in training.train(run):
            warned += [event.text] if isinstance(event, Warned) else []
            if isinstance(event, Evaluated) and event.step == gone:
                run.path.rename(away)
            if isinstance(event, Evaluated) and event.step == back:
                if trial % 2:
                    shutil.rmtree(away / "checkpoints")
                away.rename(run.path)
        if back - gone > 3:
            assert len(warned) == 2  # that it cannot be written, and that it is saved again
        assert outcome(run) == expected
        assert play(Run.open(run.path), resume=True)[-1].reason == "done"
    trials.result("a warning, then saved again; bit-identical")


@pytest.mark.reliability("G10", "the run folder is deleted and stays so")
def test_a_folder_that_stays_away_ends_the_run(tmp_path, source, trials, monkeypatch):
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(training, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(writer, "PATIENCE_SECONDS", 0.2)
    warned = []
    for trial in range(trials.of(2, 10)):
        run = new_run(tmp_path / f"run{trial}", config_of(source))
        events = iter(training.train(run))
        for event in events:
            if isinstance(event, Saved) and event.step >= 2 * trial:
                shutil.rmtree(run.path)
                break
        with refused("unwritable"):
            warned.extend(event.text for event in events if isinstance(event, Warned))
    assert len(warned) >= trials.of(2, 10)
    trials.result("training goes on for as long as is said, then an error of one line")
