"""Section 7, G3: whatever happens to a folder of checkpoints, the right ones are there."""

import os
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charloom import files
from charloom.errors import CharloomError
from charloom.runs import checkpoint
from charloom.runs.checkpoint import FILES, MANIFEST, read, read_newest, save, steps
from charloom.runs.meta import Best, Meta
from charloom.runs.tensors import Expected

EXPECTED = {"head.W": Expected(("int64",), (3,))}
NAMES = (*FILES, MANIFEST)
FOREIGN = ("notes.txt", "3", "00000003.bak", "00000002.txt", ".hidden", "best", "0000000x")
TIMES = (0, 10**9, 2**31 + 1, 4 * 10**9)  # seconds since 1970, that files are said to be from

EVENT = st.one_of(
    st.tuples(st.just("save"), st.integers(1, 3), st.booleans()),
    st.tuples(st.just("save"), st.integers(1, 3), st.booleans()),
    st.tuples(st.just("fail"), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("rot"), st.sampled_from(NAMES), st.booleans()),
    st.tuples(st.just("damage"), st.integers(0, 5), st.sampled_from(NAMES)),
    st.tuples(st.just("clock"), st.sampled_from(TIMES), st.integers(0, 5)),
    st.tuples(st.just("older"), st.integers(0, 5), st.booleans()),
    st.tuples(st.just("new"), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("foreign"), st.sampled_from(FOREIGN), st.booleans()),
)


class History:
    """A folder of checkpoints, and what must be true of it."""

    def __init__(self, folder, keep):
        self.folder, self.keep = folder, keep
        self.step, self.best, self.written = 0, 0, 0
        self.contents: dict[int, set[int]] = {}  # step -> what was ever saved there
        self.foreign: dict[Path, bytes] = {}
        self.left = 0  # by saves that failed when all but the last was done, since one that did not
        self.peak = 0
        self.save(0, better=True)

    def save(self, step, better, fsync=None, write=files.write_file):
        """Save a checkpoint; whether that succeeded."""
        self.written += 1
        self.contents.setdefault(step, set()).add(self.written)
        best = step if better or self.best > step else self.best
        meta = Meta(step=step, seconds=0, best=Best(best, 1.0), versions={})
        arrays = {"head.W": np.full(3, self.written)}
        before = self.valid()
        folders = {*self.folders()}
        try:
            with (
                mock.patch.object(os, "fsync", fsync or self.look),
                mock.patch.object(checkpoint, "write_file", write),
            ):
                save(self.folder, arrays, meta, self.keep)
        except CharloomError:
            self.left += len({*self.folders()} - folders)
            assert max(self.valid()) in {step, *before}
            assert not before or max(self.valid()) >= min(step, max(before))
            self.step = max(self.valid())
            return False
        self.step, self.best, self.left = step, best, 0
        whole = before | {step}
        names = sorted(s for s in whole if s <= step)[-self.keep :]
        assert self.valid() == {*names} | ({best} & whole)
        assert max(self.valid()) == step
        assert len(steps(self.folder)) <= self.keep + 1
        assert read_newest(self.folder, EXPECTED).weights["head.W"][0] == self.written
        assert {path.name for path in self.folder.glob(".*")} <= {".hidden"}
        return True

    def look(self, _descriptor):
        there = self.folders()
        assert len(there) <= self.keep + 2 + self.left
        self.peak = max(self.peak, len(there))

    def folders(self):
        there = self.folder.iterdir() if self.folder.exists() else ()
        return [path for path in there if path.is_dir() and path not in self.foreign]

    def valid(self):
        """Return the steps that can be read, each of which holds what was saved there."""
        found = set()
        for path in checkpoint._checkpoints(self.folder):
            try:
                read_back = read(path, EXPECTED)
            except CharloomError:
                continue
            assert read_back.weights["head.W"][0] in self.contents[read_back.meta.step]
            found.add(read_back.meta.step)
        return found

    def happen(self, kind, first, second):
        match kind:
            case "save":
                assert self.save(self.step + first, second)
            case "fail":
                left = first

                def fsync(descriptor):
                    nonlocal left
                    left -= 1
                    if left < 0:
                        raise OSError(28, "No space left on device")
                    self.look(descriptor)

                self.save(self.step + 1, second, fsync)
            case "rot":

                def write(path, blocks):
                    written = files.write_file(path, blocks)
                    if path.name == first:
                        content = path.read_bytes()
                        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
                    return written

                assert not self.save(self.step + 1, second, write=write)
            case "damage":
                there = sorted(self.valid())
                if len(there) > 1:
                    (self.folder / f"{there[first % len(there)]:08d}" / second).write_bytes(b"")
                    self.step = max(self.valid())
            case "clock":
                for path in [p for p in self.folder.iterdir() if p.is_dir()][second:]:
                    os.utime(path, (first, first))
            case "older":
                there = sorted(self.valid())
                self.step = there[first % len(there)]
            case "new":
                assert self.save(first, second)
            case "foreign":
                path = self.folder / first
                if second and not path.exists():
                    path.mkdir()
                    path /= "file"
                if not path.is_dir():
                    self.foreign |= {path: b"mine", self.folder / first: b""}
                    path.write_bytes(b"mine")
                    self.foreign[path] = b"mine"
        assert self.valid()
        assert max(self.valid()) == read_newest(self.folder, EXPECTED).meta.step
        for path, content in self.foreign.items():
            assert path.is_dir() or path.read_bytes() == content


@pytest.mark.slow
@pytest.mark.reliability("G3", "histories of saves, faults, damage, clocks and foreign files")
def test_in_any_history_the_right_checkpoints_are_there(trials):
    number = trials.of(40, 10_000)
    peaks = []

    @settings(
        max_examples=number, suppress_health_check=[*HealthCheck], derandomize=not trials.full
    )
    @given(keep=st.integers(1, 3), events=st.lists(EVENT, min_size=3, max_size=12))
    def check(keep, events):
        with tempfile.TemporaryDirectory() as parent:
            history = History(Path(parent, "checkpoints"), keep)
            for event in events:
                history.happen(*event)
            peaks.append(history.peak - keep)

    check()
    usual = sum(peak <= 2 for peak in peaks)
    trials.result(
        f"invariants hold; keep + 2 on the disk in {usual:,}, else one more for a late failure"
    )
