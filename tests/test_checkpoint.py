import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from charloom.errors import CharloomError
from charloom.files import replace_file, write_file
from charloom.runs import checkpoint
from charloom.runs.checkpoint import FILES, MANIFEST, find, save, steps
from charloom.runs.meta import Best, Losses, Meta
from checkpoints import (
    arrays_of,
    forge,
    is_step,
    meta_of,
    read,
    read_best,
    read_newest,
    same_arrays,
    save_step,
)
from expect import refused


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return save_step(tmp_path_factory.mktemp("pristine") / "checkpoints", 5)


# ---- what is saved is what is read


DTYPES = ["f4", "f8", "i8", "u1", "u2", "u4"]
NAMES = st.text("abcxyz.0123", min_size=1, max_size=12).map("layer0.".__add__)


@settings(max_examples=20)
@given(
    st.dictionaries(
        NAMES,
        st_numpy.arrays(
            st.sampled_from(DTYPES),
            st_numpy.array_shapes(max_dims=3, min_side=0),
            elements={"allow_nan": False, "allow_infinity": False},
        ),
        max_size=4,
    )
)
def test_arrays_come_back_bit_for_bit(arrays):
    with tempfile.TemporaryDirectory() as parent:
        found = read(save(Path(parent, "checkpoints"), arrays, meta_of(1), 1), arrays)
        assert same_arrays(found.weights, arrays)
        assert found.state == {}


def test_arrays_that_are_not_in_c_order_come_back_as_they_look(folder):
    block = np.arange(24, dtype=np.float64).reshape(4, 6)
    views = {"a": block.T, "b": block[::2, ::-1], "c": np.asfortranarray(block)}
    found = read(save(folder, views, meta_of(1), 1), views).weights
    for name, view in views.items():
        np.testing.assert_array_equal(found[name], view)


def test_weights_are_kept_apart_from_the_state_of_training(folder):
    found = read(save_step(folder, 5))
    assert sorted(found.weights) == ["head.b", "layer0.Wx"]
    assert sorted(found.state) == ["optimizer.updates", "rng.seed", "state.layer0.h"]


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=20)
@given(FINITE, FINITE, FINITE, st.one_of(st.none(), FINITE))
def test_meta_comes_back_exactly(smooth, total, best, sampled):
    meta = Meta(
        step=9,
        seconds=abs(total),
        best=Best(7, best),
        versions={"charloom": "0.1.0"},
        cursor={"position": 12, "epoch": 3},
        schedule={"scale": smooth, "windows": 4.0},
        losses=Losses(smooth=smooth, sum=total, count=3, sampled=sampled),
    )
    with tempfile.TemporaryDirectory() as parent:
        assert read(save(Path(parent, "checkpoints"), {}, meta, 1), {}).meta == meta


# ---- damage


def damaged_copies(pristine, tmp_path, every):
    """A fresh copy each time, of which one file is cut or has a bit flipped at every n-th byte."""
    copy = tmp_path / pristine.name
    for name in (*FILES, MANIFEST):
        content = (pristine / name).read_bytes()
        changes = [content[:n] for n in range(0, len(content), every)]
        changes += [content + b"\0", content + b"\n"]
        for at in range(0, len(content), every):
            flipped = bytearray(content)
            flipped[at] ^= 1 << at % 8
            changes.append(bytes(flipped))
        for changed in changes:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(pristine, copy)
            (copy / name).write_bytes(changed)
            yield name, changed, copy


def test_truncations_and_flipped_bits_are_refused(pristine, tmp_path, request):
    every = 1 if request.config.getoption("--full") else 7
    accepted, named, count = [], [], 0
    for name, changed, copy in damaged_copies(pristine, tmp_path, every):
        count += 1
        try:
            read(copy)
            accepted.append((name, changed))
        except CharloomError as error:
            named.append(Path(error.facts["path"]))
    assert all(copy in (path, path.parent) for path in named)
    # White space after the manifest's JSON is no damage: it says the same.
    assert accepted == [(MANIFEST, (pristine / MANIFEST).read_bytes() + b"\n")]
    assert count > 1500 / every


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_missing_file_is_named(folder, name):
    path = save_step(folder, 5)
    (path / name).unlink()
    with refused("not-found", path=path / name):
        read(path)


