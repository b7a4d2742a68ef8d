import fcntl
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from charloom.files import check_output, write_output
from expect import refused

WRITE = """
import sys
from pathlib import Path
from charloom.files import write_output
print("before")
write_output(Path(sys.argv[1]), b"page\\n")
print("after")
"""


def kept_apart(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_a_file_is_replaced_whole_with_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "page.html"
    assert write_output(path, b"one") == path
    path.chmod(mode)
    with path.open("rb") as before:
        write_output(path, b"other")
        assert before.read() == b"one"
    assert path.read_bytes() == b"other"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert kept_apart(tmp_path) == {"page.html"}


def test_a_link_is_followed_to_a_file_that_is_there_or_is_not(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    first, second = tmp_path / "first.html", tmp_path / "second.html"
    second.symlink_to("first.html")
    first.symlink_to(Path("pages", "page.html"))
    for content in (b"one", b"other"):
        write_output(second, content)
        assert (tmp_path / "pages" / "page.html").read_bytes() == content
        assert second.is_symlink()
        assert first.is_symlink()
    assert kept_apart(tmp_path) == {"pages", "first.html", "second.html"}


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    path, content, read = tmp_path / "pipe", b"page" * 2**16, list[bytes]()
    os.mkfifo(path)
    check_output(path)  # which does not wait for a reader
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    write_output(path, content)
    reader.join()
    assert read == [content]
    assert path.is_fifo()


def test_a_device_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "page.html").symlink_to("/dev/null")
    for path in (Path("/dev/null"), tmp_path / "page.html"):
        write_output(path, b"page")
    assert Path("/dev/null").is_char_device()
    assert (tmp_path / "page.html").is_symlink()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc/self/fd")
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
@pytest.mark.parametrize("out", ["pipe", "file"])
def test_standard_output_is_written_to_in_its_place(tmp_path: Path, name: str, out: str) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    with (tmp_path / "out").open("w+b") as file:
        file.write(b"first\n")
        file.flush()
        result = subprocess.run(
            [sys.executable, "-c", WRITE, name],
            stdout=file if out == "file" else subprocess.PIPE,
            cwd=tmp_path,
            check=True,
        )
        file.seek(0)
        written = file.read().removeprefix(b"first\n") if out == "file" else result.stdout
    assert written == b"before\npage\nafter\n"
    assert kept_apart(tmp_path) == {"link", "out"}


def test_what_cannot_be_written_is_said_before_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "lost").symlink_to("missing/page.html")
    (tmp_path / "file").write_text("mine")
    before = kept_apart(tmp_path)
    paths = [tmp_path, *(tmp_path / name for name in ("missing/page", "file/page", "a", "lost"))]
    for path in (*paths, tmp_path / "a\0b", tmp_path / ("x" * 300)):
        if len(path.name) < 300:
            with refused("unwritable", path=path):
                check_output(path)
        with refused("unwritable", path=path):
            write_output(path, b"page")
    assert kept_apart(tmp_path) == before
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_is_protected_stays(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("mine")
    path.chmod(0o400)
    with refused("unwritable", path=path):
        write_output(path, b"page")
    assert path.read_text() == "mine"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "page.html"
    path.write_text("mine")
    monkeypatch.setattr(os, "fsync", full)
    for free in (False, True):
        with refused("unwritable"):
            write_output(path, b"page", free)
    assert path.read_text() == "mine"
    assert kept_apart(tmp_path) == {"page.html"}


def test_a_name_that_nobody_chose_is_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "report-2.html").symlink_to("nowhere")
    names = [write_output(tmp_path / "report.html", b"%d" % n, free=True).name for n in range(3)]
    assert names == ["report.html", "report-3.html", "report-4.html"]
    assert [(tmp_path / name).read_bytes() for name in names] == [b"0", b"1", b"2"]


def test_several_that_write_at_once_without_a_name_get_one_each(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from charloom.files import write_output\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for n in range(20): print(write_output(Path(sys.argv[1]), sys.argv[2].encode(), True))\n"
    )
    pipe = subprocess.PIPE
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "a.html"), str(number)],
            stdin=pipe,
            stdout=pipe,
            text=True,
        )
        for number in range(3)
    ]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for number, writer in enumerate(writers):
        for path in writer.communicate()[0].splitlines():
            assert Path(path).read_text() == str(number)
    assert len(kept_apart(tmp_path)) == 60


def test_what_a_killed_process_began_to_write_is_removed_and_nothing_else(tmp_path):
    names = (".charloom-1.new", ".charloom-2.new", ".charloom-3.new", ".charloom.new")
    killed, written, new, other = (tmp_path / name for name in names)
    for path in (killed, written, new, other):
        path.write_bytes(b"half")
        os.utime(path, (0, 0))
    os.utime(new)
    with written.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_output(tmp_path / "page.html", b"page")
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"page.html", written.name, new.name, other.name}
