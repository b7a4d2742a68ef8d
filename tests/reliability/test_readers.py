"""Whoever reads what training writes: slow, stopped or gone, it holds up nothing."""

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import contextmanager, suppress

import pytest
from warm import Warm

from charloom.cli.plain import PlainView
from charloom.cli.reader import BEHIND_BYTES
from charloom.evaluation import Score
from charloom.runs import checkpoint, metrics
from charloom.runs.run import Run
from charloom.training import loop as training
from charloom.training.events import Evaluated, Progress
from small_runs import outcome, write_text

LOUD = ("--hidden", "4", "--batch", "2", "--length", "20", "--dropout", "0.25")
LOUD += ("--evaluate-every", "10", "--sample-every", "100", "--sample-length", "5000")
LOUD += ("--iterations", "500", "--checkpoint-every", "100")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a text, what its training comes to, and a process that starts at once."""
    folder = tmp_path_factory.mktemp("readers")
    command = ("train", write_text(folder), *LOUD, "--out")
    with Warm(*command, folder / "whole") as warm:
        yield folder, command, warm, outcome(Run.open(folder / "whole"))


def logged(path):
    return [line.step for line in metrics.lines(path / "metrics.jsonl")]


def unread(descriptor):
    return struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0]


@contextmanager
def pipe(folder):
    path = folder / f"pipe{time.monotonic_ns()}"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, 4096)
    yield path, descriptor
    os.close(descriptor)


@contextmanager
def terminal():
    """A terminal, stopped with Ctrl-S."""
    master, slave = os.openpty()
    os.write(master, b"\x13")
    yield os.ttyname(slave), master
    os.close(master)
    os.close(slave)


@pytest.mark.slow
@pytest.mark.reliability("G8", "standard output to a reader that is stopped or slow")
def test_a_reader_that_is_stopped_holds_up_no_update(place, trials):
    folder, command, warm, expected = place
    for trial in range(trials.of(3, 50)):
        path = folder / f"run{trial}"
        with pipe(folder) if trial % 3 else terminal() as (name, descriptor):
            warm.start(*command, path, out=name, patience=0.1)
            if trial % 3 == 1:  # a byte now and then
                while 500 not in checkpoint.steps(path / "checkpoints"):
                    with suppress(BlockingIOError):  # nothing is there to be read yet
                        os.read(descriptor, 1)
                    time.sleep(0.01)
            assert warm.wait() == 0
            if trial % 3:
                assert b"runs show" not in os.read(descriptor, 2**16)  # it was full
        assert outcome(Run.open(path)) == expected
    trials.result("the run goes on to its end; bit-identical")


def test_what_waits_for_a_reader_is_bounded(place):
    started, *events = training.train(Run.open(place[0] / "whole"), resume=True)
    score, end = Score(2.0, 9), events[-1]
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):  # fill it: nothing goes out before it is read
        while True:
            os.write(writing, b"\n" * 2**12)
    os.set_blocking(writing, True)
    with PlainView(os.fdopen(writing, "w")) as view:
        view.started = started
        for step in range(1, 10_000):
            view.show(Evaluated(step, score, False))
            view.progress = Progress(step, 10**4, 1.0, step, 2.0, 2.0, 0.1, 9.0, 1.0, None)
            view._recent.append((1, 2.0))
            view.show(view.progress)
        assert BEHIND_BYTES < view.reader._size < BEHIND_BYTES + 2**12
        view.show(end)
        said = b""
        while b"charloom runs show" not in said:
            said += os.read(reading, 2**16)


@pytest.mark.slow
@pytest.mark.reliability("G8", "a reader that was stopped for a while sees how it ends")
def test_who_reads_on_in_the_end_is_shown_the_end(place, trials):
    folder, command, warm, expected = place
    for trial in range(trials.of(2, 20)):
        path, said = folder / f"again{trial}", b""
        with pipe(folder) if trial % 2 else terminal() as (name, descriptor):
            warm.start(*command, path, out=name, patience=10**6)
            assert warm.until(lambda p=path: 500 in checkpoint.steps(p / "checkpoints"))
            os.set_blocking(descriptor, False)
            if trial % 2 == 0:
                os.write(descriptor, b"\x11")
            while b"charloom runs show" not in said:
                try:
                    said += os.read(descriptor, 2**16)
                except BlockingIOError:
                    time.sleep(0.001)
            assert warm.wait() == 0
        assert b"Done: 500 steps" in said
        assert outcome(Run.open(path)) == expected
    trials.result("the summary is whole")


@pytest.mark.slow
@pytest.mark.reliability("G8", "`charloom runs show RUN --json` at once, one stopped, one killed")
def test_readers_of_the_folder_hold_up_no_update(place, trials):
    folder, command, warm, expected = place
    path, number = folder / "shown", trials.of(3, 20)
    warm.start(*command, path)
    assert warm.until(lambda: checkpoint.steps(path / "checkpoints"))
    show = [sys.executable, "-m", "charloom", "runs", "show", str(path), "--json"]
    readers = [
        subprocess.Popen(show, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(number)
    ]
    readers[0].send_signal(signal.SIGSTOP)
    readers[1].kill()
    assert warm.wait() == 0
    readers[0].send_signal(signal.SIGCONT)
    said = [reader.communicate()[1] for reader in readers]
    assert [reader.returncode for reader in readers] == [0, -9, *(0 for _ in readers[2:])]
    assert said == [b""] * number
    assert outcome(Run.open(path)) == expected
    trials.result("bit-identical; every reader that lives gets a document")


def hang_up(place, path):
    """The terminal is closed: the run is saved, and ends."""
    master, slave = os.openpty()
    name = os.ttyname(slave)
    place[2].start(*place[1], path, out=name, err=name, terminal=name)
    assert place[2].until(lambda: checkpoint.steps(path / "checkpoints"))
    os.close(master)
    os.close(slave)
    assert place[2].wait() == 128 + signal.SIGHUP
    place[2].start("resume", path)


def ignore_hang_up(place, path):
    """As by nohup: the run goes on."""
    place[2].start(*place[1], path, ignored=[signal.SIGHUP])
    assert place[2].until(lambda: checkpoint.steps(path / "checkpoints"))
    place[2].signal(signal.SIGHUP)


def errors(path):
    """Return a file for standard error."""
    file = path.with_suffix(".err")
    file.touch()
    return str(file)


def head(place, path):
    """`charloom train | head -1`."""
    with pipe(path.parent) as (name, descriptor):
        place[2].start(*place[1], path, out=name, err=errors(path))
        assert place[2].until(lambda: unread(descriptor))


def full(place, path):
    """Standard output goes to a disk that is full."""
    place[2].start(*place[1], path, out="/dev/full", err=errors(path))


def closed(place, path):
    """Neither standard output nor standard error is open."""
    place[2].start(*place[1], path, out="", err="")


@pytest.mark.slow
@pytest.mark.reliability("G6", "terminal closed, nohup, `head -1`, output to a full disk, closed")
def test_whatever_becomes_of_the_output_the_run_is_whole(place, trials):
    folder, _, warm, expected = place
    ways = (hang_up, ignore_hang_up, head, full, closed)
    for trial in range(trials.of(5, 20)):
        path = folder / f"out{trial}"
        ways[trial % 5](place, path)
        assert warm.wait() == 0
        assert outcome(Run.open(path)) == expected
        assert logged(path) == [*range(1, 501)]
        assert not path.with_suffix(".err").exists() or not path.with_suffix(".err").read_text()
    trials.result("all go on to the same bits; the closed terminal saves, 129, and is resumed")
