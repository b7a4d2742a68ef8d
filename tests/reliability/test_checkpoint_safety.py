"""Section 1 of the table: a checkpoint is whole, or it is not there, or it is refused."""

import json
import re
import resource
import shutil
import subprocess
import sys
from itertools import count, islice
from pathlib import Path

import pytest
from faults import SCENARIOS, look
from power import Disk, Recorder, put

from charloom.errors import CharloomError
from checkpoints import arrays_of, is_step, meta_of, read_newest, save, save_step

HERE = Path(__file__).parent
SAYS_WHY = r"cannot save .*/00000006 \(.+\): [\d,]+ bytes are needed and [\d,]+ are free; .*"


def lines_of(command, **options):
    """What a script prints, each line a JSON object."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def inject(scenario, folder, fault, every):
    folder.mkdir()
    return lines_of([sys.executable, HERE / "faults.py", scenario, folder, fault, every])


needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")


# ---- A2: a kill at every system call


@needs_strace
@pytest.mark.reliability("A2", "kill at every system call of a save: the old or the new")
def test_a_kill_at_any_system_call_leaves_the_old_or_the_new(tmp_path, trials):
    every = 1 if trials.full else 9
    results = {name: inject(name, tmp_path / name, "signal=KILL", every) for name in SCENARIOS}
    whole = sum(rows[0]["of"] for rows in results.values())
    trials.of(sum(map(len, results.values())), whole)
    for name, rows in results.items():
        for row in rows:
            assert row["status"] == 9, row
            assert row["found"] in ("old", "new"), row
            assert row["after"] == "new", row
            assert not any(left.endswith((".old", "saving")) for left in row["there"]), row
        found = [row["found"] for row in rows]
        assert found == sorted(found, reverse=True), name  # once new, it stays new
        assert {*found} == {"old", "new"}, name
    assert whole > 150
    trials.result(
        f"all of {whole} calls: old or new, 0 unloadable" if trials.full else "old or new"
    )


# ---- A3: power cuts


def crash_states(scenario, parent, cuts, dropped=None):
    """Yield (has the save returned?, state) for a power cut after each change of a save.

    `dropped` is the label of an fsync that is left out.
    """
    before, act, *_ = SCENARIOS[scenario]
    parent.mkdir()
    folder = parent / "checkpoints"
    if before:
        for step in before:
            save_step(folder, step, best=min(before), keep=2)
    disk = Disk(parent)
    with Recorder() as recorder:
        act(folder)
    shutil.rmtree(parent)
    kept = [c for c, label in labelled(recorder.changes) if label is None or label != dropped]
    seen = set()
    for number in range(len(kept) + 1):
        if number:
            disk.do(kept[number - 1])
        for state in disk.states(cuts):
            if (key := (number == len(kept), frozenset(state.items()))) not in seen:
                seen.add(key)
                yield key[0], state


def labelled(changes):
    """Each change, and for an fsync what it confirms: the same name in every scenario."""
    seen = {}
    for change in changes:
        label = None
        if change.kind == "fsync":
            name = re.sub(r"\d+", "N", change.path.name)
            name = "parent" if name not in KINDS else name
            number = seen[name] = seen.get(name, 0) + 1
            label = f"{name} {number}"
        yield change, label


KINDS = {
    "model.safetensors",
    "state.safetensors",
    "meta.json",
    "MANIFEST.json",
    ".saving-N",
    "checkpoints",
}


def is_right(scenario, returned, state, parent):
    """A power cut leaves the old or the new, and the new once the save has returned."""
    put(state, parent)
    found = look(parent / "checkpoints", scenario)
    shutil.rmtree(parent)
    return found == "new" or (found == "old" and not returned)


@pytest.mark.reliability("A3", "power cut after any change: fsyncs, renames, torn writes")
def test_a_power_cut_leaves_the_old_or_the_new(tmp_path, trials):
    number = trials.of(1_000, 10_000)
    cuts = [k / 160 for k in range(1, 160)] if trials.full else [k / 4 for k in range(1, 4)]
    folders = (tmp_path / f"{k}" for k in count())
    made = 0
    for scenario in SCENARIOS:
        every = 6 if scenario == "rotating" and not trials.full else 1
        states = islice(crash_states(scenario, next(folders), cuts), 0, None, every)
        for returned, state in states:
            made += 1
            assert is_right(scenario, returned, state, next(folders)), (scenario, state)
    assert made >= number
    trials.result(f"{made:,} states: old or new")


@pytest.mark.reliability("A3", "without any one of its fsyncs, a save fails this test")
def test_no_fsync_of_a_save_can_be_left_out(tmp_path, trials):
    folders = (tmp_path / f"{k}" for k in count())
    labels = set()
    for before, act, *_ in SCENARIOS.values():
        folder = next(folders) / "checkpoints"
        folder.parent.mkdir()
        for step in before:
            save_step(folder, step)
        with Recorder() as recorder:
            act(folder)
        labels |= {label for _, label in labelled(recorder.changes) if label}
    trials.of(len(labels), len(labels))
    assert len(labels) == 8
    missed = {
        label
        for label in labels
        if all(
            is_right(scenario, returned, state, next(folders))
            for scenario in SCENARIOS
            for returned, state in crash_states(scenario, next(folders), (0.5,), label)
        )
    }
    assert not missed
    trials.result("every omission leaves a state without a checkpoint")


# ---- A4: full and failing disks


@pytest.mark.reliability("A4", "disk full at different bytes of a save, on a real small disk")
def test_a_full_disk_leaves_the_old_and_says_what_is_needed(tmp_path, trials):
    alone = ["unshare", "--map-root-user", "--mount"]
    probe = subprocess.run(
        [*alone, "mount", "-t", "tmpfs", "none", str(tmp_path)], capture_output=True, check=False
    )
    if probe.returncode:
        pytest.skip("needs the right to mount a tmpfs in a namespace")
    number = trials.of(8, 100)
    script = [sys.executable, HERE / "full_disk.py", tmp_path, number]
    *rows, last = lines_of([*alone, *script])
    for row in rows:
        assert row["step"] == 5, row
        assert row["same"], row
        assert row["there"] == ["00000005"], row
        assert re.fullmatch(SAYS_WHY, row["said"]), row
        assert f" and {row['free']:,} are free" in row["said"]
    assert last == {"mended": 6}
    assert len(rows) == number
    assert {row["deceived"] for row in rows} == {False, True}
    trials.result("old one bit-identical, nothing left over, path and bytes named")


@needs_strace
@pytest.mark.reliability("A4", "ENOSPC and EIO at any openat, write, fsync or close of a save")
def test_an_error_of_the_disk_leaves_the_old_or_the_new_and_says_so(tmp_path, trials):
    every = 1 if trials.full else 17
    results = [
        (name, row)
        for name in SCENARIOS
        for error in ("ENOSPC", "EIO")
        for row in inject(name, tmp_path / f"{name}-{error}", f"error={error}", every)
    ]
    trials.of(len(results), len(results))
    for name, row in results:
        assert row["status"] in (0, 0x100), row  # saved, or said why not: never a traceback
        assert (row["status"] == 0) == (row["said"] == ""), row
        assert row["found"] in ("old", "new"), (name, row)
        assert row["found"] == "new" or row["said"], row
        assert row["left"] == [], row
        assert row["after"] == "new", row
    said = [row["said"] for _, row in results if "cannot save" in row["said"]]
    assert len(said) > len(results) / 5
    assert all(re.fullmatch(SAYS_WHY.replace("00000006", r"\d{8}"), text) for text in said)
    trials.result("old or new, nothing left over, 0 tracebacks")


@pytest.mark.reliability("A4", "short writes: RLIMIT_FSIZE at different bytes of a save")
def test_a_short_write_leaves_the_old(tmp_path, trials):
    folder = tmp_path / "checkpoints"
    save_step(folder, 5)
    largest = max(path.stat().st_size for path in folder.rglob("*.*"))
    limits = [largest * k // 50 for k in range(50)][:: 1 if trials.full else 10]
    trials.of(len(limits), len(limits))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in limits:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))  # Python ignores SIGXFSZ
        try:
            save_step(folder, 6)
        except CharloomError as error:
            said = str(error)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert re.fullmatch(SAYS_WHY, said)
        assert is_step(read_newest(folder), 5)
        assert [path.name for path in folder.iterdir()] == ["00000005"]
    save(folder, arrays_of(6), meta_of(6), 2)
    assert is_step(read_newest(folder), 6)
    trials.result("old one bit-identical, nothing left over, path and bytes named")
