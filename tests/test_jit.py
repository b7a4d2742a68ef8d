import fcntl
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

FUNCTIONS = """
from charloom.models.jit import kernel

@kernel
def twice(x):
    return x + x
"""
CALL = "import numpy as np, functions; print(functions.twice(np.{kind}(3)))"


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Call a kernel of a folder of its own in a process of its own."""
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "src"))

    def start(kind="int64"):
        command = [sys.executable, "-c", CALL.format(kind=kind)]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)

    return start


def output(process):
    text, _ = process.communicate()
    assert process.returncode == 0
    return text.strip()


def files(tmp_path, kind):
    return sorted((tmp_path / "cache").rglob(f"*.{kind}"))


def test_machine_code_is_kept_and_read_again(tmp_path, call):
    assert output(call()) == "6"
    (code,) = files(tmp_path, "nbc")
    before = code.stat().st_mtime_ns
    assert output(call()) == "6"
    assert code.stat().st_mtime_ns == before


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("content", [b"", b"no pickle"])
def test_what_cannot_be_read_is_compiled_anew(tmp_path, call, kind, content):
    assert output(call()) == "6"
    (file,) = files(tmp_path, kind)
    file.write_bytes(content)
    assert output(call()) == "6"
    assert file.read_bytes() != content


def _save(folder, key, barrier):
    from charloom.models.jit import _SharedFile

    barrier.wait()
    file = _SharedFile(folder, "kernel", "stamp")
    file.save(key, f"code of {key}")


def test_processes_that_compile_at_once_do_not_take_each_others_names(tmp_path):
    from charloom.models.jit import _SharedFile

    context = multiprocessing.get_context("fork")
    for turn in range(20):
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
    from charloom.models.jit import _SharedFile

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