@pytest.mark.parametrize("name", FILES)
def test_files_of_two_checkpoints_cannot_be_mixed(folder, name):
    one, two = save_step(folder, 5), save_step(folder, 6)
    shutil.copy(one / name, two / name)
    with refused("damaged", path=two / name):
        read(two)


def test_a_checkpoint_under_the_name_of_another_is_refused(folder):
    path = save_step(folder, 5)
    path.rename(folder / "00000009")
    with refused("damaged", path=folder / "00000009"):
        read(folder / "00000009")


# ---- hostile folders


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
@pytest.mark.parametrize("kind", ["link", "broken link", "pipe", "folder"])
def test_only_plain_files_are_opened(folder, tmp_path, name, kind):
    path = save_step(folder, 5)
    content = (path / name).read_bytes()
    (path / name).unlink()
    if kind == "link":  # to the very same content: only the link is wrong
        (tmp_path / "outside").write_bytes(content)
    if "link" in kind:
        (path / name).symlink_to(tmp_path / "outside")
    elif kind == "pipe":
        os.mkfifo(path / name)
    else:
        (path / name).mkdir()
    with refused("damaged", path=path / name):
        read(path)


def test_a_linked_checkpoint_or_folder_of_them_is_refused(folder, tmp_path):
    path = save_step(folder, 5)
    (folder / "00000006").symlink_to(path)
    with refused("damaged", path=folder / "00000006"):
        read(folder / "00000006")
    assert steps(folder) == [5]
    (tmp_path / "linked").symlink_to(folder)
    with refused("damaged", path=tmp_path / "linked"):
        read_newest(tmp_path / "linked")


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"../../outside": {"bytes": 0, "sha256": ""}},
        {name: {"bytes": 0, "sha256": ""} for name in (*FILES, "/etc/passwd")},
        {name: {"bytes": 0, "sha256": ""} for name in FILES[:2]},
    ],
)
def test_the_manifest_lists_the_three_files_and_nothing_else(folder, files):
    path = save_step(folder, 5)
    (path / MANIFEST).write_text(json.dumps({"format": 1, "files": files}))
    with refused("damaged", path=path / MANIFEST):
        read(path)


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"null",
        b"[" * 100_000,
        b'{"format":1,"files":{"meta.json":{"bytes":-1}}}',
        b"\xff" * 99,
    ],
)
def test_a_manifest_that_is_none_is_refused(folder, manifest):
    path = save_step(folder, 5)
    (path / MANIFEST).write_bytes(manifest)
    with refused("damaged", path=path / MANIFEST):
        read(path)


def test_a_format_of_the_future_is_refused_by_its_number(folder):
    path = save_step(folder, 5)
    (path / MANIFEST).write_text('{"format": 2, "shards": [], "files": {}}')
    with refused("newer-format", path=path, found=2):
        read(path)


def header(text, size=None):
    encoded = text.encode()
    return (len(encoded) if size is None else size).to_bytes(8, "little") + encoded


HOSTILE = {
    "empty": b"",
    "seven bytes": b"\1" * 7,
    "header of 2^63": header("{}", 2**63),
    "header of 100 MB": header("{}", 100_000_000),
    "header past the end": header("{}", 500),
    "no JSON": header("{]"),
    "nested": header("[" * 100_000),
    "shape overflows": header(
        '{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}'
    )
    + bytes(4),
    "huge shape": header('{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4]}}')
    + bytes(4),
    "overlap": header(
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        '"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    )
    + bytes(4),
    "hole": header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}') + bytes(8),
    "bytes left over": header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}') + bytes(5),
    "negative offset": header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}'),
    "unknown type": header('{"a":{"dtype":"OBJ","shape":[1],"data_offsets":[0,4]}}') + bytes(4),
    "bfloat16": header('{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}') + bytes(4),
    "pickle": b"\x80\x04\x95\x1b\0\0\0\0\0\0\0\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
    "zip": b"PK\x03\x04" + bytes(60),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("name", FILES[:2])
def test_hostile_arrays_with_a_matching_manifest_are_refused(folder, name, content):
    path = save_step(folder, 5)
    forge(path, name, content)
    with pytest.raises(CharloomError) as caught:
        read(path)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "meta",
    [b"{}", b'{"step":5}', b"null", b'{"step":5,"seconds":0,"best":null,"versions":{},"extra":1}'],
)
def test_a_meta_that_is_none_is_refused_even_with_a_matching_manifest(folder, meta):
    path = save_step(folder, 5)
    forge(path, "meta.json", meta)
    with refused("damaged", path=path / "meta.json"):
        read(path)


