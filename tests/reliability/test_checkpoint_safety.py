"""Section 1 of the table: a checkpoint is whole, or it is not there, or it is refused."""

import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from itertools import count, product
from pathlib import Path

import numpy as np
import pytest
from faults import SCENARIOS
from hostile_runs import BEGIN, CASES, END
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from power import Disk, Recorder, put
from safetensors.numpy import load
from safetensors.numpy import save as dumped

from charloom.config import SampleConfig
from charloom.errors import CharloomError
from charloom.evaluation import evaluate
from charloom.generation.sampling import generate
from charloom.runs import checkpoint
from charloom.runs.checkpoint import FILES, MANIFEST
from charloom.runs.open import open_model
from charloom.runs.run import Run
from charloom.training.loop import train
from checkpoints import (
    arrays_of,
    forge,
    is_step,
    meta_of,
    read_newest,
    save,
    save_step,
)
from expect import refused
from small_runs import write_text

HERE = Path(__file__).parent
RUNS = HERE.parent / "data" / "runs"
FRIENDLY = RUNS / "9c58b91" / "lstm"


def lines_of(command, **options):
    """What a script prints, each line a JSON object."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
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
    every = 1 if trials.full else 12
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


@pytest.fixture
def fast_folder(tmp_path):
    """A folder in memory, where there is one: thousands of states are laid out."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder)


def crash_states(scenario, parent, cuts, dropped=None):
    """Yield (has the save returned?, state) for a power cut after each change of a save.

    `dropped` is the label of an fsync that is left out.
    """
    parent.mkdir()
    folder = parent / "checkpoints"
    scenario.begin(folder)
    disk = Disk(parent)
    with Recorder() as recorder:
        scenario.act(folder)
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
    found = scenario.look(parent / "checkpoints")
    shutil.rmtree(parent)
    return found == "new" or (found == "old" and not returned)


@pytest.mark.reliability("A3", "power cut after any change: fsyncs, renames, torn writes")
def test_a_power_cut_leaves_the_old_or_the_new(fast_folder, trials):
    number = trials.of(1_000, 5_000)
    pieces = 350 if trials.full else 12  # the largest file has 350 bytes
    cuts = [k / pieces for k in range(1, pieces)]
    folders = (fast_folder / f"{k}" for k in count())
    made = 0
    for scenario in SCENARIOS.values():
        for returned, state in crash_states(scenario, next(folders), cuts):
            made += 1
            assert is_right(scenario, returned, state, next(folders)), (scenario, state)
    assert made >= number
    trials.result(f"{made:,} states: old or new")


