"""Ctrl-C, SIGTERM and SIGHUP at any instant: what was learned is saved, and the run can go on."""

import random
import shutil
import signal
import time
from collections import Counter

import pytest
from warm import Warm

from charloom.runs import checkpoint, metrics
from charloom.runs.run import Run
from small_runs import outcome, write_text

BUSY = ("--hidden", "4", "--batch", "2", "--length", "20", "--optimizer", "adam", "--dropout")
BUSY += ("0.25", "--schedule", "plateau", "--window", "3", "--patience", "1", "--iterations", "60")
BUSY += ("--checkpoint-every", "5", "--evaluate-every", "3", "--sample-every", "4")
BUSY += ("--sample-length", "40", "--learning-rate", "0.1", "--engine", "compiled")


class Place:
    """A text, what its training comes to, and a process that begins such runs at once."""

    def __init__(self, folder, warm, command):
        self.folder, self.warm, self.command = folder, warm, command
        self.number = 0
        began = time.perf_counter()
        self.path = folder / "whole"
        warm.start(*command, self.path)
        assert warm.wait() == 0
        self.seconds = time.perf_counter() - began
        self.expected = outcome(Run.open(self.path))

    def begin(self, *more):
        self.number += 1
        self.path = self.folder / f"run{self.number}"
        self.warm.start(*self.command, self.path, *more)

    @property
    def is_run(self):
        return (self.path / "config.json").exists()

    def last(self):
        """Return the last step that was saved, and the last that was made."""
        if not checkpoint.steps(self.path / "checkpoints"):
            return 0, 0
        meta = Run.open(self.path).checkpoint("latest").meta
        logged = [line.step for line in metrics.lines(self.path / "metrics.jsonl")]
        assert logged == [*range(1, len(logged) + 1)]
        return meta.step, len(logged) + meta.due

    def goes_on(self):
        """Resume the run; whether it ends as one that was not stopped."""
        self.warm.start("resume", self.path)
        assert self.warm.wait() == 0
        same = outcome(Run.open(self.path)) == self.expected
        shutil.rmtree(self.path)
        return same


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signals")
    command = ("train", write_text(folder), *BUSY, "--out")
    with Warm(*command, folder / "first") as warm:
        yield Place(folder, warm, command)


def interrupted(place, chance, *numbers):
    """Begin a run and stop it at a random instant; returns status and seconds until it left."""
    while True:
        place.begin()
        time.sleep(chance.uniform(0, 1.1 * place.seconds))
        began = time.perf_counter()
        for number in numbers:
            place.warm.signal(number)
            time.sleep(chance.uniform(0, 0.004) if len(numbers) > 1 else 0)
        status = place.warm.wait()
        if status:
            return status, time.perf_counter() - began


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.reliability("G4", "Ctrl-C at any instant")),
        pytest.param(signal.SIGTERM, marks=pytest.mark.reliability("G5", "SIGTERM at any instant")),
        pytest.param(signal.SIGHUP, marks=pytest.mark.reliability("G5", "SIGHUP at any instant")),
    ],
)
def test_stopped_at_any_instant_the_last_step_is_saved(place, trials, number):
    chance, where, slowest = random.Random(number), Counter(), 0.0
    for trial in range(trials.of(3, 100)):
        status, seconds = interrupted(place, chance, number)
        slowest = max(slowest, seconds)
        assert status == 128 + number, f"trial {trial}"
        if not place.is_run:
            where["before there was a run"] += 1
            continue
        saved, made = place.last()
        assert saved == made
        where["at the end" if saved == 60 else "on the way" if saved else "at step 0"] += 1
        assert place.goes_on()
    told = ", ".join(f"{number} {what}" for what, number in where.items())
    trials.result(f"status {status}, {slowest:.1f} s at most, then to the same bits; {told}")


@pytest.mark.slow
@pytest.mark.reliability("G4", "a second Ctrl-C at any instant")
def test_a_second_interrupt_damages_nothing(place, trials):
    chance, lost, late = random.Random(4), 0, 0
    for _ in range(trials.of(3, 100)):
        status, _seconds = interrupted(place, chance, signal.SIGINT, signal.SIGINT)
        assert status in (130, 1)  # by click, where it comes as the command is over
        late += status == 1
        if place.is_run:
            saved, made = place.last()
            assert made - saved <= 5
            lost = max(lost, made - saved)
            assert place.goes_on()
    trials.result(f"status 130 ({late} times 1), {lost} steps lost at most, then to the same bits")


@pytest.mark.slow
@pytest.mark.reliability("G5", "SIGUSR1 at random instants of training")
def test_a_run_that_is_asked_to_saves_and_goes_on(place, trials):
    chance, asked, saved = random.Random(5), 0, 0
    for _ in range(trials.of(2, 20)):
        place.begin("--checkpoint-every", 0)
        place.warm.until(lambda: newest(place.path) is not None)
        for _ in range(5):
            time.sleep(chance.uniform(0, place.seconds / 8))
            before = newest(place.path)
            place.warm.signal(signal.SIGUSR1)
            asked += 1
            place.warm.until(lambda step=before: newest(place.path) > step)
            saved += before < newest(place.path) < 60  # not by the end, which saves, too
        assert place.warm.wait() == 0
        assert outcome(Run.open(place.path)) == place.expected
    trials.result(f"asked {asked} times, {saved} checkpoints on the way; ends bit-identical")


@pytest.mark.slow
def test_each_request_to_save_is_met(place):
    place.begin("--checkpoint-every", 0, "--iterations", 10**7)
    assert place.warm.until(lambda: newest(place.path) is not None)
    for _ in range(5):
        before = newest(place.path)
        place.warm.signal(signal.SIGUSR1)
        assert place.warm.until(lambda step=before: newest(place.path) > step)
    place.warm.signal(signal.SIGKILL)
    assert place.warm.wait() == -signal.SIGKILL


def newest(run):
    """Return the step of the newest checkpoint, or None."""
    return max(checkpoint.steps(run / "checkpoints"), default=None)


@pytest.mark.slow
@pytest.mark.reliability("G9", "SIGSTOP and SIGCONT, 20 times in a run")
def test_a_run_that_is_stopped_and_continued_comes_to_the_same_bits(place, trials):
    chance = random.Random(9)
    for _ in range(trials.of(1, 20)):
        place.begin()
        for _ in range(20):
            time.sleep(chance.uniform(0, place.seconds / 20))
            place.warm.signal(signal.SIGSTOP)
            time.sleep(chance.uniform(0, 0.01))
            place.warm.signal(signal.SIGCONT)
        assert place.warm.wait() == 0
        assert outcome(Run.open(place.path)) == place.expected
    trials.result("bit-identical")