def test_json_larger_than_it_can_be_is_not_read(folder):
    path = save_step(folder, 5)
    forge(path, "meta.json", b" " * (2**20 + 1))
    with refused("damaged", path=path / "meta.json"):
        read(path)


# ---- the newest whole one


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before_and_it_is_said(folder):
    save_step(folder, 5)
    newest = save_step(folder, 6)
    (newest / "meta.json").write_bytes(b"")
    found = read_newest(folder)
    assert is_step(found, 5)
    (note,) = found.notes
    assert str(newest / "meta.json") in note
    assert found.path.name in note


def test_an_undamaged_newest_checkpoint_comes_without_notes(folder):
    save_step(folder, 5)
    save_step(folder, 6)
    assert read_newest(folder).notes == ()


def test_nothing_to_read_is_an_error_of_one_line(folder):
    with refused("not-found", path=folder):
        read_newest(folder)
    path = save_step(folder, 5)
    (path / MANIFEST).unlink()
    with refused("not-found", path=path / MANIFEST):
        read_newest(folder)


def test_steps_are_sorted_as_numbers(folder):
    for step in (5, 123_456_789, 99_999_999, 40):
        save(folder, {}, meta_of(step), 100)
        assert steps(folder)[-1] == step
        shutil.rmtree(folder)
    for step in (5, 99_999_999, 123_456_789):
        save(folder, {}, meta_of(step), 100)
    assert steps(folder) == [5, 99_999_999, 123_456_789]
    assert read_newest(folder, {}).meta.step == 123_456_789


# ---- what stays


def test_the_newest_and_the_best_stay(folder):
    for step in range(1, 8):
        save_step(folder, step, best=min(step, 3), keep=2)
    assert steps(folder) == [3, 6, 7]


def test_a_left_over_temporary_folder_goes_and_foreign_files_stay(folder):
    save_step(folder, 1, keep=1)
    left_over = folder / ".saving-00000009"
    left_over.mkdir()
    (left_over / "model.safetensors").write_bytes(b"half")
    foreign = ["notes.txt", "00000001-copy", "12", "0000001x", "000000001", ".hidden"]
    foreign += [".saving-mine", "٠٠٠٠٠٠٠١", "1" * 19]
    for name in foreign:
        (folder / name).mkdir()
        (folder / name / "mine").write_text("mine")
    save_step(folder, 2, keep=1)
    assert sorted(p.name for p in folder.iterdir()) == sorted([*foreign, "00000002"])
    assert all((folder / name / "mine").read_text() == "mine" for name in foreign)


@pytest.mark.parametrize("damaged", [False, True])
def test_saving_a_step_again_replaces_it(folder, damaged):
    path = save_step(folder, 5)
    if damaged:
        (path / MANIFEST).unlink()
    replacement = {"layer0.Wx": np.ones(3)}
    save(folder, replacement, meta_of(5), 2)
    assert same_arrays(read_newest(folder, replacement).weights, replacement)
    assert [p.name for p in folder.iterdir()] == ["00000005"]


def test_a_file_in_the_way_of_a_checkpoint_is_not_removed(folder):
    save_step(folder, 4)
    (folder / "00000005").write_text("mine")
    with refused("unwritable", path=folder / "00000005"):
        save_step(folder, 5)
    assert (folder / "00000005").read_text() == "mine"
    assert is_step(read_newest(folder), 4)


def test_checkpoints_from_after_the_new_step_go(folder):
    save_step(folder, 5)
    (save_step(folder, 8) / MANIFEST).unlink()
    save_step(folder, 6)
    assert steps(folder) == [5, 6]


def test_a_damaged_one_keeps_no_place_from_one_that_is_whole(folder):
    for step in (1, 2, 3):
        path = save_step(folder, step, keep=3)
    (path / "state.safetensors").write_bytes(b"short")
    save_step(folder, 4, keep=2)
    assert steps(folder) == [2, 4]


