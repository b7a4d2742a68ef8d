import numpy as np
import pytest

from charloom.errors import CharloomError
from charloom.runs.meta import Meta
from charloom.training import writer as keeping
from charloom.training.writer import PATIENCE, RETRY, Keeper

META = Meta(step=3, seconds=0.0, best=None, versions={})
ARRAYS = {"w": np.zeros(1)}


class Disk:
    """A run folder that can be full."""

    def __init__(self):
        self.full, self.lines, self.saves = False, [], []

    def _write(self, where, what):
        if self.full:
            raise CharloomError("cannot write it (No space left on device)")
        where.append(what)

    def append_metrics(self, record):
        self._write(self.lines, record["step"])

    def write_sample(self, step, text):
        self._write([], text)

    def truncate_metrics(self, step):
        self.lines = [line for line in self.lines if line <= step]

    def save(self, arrays, meta):
        self._write(self.saves, (meta.step, [*self.lines]))
        return f"checkpoint {meta.step}"


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(keeping, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def keeper(disk, clock):
    keeper = Keeper(disk)
    assert keeper.save(ARRAYS, META) == "checkpoint 3"
    return keeper


def test_the_first_checkpoint_must_succeed(disk):
    disk.full = True
    with pytest.raises(CharloomError, match="No space left"):
        Keeper(disk).save(ARRAYS, META)


def test_what_cannot_be_written_waits_in_its_order_and_is_before_the_next_checkpoint(disk, keeper):
    keeper.log({"step": 4})
    disk.full = True
    keeper.log({"step": 5})
    keeper.write_sample(5, "lost")
    keeper.log({"step": 6})
    assert keeper.save(ARRAYS, META) is None
    assert len(keeper.news) == 1
    assert "No space left on device); training goes on, and tries again for 10" in keeper.news[0]
    assert disk.lines == [4]
    disk.full = False
    assert keeper.save(ARRAYS, META) == "checkpoint 3"
    assert disk.saves[-1] == (3, [4, 5, 6])
    assert keeper.news[1:] == ["saved again, at step 3"]
    assert not keeper.failing


def test_it_is_tried_again_now_and_then_but_not_for_ever(disk, keeper, clock):
    assert not keeper.is_time()
    disk.full = True
    assert keeper.save(ARRAYS, META) is None
    assert not keeper.is_time()
    clock[0] += RETRY + 1
    assert keeper.is_time()
    assert keeper.save(ARRAYS, META) is None
    assert not keeper.is_time()
    assert len(keeper.news) == 1
    clock[0] += PATIENCE
    with pytest.raises(CharloomError, match=r"No space left on device\), then resume"):
        keeper.save(ARRAYS, META)


def test_lines_after_the_step_that_was_gone_back_to_are_forgotten(disk, keeper):
    keeper.log({"step": 4})
    disk.full = True
    keeper.log({"step": 5})
    keeper.log({"step": 6})
    keeper.forget(5)
    disk.full = False
    keeper.log({"step": 6})
    assert disk.lines == [4, 5, 6]
    keeper.forget(4)
    assert disk.lines == [4]