@pytest.mark.reliability("A3", "without any one of its fsyncs, a save fails this test")
def test_no_fsync_of_a_save_can_be_left_out(fast_folder, trials):
    folders = (fast_folder / f"{k}" for k in count())
    labels = set()
    for scenario in SCENARIOS.values():
        folder = next(folders) / "checkpoints"
        folder.parent.mkdir()
        scenario.begin(folder)
        with Recorder() as recorder:
            scenario.act(folder)
        labels |= {label for _, label in labelled(recorder.changes) if label}
    trials.of(len(labels), len(labels))
    assert len(labels) == 8
    missed = {
        label
        for label in labels
        if all(
            is_right(scenario, returned, state, next(folders))
            for scenario in SCENARIOS.values()
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
        assert row["facts"]["code"] == "unwritable", row
        assert row["facts"]["free"] == row["free"]
        assert row["facts"]["needed"] > row["free"] or row["deceived"], row
        assert bool(row["written"]) == row["deceived"], row  # else seen before a byte is written
    assert last == {"mended": 6}
    assert len(rows) == number
    assert {row["deceived"] for row in rows} == {False, True}
    trials.result("old one bit-identical, nothing left over, path and bytes named")


@needs_strace
@pytest.mark.reliability("A4", "ENOSPC and EIO at any openat, write, fsync or close of a save")
def test_an_error_of_the_disk_leaves_the_old_or_the_new_and_says_so(tmp_path, trials):
    every = 1 if trials.full else 11
    results = [
        (name, row)
        for name in (SCENARIOS if trials.full else ("over", "rotating"))
        for error in ("ENOSPC", "EIO")
        for row in inject(name, tmp_path / f"{name}-{error}", f"error={error}", every)
    ]
    trials.of(len(results), len(results))
    for name, row in results:
        assert row["status"] in (0, 0x100), row  # saved, or said why not: never a traceback
        assert row["said"] in (("unwritable", "unreadable") if row["status"] else ("",)), row
        assert row["found"] in ("old", "new"), (name, row)
        assert row["found"] == "new" or row["said"], row
        assert row["left"] == [], row
        assert row["after"] == "new", row
    assert sum(row["status"] != 0 for _, row in results) > len(results) / 5
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
            with refused("unwritable", path=folder / "00000006"):
                save_step(folder, 6)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert is_step(read_newest(folder), 5)
        assert [path.name for path in folder.iterdir()] == ["00000005"]
    save(folder, arrays_of(6), meta_of(6), 2)
    assert is_step(read_newest(folder), 6)
    trials.result("old one bit-identical, nothing left over, path and bytes named")


@pytest.mark.reliability("A4", "a run that goes on, and back, on a full disk, until there is room")
def test_a_run_goes_on_where_the_disk_is_full(tmp_path, trials):
    alone = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs in a namespace")
    trials.of(1, 1)
    small = tmp_path / "small"
    small.mkdir()
    script = [sys.executable, HERE / "full_resume.py", write_text(tmp_path), small]
    (found,) = lines_of([*alone, *script])
    assert found["same"]
    assert len(found["warned"]) == 3  # that it diverged, cannot be saved, and is saved again
    trials.result("goes on, tries again, and ends with the same bits")


@pytest.mark.torture
@pytest.mark.reliability("A4", "`charloom resume` on a disk that stays full ends with one line")
def test_a_full_disk_under_the_command_line(tmp_path, trials):
    trials.of(1, 1)
    run = tmp_path / "run"
    shutil.copytree(RUNS / "9c58b91" / "gru", run)
    largest = max(path.stat().st_size for path in run.rglob("*.safetensors"))
    script = (
        "import resource, sys; from charloom.cli import main\n"
        "from charloom.training import loop, writer\n"
        "writer.PATIENCE_SECONDS = loop.RETRY_SECONDS = 0.1\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({largest - 1},) * 2)\n"
        f"sys.argv[1:] = ['resume', {str(run)!r}]; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "00000020" in done.stderr  # the checkpoint that cannot be saved
    assert done.returncode == 2
    assert Run.open(run).checkpoint("latest").meta.step == 10
    trials.result("exit status 2, no traceback, the old one whole")


# ---- A5: damage


class Damage:
    """Two checkpoints, of which the newer is harmed, read and mended."""

    def __init__(self, folder, monkeypatch):
        self.arrays = {
            "layer0.Wx": np.random.default_rng(0).normal(size=(40, 40)),
            "optimizer.m.layer0.Wx": np.random.default_rng(1).normal(size=(40, 40)),
        }
        self.folder = folder
        for step in (5, 6):
            self.newer = save(folder, self.arrays, meta_of(step), 2)
        self.whole = {name: (self.newer / name).read_bytes() for name in (*FILES, MANIFEST)}
        self.opened = []
        read_arrays = checkpoint.read_arrays

        def watched(path, file, expected):
            self.opened.append(path.parent)
            return read_arrays(path, file, expected)

        monkeypatch.setattr(checkpoint, "read_arrays", watched)

    def is_seen(self, name, content):
        """Is it refused before an array is read, and the older one offered?"""
        path = self.newer / name
        path.unlink() if content is None else path.write_bytes(content)
        self.opened.clear()
        try:
            found = read_newest(self.folder, self.arrays)
            right = found.meta.step == 5 and str(self.newer) in found.notes[0]
        except CharloomError as error:  # the number of its format became a higher one
            right = error.code == "newer-format"
        path.write_bytes(self.whole[name])
        return right and self.newer not in self.opened


@pytest.mark.reliability("A5", "damage: cuts, flipped bits, zeros, mixed and missing files")
def test_damage_is_seen_before_a_weight_is_used(tmp_path, trials, monkeypatch):
    number = trials.of(200, 16_103)
    damage, chance = Damage(tmp_path / "checkpoints", monkeypatch), random.Random(5)
    whole = damage.whole
    names = [*whole]

    def any_name():
        return chance.choices(names, (4, 4, 1, 1))[0]

    harms = [("model.safetensors", whole["model.safetensors"][:n]) for n in range(4097)]
    for _ in range(1000):
        name = any_name()
        harms.append((name, whole[name][: chance.randrange(len(whole[name]))]))
    for _ in range(10_000):
        content = bytearray(whole[name := any_name()])
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        harms.append((name, bytes(content)))
    for _ in range(1000):
        content = bytearray(whole[name := chance.choice(FILES[:2])])
        start = chance.randrange(len(content))
        content[start : start + 4096] = bytes(len(content[start : start + 4096]))
        harms.append((name, bytes(content)))
    older = {n: (damage.folder / "00000005" / n).read_bytes() for n in names}
    harms += [(n, older[n]) for n in ("meta.json", MANIFEST)]  # arrays are the same in both
    harms += [(n, None) for n in names]
    if not trials.full:
        harms = chance.sample(harms[:-6], number - 6) + harms[-6:]
    assert len(harms) == number
    missed = [(n, c) for n, c in harms if not damage.is_seen(n, c)]
    assert not missed
    assert len(set(harms)) > 0.9 * number
    trials.result("all seen before an array is read, the one before offered")


# ---- A6: hostile headers

ENTRY = '"{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}'
ODD_SIZES = (-1, 0, 1, 2**31, 2**32, 2**40, 2**53, 2**63, 2**64, 10**30, 1.5)
ODD_NAMES = ("", "x" * 10_000, r"\ud800", r"\u0000", "a\x1bb", "layer0.b")
ODD_DTYPES = ("F64", "I32", "U32", "BF16", "OBJ", "f32", "")
ODD_PLACES = ((0, 60), (60, 12), (-4, 8), (0, 0), (4, 16), (0, 2**64))
EXTRA = (
    ENTRY.format(name="head.b", shape="[3]", start=0, end=12),  # a name twice
    ENTRY.format(name="x", shape="[0]", start=60, end=60),
    ENTRY.format(name="x", shape="[1]", start=60, end=64),
    '"__metadata__":{"a":"b"}',
    '"__metadata__":{"a":NaN}',
    '"__metadata__":' + '{"a":' * 200 + "1" + "}" * 200,
    '"x":NaN',
)


def mostly(usual, *odd):
    """The usual in twelve of thirteen cases: so one or two things are odd in a header, not all."""
    return st.sampled_from([usual] * (12 * len(odd)) + list(odd))


@st.composite
def headers(draw):
    """A file of arrays near to the one that fits, as an attacker would write it."""
    parts = []
    for name, shape, place in (("head.b", [3], (0, 12)), ("layer0.Wx", [3, 4], (12, 60))):
        shape = [draw(mostly(size, *ODD_SIZES)) for size in shape]
        shape = draw(mostly(shape, [12], [4, 3], [3, 4, 1], [], [0], [1] * 500))
        start, end = draw(mostly(place, *ODD_PLACES))
        name = draw(mostly(name, *ODD_NAMES))
        entry = ENTRY.format(name=name, shape=json.dumps(shape), start=start, end=end)
        parts.append(entry.replace("F32", draw(mostly("F32", *ODD_DTYPES))))
    parts += [extra] if (extra := draw(mostly("", *EXTRA))) else []
    parts = draw(st.permutations(parts))
    text = ("{" + ",".join(parts) + "}" + " " * draw(st.integers(0, 9))).encode()
    length = draw(mostly(len(text), 0, 1, len(text) + 1, 2**63, 2**64 - 1, 10**8))
    numbers = np.arange(15, dtype=np.float32)
    numbers[draw(st.integers(0, 14))] = draw(mostly(1, np.nan, np.inf, -np.inf))
    tail = draw(mostly(b"", b"\0", bytes(4), b"PK\x03\x04"))
    return length.to_bytes(8, "little") + text + numbers.tobytes() + tail


def crafted_headers():
    """What each looks valid to the reference reader; and what is large, deep, or both."""
    whole = [ENTRY.format(name="head.b", shape="[3]", start=0, end=12)]
    whole += [ENTRY.format(name="layer0.Wx", shape="[3,4]", start=12, end=60)]
    both = ",".join(whole)
    texts = [
        *(both.replace("[3,4]", shape) for shape in ("[4,3]", "[12]", "[3,4,1]", "[2,6]")),
        *(both.replace("F32", dtype) for dtype in ("I32", "U32")),
        *(f"{both},{extra}" for extra in EXTRA),
        both.replace("head.b", "head.c"),
        both.replace("layer0.Wx", "x" * 10**6),
        both.replace("layer0.Wx", "x" * 10**7),
        both.replace("[3,4]", f"[{'1,' * 300_000}12]"),
        ",".join(
            [both, *(ENTRY.format(name=k, shape="[0]", start=60, end=60) for k in range(9999))]
        ),
        ",".join([both, *(f'"{k}":0' for k in range(10**6))]),
        both + " " * 2**21,
        both + " " * 100_000_000,
    ]
    texts = [f"{{{text}}}" for text in texts] + ["[" * 100_000, '{"a":' * 100_000]
    return [len(text).to_bytes(8, "little") + text.encode() + bytes(60) for text in texts]


@pytest.mark.reliability("A6", "hostile headers with a manifest that agrees")
def test_hostile_headers_are_refused(tmp_path, trials):
    number = trials.of(660, 110_000)
    made = crafted_headers()
    if not trials.full:
        made = [content for content in made if len(content) < 2**22]

    @settings(max_examples=number // 11, database=None, phases=[Phase.generate])
    @given(headers())
    def make(content):
        made.append(content)

    make()
    made = made[: 10_000 if trials.full else number // 11]
    path = tmp_path / "cases"
    path.write_bytes(b"".join(len(content).to_bytes(8, "little") + content for content in made))
    script = [sys.executable, HERE / "hostile.py", tmp_path / "checkpoints", path]
    (result,) = lines_of([*script, number - len(made)])
    assert result["wrong"] == []
    assert result["events"] == {}
    counts = result["counts"]
    assert counts["refused"] + counts["accepted"] == number
    assert counts["accepted"] > number / 1000  # some are harmless: the headers are really read
    assert counts["refused"] > number / 2
    trials.result(
        f"{counts['refused']:,} refused, {counts['accepted']:,} harmless; 0 crashes, hangs; "
        f"{1000 * result['slowest']:.0f} ms of computing at most"
    )


# ---- A7: hostile folders


@needs_strace
@pytest.mark.reliability("A7", "hostile run folders: links, pipes, devices, bombs, a million files")
def test_hostile_folders_are_refused_for_what_they_are(tmp_path, trials):
    trials.of(len(CASES) + 1, len(CASES) + 1)
    folder = tmp_path / "cases"
    for name, (arrange, _) in CASES.items():
        shutil.copytree(FRIENDLY, folder / name)
        arrange(folder / name, tmp_path / name)
    crowded = folder / "a million files"
    shutil.copytree(FRIENDLY, crowded)
    for number in range(10**6 if trials.full else 10**4):
        os.mknod(crowded / "checkpoints" / f"{number:08d}.old{number}")
    log = tmp_path / "log"
    watch = ["strace", "-f", "-y", "-e", "trace=open,openat,openat2,execve,connect", "-o", log]
    rows = lines_of([*watch, sys.executable, HERE / "hostile_runs.py", folder, FRIENDLY])
    said = {row["name"]: (row["code"], row["text"]) for row in rows}
    assert said.pop("a million files") == ("", "")
    for name, (code, text) in said.items():
        wanted, named = CASES[name][1]
        assert code == wanted, (name, text)
        assert named in text, (name, text)
        assert text.isprintable(), name
        assert len(text) < 1000, name
    calls = log.read_text().split(BEGIN)[1].split(END)[0]
    opened = re.findall(r"= \d+<(.+)>$", calls, re.M)
    assert len(opened) > len(CASES)
    assert [path for path in opened if not path.startswith(f"{folder}/")] == []
    assert not re.search(r"(execve|connect)\(", calls)
    slowest = max(row["cpu"] for row in rows)
    trials.result(
        "all refused by name, 0 files outside opened, a million files looked through; "
        f"{1000 * slowest:.0f} ms of computing at most"
    )


# ---- A8: numbers that are none


def doors(run):
    """Sampling, inspection and training: each as far as the checkpoint."""
    yield lambda: open_model(run.path)
    yield lambda: run.checkpoint("latest")
    yield lambda: run.checkpoint(10)
    yield lambda: next(train(run, resume=True))


@pytest.mark.reliability("A8", "NaN, +inf, -inf in each tensor of weights and state")
def test_nan_and_infinity_are_refused_in_every_tensor(tmp_path, trials):
    made = 0
    for cell in ("rnn", "lstm", "gru"):
        shutil.copytree(RUNS / "9c58b91" / cell, tmp_path / cell)
        run = Run.open(tmp_path / cell)
        path = run.checkpoints / "00000010"
        for file in FILES[:2]:
            whole = (path / file).read_bytes()
            arrays = load(whole)
            for name, value in product(arrays, (np.nan, np.inf, -np.inf)):
                if arrays[name].dtype.kind != "f":
                    continue
                array = arrays[name].copy()
                array.flat[made % array.size] = value
                forge(path, file, dumped(arrays | {name: array}))
                for door in [*doors(run)][file == FILES[1] :]:  # a sample reads weights only
                    with refused("damaged", path=path / file, array=name):
                        door()
                made += 1
            forge(path, file, whole)
        assert run.checkpoint("latest").meta.step == 10
    assert made == 3 * (5 * 2 + 1 + 9 * 3 + 4 + 5 * 2 + 1)
    trials.of(made, made)
    trials.result("all refused by name in sample and resume")


# ---- A10: runs of earlier versions


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "ngram"])
@pytest.mark.reliability("A10", "runs of earlier versions load, write, and go on to their end")
def test_runs_of_earlier_versions_go_on(tmp_path, trials, name):
    versions = sorted(RUNS.glob(f"*/{name}"))
    trials.of(len(versions), len(versions))
    assert len(versions) >= 3
    for number, version in enumerate(versions):
        shutil.copytree(version, tmp_path / f"{number}")
        run = Run.open(tmp_path / f"{number}")
        model = open_model(run, run.config.engine)
        then = run.metrics()[-1].validation
        nats = evaluate(model, run.dataset().validation).nats
        if name == "ngram":  # whose counts are read better since
            assert nats < then
        else:
            assert nats == pytest.approx(then, rel=1e-6)
        assert len("".join(generate(model, SampleConfig(seed=0), length=30))) == 30
        *_, finished = train(run, resume=True)
        assert (finished.reason, finished.step) == ("done", 1 if name == "ngram" else 20)
    trials.result("same loss as then; resumed to the end")


@pytest.mark.reliability("A10", "a checkpoint of a newer format is refused, and left alone")
def test_a_newer_format_is_refused_and_left_alone(tmp_path, trials):
    shutil.copytree(FRIENDLY, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    newer = run.checkpoints / "00000012"
    shutil.copytree(run.checkpoints / "00000010", newer)
    written = b'{"format":2,"shards":[{"name":"a"}],"files":["a"]}'
    (newer / MANIFEST).write_bytes(written)
    doors_there = [*doors(run)]
    for door in doors_there[:2] + doors_there[3:]:
        with refused("newer-format", path=newer, found=2):
            door()
    assert (newer / MANIFEST).read_bytes() == written
    assert run.checkpoint(10).meta.step == 10
    trials.of(3, 3)
    trials.result("refused by its number")