def test_a_save_hashes_no_checkpoint_that_this_process_has_verified(folder, monkeypatch):
    verified = []
    verify = checkpoint.verify
    monkeypatch.setattr(checkpoint, "verify", lambda path: verified.append(path) or verify(path))
    for step in (1, 2, 3, 4):
        save_step(folder, step, best=1, keep=3)
    assert not verified
    checkpoint._verified.clear()  # as in a new process
    for step in (5, 6):
        save_step(folder, step, best=1, keep=3)
    assert sorted(path.name for path in verified) == ["00000001", "00000003", "00000004"]
    assert steps(folder) == [1, 4, 5, 6]


def test_what_cannot_be_read_back_is_no_checkpoint(folder, monkeypatch):
    save_step(folder, 5)

    def rotting(path, blocks):
        written = write_file(path, blocks)
        if path.name == FILES[1]:
            path.write_bytes(path.read_bytes()[:-1] + b"x")
        return written

    monkeypatch.setattr(checkpoint, "write_file", rotting)
    with refused("unwritable", path=folder / "00000006"):
        save_step(folder, 6)
    assert [path.name for path in folder.iterdir()] == ["00000005"]


# ---- the best, and weights alone


def test_the_best_is_read_without_the_arrays_of_the_newest(folder):
    for step in (1, 2, 3):
        newest = save_step(folder, step, best=1)
    (newest / "model.safetensors").write_bytes(b"")
    found = read_best(folder)
    assert is_step(found, 1)
    assert found.notes == ()


def test_a_damaged_best_gives_way_to_the_best_before_it_and_it_is_said(folder):
    for step, best in ((1, 1), (2, 1), (3, 3)):
        newest = save_step(folder, step, best=best, keep=3)
    (newest / "model.safetensors").write_bytes(b"")
    found = read_best(folder)
    assert is_step(found, 1)
    assert str(newest) in found.notes[0]


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_weights_are_read_whatever_has_become_of_the_training_state(folder, name):
    path = save_step(folder, 5)
    (path / name).write_bytes(b"")
    if name == "state.safetensors":
        found = read(path, weights_only=True)
        assert same_arrays(found.weights, {n: arrays_of(5)[n] for n in found.weights})
        assert found.state == {}
    else:
        with refused("damaged", path=path / name):
            read(path, weights_only=True)


def test_a_damaged_best_is_not_kept(folder):
    for step in (1, 2, 3):
        save_step(folder, step, best=1, keep=2)
    (folder / "00000001" / "meta.json").unlink()
    save_step(folder, 4, best=1, keep=2)
    assert steps(folder) == [3, 4]


def test_a_checkpoint_put_aside_by_a_save_that_was_killed_is_one_like_the_others(folder):
    for step in (4, 5):
        save_step(folder, step)
    (folder / "00000005").rename(folder / "00000005.old")
    assert is_step(read_newest(folder), 5)
    assert is_step(read(find(folder, 5)), 5)
    save_step(folder, 6, best=5, keep=1)
    assert sorted(path.name for path in folder.iterdir()) == ["00000005", "00000006"]
    assert is_step(read(find(folder, 5)), 5)


def test_nothing_is_written_where_too_little_is_free(folder, monkeypatch):
    save_step(folder, 5)
    before = sorted(folder.rglob("*"))
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    monkeypatch.setattr(checkpoint, "write_file", None)
    with refused("unwritable", path=folder / "00000006", free=100) as caught:
        save_step(folder, 6)
    assert caught.value.facts["needed"] > 100
    assert sorted(folder.rglob("*")) == before


def test_free_space_is_named_only_where_it_is_known(tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with refused("unwritable", path=tmp_path / "checkpoints/00000006", free=None) as caught:
        save_step(tmp_path / "checkpoints", 6)
    assert "are free" not in str(caught.value)


def test_an_old_one_that_cannot_be_removed_is_named_and_the_new_one_is_there(folder, monkeypatch):
    save_step(folder, 5)

    def refuse(path, **_):
        if path.name == "00000005":
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with refused("unwritable", path=folder):
        save_step(folder, 6, keep=1)
    assert is_step(read_newest(folder), 6)


class failing_fsync:  # noqa: N801 -- used as a function
    """The disk fails at the `number`-th fsync."""

    def __init__(self, number):
        self.number, self.failed = number, []

    def __enter__(self):
        self.fsync = os.fsync
        count = iter(range(10**6))

        def fsync(descriptor):
            if next(count) == self.number:
                self.failed.append(self.number)
                raise OSError(28, "No space left on device")
            self.fsync(descriptor)

        os.fsync = fsync
        return self.failed

    def __exit__(self, *_):
        os.fsync = self.fsync


@pytest.mark.parametrize("number", range(6))
def test_a_save_that_fails_says_what_is_needed_and_leaves_what_was_there(folder, number):
    save_step(folder, 5)
    with (
        failing_fsync(number) as failed,
        refused("unwritable", path=folder / "00000006") as caught,
    ):
        save_step(folder, 6)
    assert isinstance(caught.value.__cause__, OSError)
    assert failed == [number]
    # The sixth is that of the folder the new one has been renamed into: old and new are there.
    assert is_step(read_newest(folder), 6 if number == 5 else 5)
    assert not list(folder.glob(".saving-*"))
    save_step(folder, 6)
    assert is_step(read_newest(folder), 6)


# ---- power cuts and kills


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="tells descriptors apart by Linux's /proc/self/fd"
)


