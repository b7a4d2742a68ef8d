import fcntl
import multiprocessing
import os
import resource
import shutil
import threading
from pathlib import Path
from time import sleep

import numba
import pytest

from charloom.models import jit
from charloom.models.jit import _KEPT, _SHARED, _cache_folder, _SharedFile

FUNCTIONS = """
from charloom.models.jit import kernel

@kernel
def twice(x):
    return x + x
"""


@pytest.fixture(scope="module")
def forks():
    """Make processes that have numba loaded."""
    assert numba.njit(lambda x: x + x)(3) == 6
    return multiprocessing.get_context("fork")


@pytest.fixture
def call(tmp_path, monkeypatch, forks):
    """Call a kernel of a folder of its own in a process of its own."""
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)

    def start(most_bytes=None):
        answers = forks.SimpleQueue()
        process = forks.Process(target=_call, args=(answers, most_bytes))
        process.start()
        process.join()
        assert process.exitcode == 0
        return answers.get()

    return start


def _call(answers, most_bytes):
    """Files that become larger are an error: Python ignores SIGXFSZ."""
    import functions

    if most_bytes is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    answers.put(functions.twice(3))


def test_machine_code_is_kept_while_nothing_changes_that_its_source_calls(tmp_path, monkeypatch):
    models = tmp_path / "charloom" / "models"
    folders = [models / name for name in ("compiled", "ngram", "mixture")] + [tmp_path / "tests"]
    for file in [*(models / name for name in _SHARED), *(f / "some.py" for f in folders)]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    monkeypatch.setattr(jit, "__file__", str(models / "jit.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def changed_by(file):
        before = [_cache_folder.__wrapped__(folder) for folder in folders]
        file.write_text("x = 1")
        after = [_cache_folder.__wrapped__(folder) for folder in folders]
        return [f.name for f, a, b in zip(folders, before, after, strict=True) if a != b]

    assert changed_by(models / "ngram" / "some.py") == ["ngram", "mixture", "tests"]
    assert changed_by(models / "compiled" / "some.py") == ["compiled", "mixture", "tests"]
    assert changed_by(tmp_path / "tests" / "some.py") == ["tests"]
    assert changed_by(models / "jit.py") == [folder.name for folder in folders]


def files(tmp_path, kind):
    return sorted((tmp_path / "cache").rglob(f"*.{kind}"))


def test_machine_code_is_kept_and_read_again(tmp_path, call):
    assert call() == 6
    (code,) = files(tmp_path, "nbc")
    before = code.stat().st_mtime_ns
    assert call() == 6
    assert code.stat().st_mtime_ns == before


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("content", [b"", b"no pickle"])
def test_what_cannot_be_read_is_compiled_anew(tmp_path, call, kind, content):
    assert call() == 6
    (file,) = files(tmp_path, kind)
    file.write_bytes(content)
    assert call() == 6
    assert file.read_bytes() != content


def test_a_full_disk_keeps_nobody_from_compiling(tmp_path, call):
    assert call(most_bytes=100) == 6
    assert not files(tmp_path, "nbc")


def test_a_cache_that_cannot_be_made_is_done_without(tmp_path, call, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "functions.py"))  # a file
    assert call() == 6
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert call() == 6
    assert not [*tmp_path.rglob("*.nbi")]


def homeless():
    """What Path.home does for a user whom the system does not know."""
    raise RuntimeError


def test_a_cache_that_is_removed_on_the_way_is_done_without(tmp_path, call, monkeypatch):
    locked = _SharedFile._locked

    def removed(self):
        shutil.rmtree(tmp_path / "cache")
        return locked(self)

    monkeypatch.setattr(_SharedFile, "_locked", removed)
    assert call() == 6
    monkeypatch.undo()


def test_folders_of_other_versions_are_removed_but_for_those_used_last(tmp_path, call):
    cache = tmp_path / "cache" / "charloom"
    folders = [cache / f"kernels-{n:016x}" for n in range(_KEPT + 3)]
    mine = [cache / "kernels-of-mine", cache / "models"]
    for age, folder in enumerate([*folders, *mine]):
        (folder / "below").mkdir(parents=True)
        os.utime(folder, (age, age))
    os.utime(folders[0])  # it is in use now
    beside = cache / f"kernels-{'e' * 16}"
    beside.symlink_to(tmp_path)
    assert call() == 6
    there = {*cache.iterdir()}
    own = there - {*folders, *mine, beside}
    assert len(own) == 1
    assert there == {*own, folders[0], *folders[-(_KEPT - 2) :], *mine, beside}
    (code,) = files(tmp_path, "nbc")
    before = code.stat().st_mtime_ns
    os.utime(*own, (0, 0))  # not used for long
    assert call() == 6
    assert code.stat().st_mtime_ns == before


def _save(folder, key, barrier):
    barrier.wait()
    file = _SharedFile(folder, "kernel", "stamp")
    file.save(key, f"code of {key}")


def test_processes_that_compile_at_once_do_not_take_each_others_names(tmp_path, request):
    context = multiprocessing.get_context("fork")
    for turn in range(200 if request.config.getoption("--full") else 5):
        folder = tmp_path / f"{turn}"
        folder.mkdir()
        barrier = context.Barrier(4)
        savers = [
            context.Process(target=_save, args=(str(folder), f"types {n}", barrier))
            for n in range(4)
        ]
        for saver in savers:
            saver.start()
        for saver in savers:
            saver.join()
        file = _SharedFile(str(folder), "kernel", "stamp")
        assert [file.load(f"types {n}") for n in range(4)] == [
            f"code of types {n}" for n in range(4)
        ]


def test_threads_that_compile_at_once_leave_numbas_own_folder_as_it_was():
    before, seen, inside = numba.config.CACHE_DIR, [], threading.Event()

    def compile_too():
        with jit._caching(_call) as folder:
            seen.append((folder, numba.config.CACHE_DIR))
            inside.wait(5)

    other = threading.Thread(target=compile_too)
    with jit._caching(jit.kernel) as folder:
        other.start()
        sleep(0.1)  # in which the other would have begun, too
        assert seen == []
        assert folder == numba.config.CACHE_DIR
    inside.set()
    other.join()
    assert [folder for folder, _ in seen] == [setting for _, setting in seen]
    assert numba.config.CACHE_DIR == before


def test_whoever_has_the_lock_is_waited_for(tmp_path):
    file = _SharedFile(str(tmp_path), "kernel", "stamp")
    file.save("key", "data")
    context = multiprocessing.get_context("fork")
    reader = context.Process(target=file.load, args=("key",))
    with (tmp_path / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        reader.start()
        reader.join(0.5)
        assert reader.is_alive()
        fcntl.flock(lock, fcntl.LOCK_UN)  # the reader has inherited it
    reader.join()
    assert reader.exitcode == 0


def test_what_is_there_for_other_kernels_is_not_called_from_python():
    @jit.inner_kernel
    def once_more(x):
        return x + 1

    with pytest.raises(TypeError, match="once_more is there for other kernels alone"):
        once_more(3)
