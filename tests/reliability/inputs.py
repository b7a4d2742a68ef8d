"""The 52 inputs of test D1: texts as people have them, and what is none."""

import contextlib
import gzip
import os
import pty
import struct
import sys
import threading
import time
import unicodedata
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from shell import PROSE, open_folder


def png():
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0\xff\xff\xff")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def scalars(count=None):
    """Every Unicode scalar value once but U+0000, which makes a text binary; or so many."""
    codes = (code for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000)
    return "".join(map(chr, codes))[:count].encode()


BORDER = b"x" * 65_534 + b"\xff\xfe" + b"y" * 65_536

CONTENTS = {
    "empty": lambda: b"",
    "one byte": lambda: b"a",
    "one character": lambda: "é".encode(),
    "shorter than a step": lambda: b"abcdefghijklmnop",
    "as long as a step": lambda: b"abcdefghijklmnopq",
    "one symbol": lambda: b"a" * 5000,
    "no newline": lambda: PROSE.replace("\n", " ").encode(),
    "only newlines": lambda: b"\n" * 3000,
    "UTF-8 with a mark": lambda: PROSE.encode("utf-8-sig"),
    "UTF-16 LE": lambda: b"\xff\xfe" + PROSE.encode("utf-16-le"),
    "UTF-16 BE": lambda: b"\xfe\xff" + PROSE.encode("utf-16-be"),
    "UTF-32 LE": lambda: b"\xff\xfe\0\0" + PROSE.encode("utf-32-le"),
    "UTF-32 BE": lambda: b"\0\0\xfe\xff" + PROSE.encode("utf-32-be"),
    "Latin-1": lambda: (PROSE + "café\n").encode("latin-1"),
    "CRLF": lambda: PROSE.replace("\n", "\r\n").encode(),
    "CR": lambda: PROSE.replace("\n", "\r").encode(),
    "mixed line ends": lambda: b"one\r\ntwo\rthree\n" * 200,
    "NUL": lambda: PROSE.encode() + b"\0" + PROSE.encode(),
    "control characters": lambda: bytes(range(1, 32)) * 40,
    "0x1A": lambda: PROSE.encode() + b"\x1a" + PROSE.encode(),
    "invalid at the start": lambda: b"\xff" + PROSE.encode(),
    "invalid in the middle": lambda: PROSE.encode() + b"\x80" + PROSE.encode(),
    "invalid at the end": lambda: PROSE.encode() + b"\xf0\x9f",
    "invalid at the border of a chunk": lambda: BORDER,
    "overlong": lambda: PROSE.encode() + b"\xc0\xaf" + PROSE.encode(),
    "a surrogate": lambda: PROSE.encode() + b"\xed\xa0\x80" + PROSE.encode(),
    "above U+10FFFF": lambda: PROSE.encode() + b"\xf4\x90\x80\x80" + PROSE.encode(),
    "emoji families": lambda: "👨‍👩‍👧‍👦 👩🏽‍🚀\n".encode() * 99,
    "flags": lambda: "🇩🇪🇫🇷🏴󠁧󠁢󠁷󠁬󠁳󠁿\n".encode() * 99,
    "combining marks": lambda: "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢\n".encode() * 99,
    "NFC and NFD": lambda: ("é" + unicodedata.normalize("NFD", "é") + "\n").encode() * 99,
    "right to left": lambda: "שלום \u202eabc\u202c عالم\u200f\u2067x\u2069\n".encode() * 99,
    "every scalar": scalars,
    "70,000 symbols": lambda: scalars(70_000),
    "PNG": png,
    "gzip": lambda: gzip.compress(PROSE.encode()),
    "ELF": lambda: Path(sys.executable).resolve().read_bytes()[:100_000],
}
PLACES = (
    "a directory", "missing", "unreadable", "a dangling link", "a FIFO", "/dev/full", "/dev/zero",
    "closed", "a terminal", "a name with spaces", "a name with a newline", "a name of bytes",
    "100 files", "growing", "cut short",
)  # fmt: skip


@dataclass
class Input:
    """One of the inputs, ready to be read: by name, as a stream, in a folder, as a prompt."""

    files: list
    stdin: object
    folder: Path
    content: bytes | None = None
    nobody: bool = False
    cleanup: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


def ready(name, folder):
    """Make an input, and what must happen while it is read."""
    folder.mkdir()
    path = folder / "the text.txt"
    made = Input([path], path, folder)
    if name in CONTENTS:
        made.content = CONTENTS[name]()
        path.write_bytes(made.content)
    elif name.startswith("a name"):
        what = {"spaces": "a b c", "newline": "a\nb", "bytes": os.fsdecode(b"\xff\xfe")}
        path = folder / what[name.split()[-1]]
        path.write_text(PROSE)
        made.files, made.stdin = [path], path
    elif name.startswith("/dev/"):
        path.symlink_to(name)
        made.files, made.stdin = [Path(name)], name
    else:
        SPECIAL[name](made, path)
    return made


def a_directory(made, path):
    """As standard input it would not come so far: Python itself refuses to start."""
    path.mkdir()
    made.stdin = None


def missing(made, path):
    made.stdin = None


def unreadable(made, path):
    """Root may read anything, so the command runs as nobody, who may enter these folders."""
    folder = made.cleanup.enter_context(open_folder())
    path = folder / "the text.txt"
    path.write_text(PROSE)
    path.chmod(0)
    made.files, made.folder, made.stdin, made.nobody = [path], folder, None, os.getuid() == 0


def a_dangling_link(made, path):
    path.symlink_to("nothing")
    made.stdin = None


def a_fifo(made, path):
    """Somebody writes a text into it, as often as it is opened."""
    os.mkfifo(path)

    def write(stop):
        while not stop.is_set():
            with contextlib.suppress(OSError):
                pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                os.set_blocking(pipe, True)
                os.write(pipe, PROSE.encode())
                os.close(pipe)
            time.sleep(0.01)

    busy(made, write)


def closed(made, path):
    made.files, made.stdin = [Path("/dev/stdin")], None


def a_terminal(made, path):
    leader, follower = pty.openpty()
    made.cleanup.callback(os.close, leader)
    made.cleanup.callback(os.close, follower)
    made.files, made.stdin = [Path(os.ttyname(follower))], os.ttyname(follower)
    path.symlink_to(os.ttyname(follower))


def a_hundred(made, path):
    made.files = [made.folder / f"{n}.txt" for n in range(100)]
    for file in made.files:
        file.write_text(PROSE)
    made.stdin = made.folder.with_name(f"{made.folder.name} together")
    made.stdin.write_text(PROSE * 100)


def growing(made, path):
    path.write_text(PROSE)

    def write(stop):
        with path.open("a") as file:
            while not stop.is_set():
                file.write(PROSE)
                file.flush()
                time.sleep(0.001)

    busy(made, write)


def cut_short(made, path):
    path.write_text(PROSE * 300)

    def write(stop):
        while not stop.is_set():
            os.truncate(path, 5000)
            time.sleep(0.001)
            path.write_text(PROSE * 300)

    busy(made, write)


SPECIAL = {
    "a directory": a_directory, "missing": missing, "unreadable": unreadable,
    "a dangling link": a_dangling_link, "a FIFO": a_fifo, "closed": closed,
    "a terminal": a_terminal, "100 files": a_hundred, "growing": growing, "cut short": cut_short,
}  # fmt: skip


def busy(made, work):
    """Have a thread do `work` until the input is done with."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,))
    thread.start()
    made.cleanup.callback(thread.join)
    made.cleanup.callback(stop.set)