def name_of(descriptor):
    return Path(f"/proc/self/fd/{descriptor}").readlink().name


@needs_proc
def test_every_file_and_folder_reaches_the_disk_in_the_order_that_survives_a_power_cut(
    folder, monkeypatch
):
    save_step(folder, 5, keep=1)
    calls = []
    fsync, rename, rmtree = os.fsync, os.rename, shutil.rmtree

    def record(call, name):
        calls.append(f"{call} {name}")

    def recording_fsync(descriptor):
        record("sync", name_of(descriptor))
        fsync(descriptor)

    def recording_rename(old, new):
        record("rename", Path(new).name)
        rename(old, new)

    def recording_rmtree(path, **options):
        if Path(path).exists():
            record("remove", Path(path).name)
        rmtree(path, **options)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "rename", recording_rename)
    monkeypatch.setattr(shutil, "rmtree", recording_rmtree)
    save_step(folder, 6, keep=1)
    assert calls == [
        "sync model.safetensors",
        "sync state.safetensors",
        "sync meta.json",
        "sync MANIFEST.json",
        "sync .saving-00000006",
        "rename 00000006",
        "sync checkpoints",
        "remove 00000005",
        "sync checkpoints",
    ]
    calls.clear()
    shutil.rmtree(folder)
    calls.clear()
    save_step(folder, 1)
    assert calls[0] == f"sync {folder.parent.name}"  # the new folder itself


