import fcntl
import multiprocessing

import numba
import pytest

from charloom.models.jit import _SharedFile

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

    def start():
        answers = forks.SimpleQueue()
        process = forks.Process(target=_call, args=(answers,))
        process.start()
        process.join()
        assert process.exitcode == 0
        return answers.get()

    return start


def _call(answers):
    import functions

    answers.put(functions.twice(3))


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
