import numpy as np
import pytest

from charloom.errors import CharloomError
from charloom.runs.meta import Meta
from charloom.runs.metrics import Line
from charloom.training import writer as module
from charloom.training.writer import PATIENCE_SECONDS, RETRY_SECONDS, RunWriter
from expect import refused

META = Meta(step=3, seconds=0.0, best=None, versions={})
ARRAYS = {"w": np.zeros(1)}


class Disk:
    """A run folder that can be full."""

    def __init__(self):
        self.full, self.lines, self.saves = False, [], []

    def _write(self, where, what):
        if self.full:
            raise CharloomError("cannot write it: mend that", "unwritable", path="it")
        where.append(what)

    def append_metrics(self, line):
        self._write(self.lines, line.step)

    def write_sample(self, step, text):
        self._write([], text)

    def truncate_metrics(self, step):
        self._write([], step)
        self.lines = [line for line in self.lines if line <= step]

    def save(self, arrays, meta):
        self._write(self.saves, (meta.step, [*self.lines]))
        return f"checkpoint {meta.step}"


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def writer(disk, clock):
    writer = RunWriter(disk, has_saved=False)
    assert writer.save(ARRAYS, META) == "checkpoint 3"
    return writer


def test_the_first_checkpoint_must_succeed(disk):
    disk.full = True
    with refused("unwritable", path="it"):
        RunWriter(disk, has_saved=False).save(ARRAYS, META)


def test_of_a_run_that_goes_on_no_write_need_succeed_at_once(disk, clock):
    disk.lines, disk.full = [4, 5], True
    writer = RunWriter(disk, has_saved=True)
    writer.forget(4)
    writer.log(Line(step=5))
    assert writer.save(ARRAYS, META) is None
    disk.full = False
    assert writer.save(ARRAYS, META) == "checkpoint 3"
    assert disk.saves == [(3, [4, 5])]  # the old 5 is gone
    disk.full = True
    writer.forget(3)
    clock[0] += PATIENCE_SECONDS + 1
    with refused("unwritable", path="it"):
        writer.forget(3)


def test_what_cannot_be_written_waits_in_its_order_and_is_before_the_next_checkpoint(disk, writer):
    writer.log(Line(step=4))
    disk.full = True
    writer.log(Line(step=5))
    writer.write_sample(5, "lost")
    writer.log(Line(step=6))
    assert writer.save(ARRAYS, META) is None
    assert len(writer.news) == 1
    assert disk.lines == [4]
    disk.full = False
    assert writer.save(ARRAYS, META) == "checkpoint 3"
    assert disk.saves[-1] == (3, [4, 5, 6])
    assert len(writer.news) == 2
    assert not writer.is_time()


def test_it_is_tried_again_now_and_then_but_not_for_ever(disk, writer, clock):
    assert not writer.is_time()
    disk.full = True
    assert writer.save(ARRAYS, META) is None
    assert not writer.is_time()
    clock[0] += RETRY_SECONDS + 1
    assert writer.is_time()
    assert writer.save(ARRAYS, META) is None
    assert not writer.is_time()
    assert len(writer.news) == 1
    clock[0] += PATIENCE_SECONDS
    with refused("unwritable", path="it"):
        writer.save(ARRAYS, META)


def test_lines_after_the_step_that_was_gone_back_to_are_forgotten(disk, writer):
    writer.log(Line(step=4))
    disk.full = True
    writer.log(Line(step=5))
    writer.log(Line(step=6))
    writer.forget(5)
    disk.full = False
    writer.log(Line(step=6))
    assert disk.lines == [4, 5, 6]
    writer.forget(4)
    assert disk.lines == [4]