@needs_proc
def test_a_small_file_is_on_the_disk_before_it_takes_the_place_of_the_old(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    path.write_bytes(b"old")
    calls = []
    fsync = os.fsync

    def recording_fsync(descriptor):
        calls.append((name_of(descriptor), path.read_bytes()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    replace_file(path, b"new")
    assert calls == [(".config.json.new", b"old"), (tmp_path.name, b"new")]
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


KILLED_AT_EVERY_CALL = """
import os, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from checkpoints import arrays_of, is_step, meta_of, read_newest, same_arrays, save, save_step

CALLS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.fsync"}
parent = Path(sys.argv[2])

def again(folder):  # the same step, with other numbers
    save(folder, arrays_of(9), meta_of(5), 1)

def old_is_there(folder):
    return is_step(read_newest(folder), 5)

def is_again(folder):
    found = read_newest(folder)
    return same_arrays(found.weights | found.state, arrays_of(9))

scenarios = {
    "next": (lambda f: save_step(f, 6, keep=1), lambda f: is_step(read_newest(f), 6)),
    "again": (again, is_again),
}
for name, (act, is_new) in scenarios.items():
    old = new = 0
    for k in range(1, 1000):
        folder = parent / f"{name}{k}" / "checkpoints"
        folder.parent.mkdir()
        save_step(folder, 5)
        child = os.fork()
        if child == 0:
            count = 0
            def step(event):
                global count
                if event not in CALLS:
                    return
                count += 1
                if count == k:
                    os.kill(os.getpid(), signal.SIGKILL)
            fsync = os.fsync
            def counted(descriptor):
                step("os.fsync")
                fsync(descriptor)
            os.fsync = counted
            sys.addaudithook(lambda event, _: step(event))
            act(folder)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert status == 0, status
            assert is_new(folder)
            break
        if is_new(folder):
            new += 1
        else:
            assert old_is_there(folder), (name, k)
            old += 1
        act(folder)  # and the next save mends all
        assert is_new(folder)
        assert len(list(folder.iterdir())) == 1, list(folder.iterdir())
    print(name, old, new)
"""


def test_a_kill_at_any_call_leaves_the_old_or_the_new(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EVERY_CALL, str(Path(__file__).parent), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        _, old, new = line.split()
        assert int(old) >= 10  # calls before the rename: the test has bite
        assert int(new) >= 5
    assert len(done.stdout.splitlines()) == 2


def test_nothing_is_pickled_and_reading_runs_nothing(pristine):
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from checkpoints import read\n"
        "events = []\n"
        "sys.addaudithook(lambda e, a: events.append((e, str(a[0]) if a else '')))\n"
        "read(Path(sys.argv[1]))\n"
        "bad = ('exec', 'import', 'pickle', 'os.system', 'subprocess', 'socket', 'compile')\n"
        "print([e for e in events if e[0].startswith(bad)])\n"
        "print(sorted({Path(p).name for e, p in events if e == 'open'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(pristine), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    ran, opened = done.stdout.splitlines()
    assert ran == "[]"
    assert set(msgspec.json.decode(opened.replace("'", '"'))) == {*FILES, MANIFEST}


# ---- read while a run is being trained


TRAIN = """
import sys
from pathlib import Path
from checkpoints import save_step
for line in sys.stdin:
    step, best = map(int, line.split())
    save_step(Path(sys.argv[1]), step, best, keep=1)
    print(step, flush=True)
"""


class Trainer:
    """Another process, which saves a checkpoint when it is told to and rotates those before."""

    def __init__(self, folder):
        command = [sys.executable, "-c", TRAIN, str(folder)]
        paths = [str(Path(__file__).parent), *sys.path]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )

    def save(self, step, best):
        self.process.stdin.write(f"{step} {best}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == f"{step}\n"


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    trainer = Trainer(tmp_path_factory.mktemp("trained") / "checkpoints")
    with trainer.process:
        yield trainer
        trainer.process.stdin.close()


@pytest.fixture
def trained(trainer, folder):
    """Checkpoints 5, the best, and 6; what is saved after them rotates both away."""
    place = Path(trainer.process.args[-1])
    shutil.rmtree(place, ignore_errors=True)
    for step in (5, 6):
        trainer.save(step, 5)
    assert steps(place) == [5, 6]
    return place


def once(monkeypatch, name, act):
    """Act before the first call of a function of the module."""
    real, left = getattr(checkpoint, name), [act]

    def first(*args):
        if left:
            left.pop()()
        return real(*args)

    monkeypatch.setattr(checkpoint, name, first)


@pytest.mark.parametrize(("read_one", "then"), [(read_newest, 9), (read_best, 8)])
def test_a_checkpoint_that_is_rotated_away_gives_way_to_what_is_there_then(
    trainer, trained, monkeypatch, read_one, then
):
    def save_on():
        trainer.save(8, 8)
        trainer.save(9, 8)

    once(monkeypatch, "read_bytes", save_on)
    found = read_one(trained)
    assert is_step(found, then)
    assert found.notes == ()


def test_a_checkpoint_that_is_rotated_away_while_it_is_read_is_read_to_its_end(
    trainer, trained, monkeypatch
):
    once(monkeypatch, "_verify_file", lambda: trainer.save(8, 8))
    found = read_newest(trained)
    assert steps(trained) == [8]
    assert is_step(found, 6)


def test_weights_are_of_the_file_that_was_verified(folder, monkeypatch):
    """Training has gone back, and has saved another checkpoint of that step."""
    path = save_step(folder, 6)
    other = arrays_of(6) | {"head.b": np.zeros(3, np.float32)}
    once(monkeypatch, "read_arrays", lambda: save(folder, other, meta_of(6), keep=1))
    assert is_step(read(path), 6)
    assert same_arrays(arrays_of(6) | read(path, weights_only=True).weights, other)


def test_a_folder_that_never_stands_still_is_looked_at_so_often_and_no_more(folder, monkeypatch):
    real, looks = checkpoint.read, []

    def moving(path, *rest):
        if path.name == "00000005":
            looks.append(path)
            (folder / f"{6 + len(looks):08d}").mkdir()
        return real(path, *rest)

    save_step(folder, 5)
    (save_step(folder, 6) / MANIFEST).unlink()
    monkeypatch.setattr(checkpoint, "read", moving)
    found = read_newest(folder)
    assert is_step(found, 5)
    assert len(looks) == len(found.notes) == checkpoint.LOOKS
