"""`charloom` commands as a shell starts them, each a fork of one process that is warm.

A command has descriptors of its own, and may have another user, but starts in milliseconds.
"python" in the place of a command is what a program of one's own does with charloom.
"""

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from warm import run

NOBODY = 65534
MOST_MEMORY = 4 << 30  # bytes of addresses

NGRAM = ["--model", "ngram", "--order", "2", "--sample-length", "20"]
LSTM = ["--hidden", "8", "--batch", "2", "--length", "16", "--iterations", "2"]
LSTM += ["--sample-length", "20"]
PROSE = "It was the best of times, it was the worst of times.\n" * 40
ASCII = "".join(map(chr, range(32, 127))) + "\n\té\n"


@contextmanager
def open_folder(mode=0o755):
    """A folder that anybody may enter: those of `tmp_path` are their owner's alone."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(mode)
        yield Path(name)


def warm_shell(folder, lstm):
    """A shell in a folder with a text, and runs that learned from it: `run`, `lstm`, `bytes`."""
    (folder / "text").write_text((PROSE + ASCII) * 3)
    return Shell(
        folder,
        ["train", folder / "text", "--out", folder / "run", *NGRAM],
        ["train", folder / "text", "--out", folder / "lstm", *lstm],
        ["train", folder / "text", "--out", folder / "bytes", *NGRAM, "--unit", "byte"],
        ["evaluate", folder / "run", folder / "text"],
        ["study", "surprise", folder / "run", folder / "text", "--json"],
        ["check", folder / "text", "--encoding", "cp1252", "--json"],
        ["sample", folder / "run", "--length", "5", "--seed", "0"],
    )


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its status, what it wrote, and the seconds it took."""

    status: int
    out: str
    err: str
    seconds: float


class Shell:
    """A process that forks `charloom` commands; it has run `first` to be warm."""

    def __init__(self, folder, *first):
        self.folder = Path(folder)
        self.server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for command in first:
            self._tell({"warm": [*map(os.fsdecode, command)]})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with suppress(ProcessLookupError):
            os.killpg(self.server.pid, signal.SIGKILL)  # and with it a command that hangs
        self.server.stdin.close()
        self.server.stdout.close()
        self.server.wait()

    def run(self, *arguments, stdin=os.devnull, nobody=False):
        """Run a command; `stdin` is a path, or None for a descriptor that is closed."""
        paths = {name: str(self.folder / name) for name in ("out", "err")}
        for path in paths.values():
            Path(path).unlink(missing_ok=True)
        status, took = self._tell(
            {
                "command": [os.fsdecode(argument) for argument in arguments],
                "stdin": None if stdin is None else os.fsdecode(stdin),
                "nobody": nobody,
                **paths,
            }
        )
        out, err = (Path(path).read_bytes().decode() for path in paths.values())
        return Ended(status, out, err, took)

    def _tell(self, what):
        self.server.stdin.write(json.dumps(what) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())


def _become(what):
    """Take the descriptors of a new process, and let Python open its streams on them."""
    for name, descriptor in (("out", 1), ("err", 2)):
        os.dup2(os.open(what[name], os.O_WRONLY | os.O_CREAT, 0o644), descriptor)
    os.close(0)
    if what["nobody"]:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    sys.stdin = None
    if what["stdin"] is not None:
        assert os.open(what["stdin"], os.O_RDONLY | os.O_NOCTTY) == 0
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = (open(n, "w", closefd=False) for n in (1, 2))  # noqa: SIM115
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))


def _child(what):
    status = 70
    try:
        _become(what)
        name, *arguments = what["command"]
        status = _python(*arguments) if name == "python" else run(what["command"])
    except BaseException:  # what the interpreter would do
        traceback.print_exc()
        status = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def _python(door, *arguments):
    """`charloom.train` or `charloom.Model.evaluate`, with what they raise as a command shows it."""
    import charloom

    warnings.showwarning = lambda message, *_: print(f"charloom: {message}", file=sys.stderr)
    try:
        if door == "train":
            text, out, *flags = arguments
            pairs = zip(flags[::2], flags[1::2], strict=True)
            given = {name[2:].replace("-", "_"): _value(value) for name, value in pairs}
            charloom.train(text, out=out, on_event=_told, **given)
        else:
            run, text = arguments
            print(charloom.load(run).evaluate(text, unknown="skip"))
    except charloom.CharloomError as error:
        print(f"charloom: {error}", file=sys.stderr)
        return error.status
    return 0


def _told(event):
    print(getattr(event, "notes", ""))


def _value(text):
    with suppress(ValueError):
        return json.loads(text)
    return text


def _serve(answers):
    for line in sys.stdin:
        what = json.loads(line)
        if "warm" in what:
            answers.write(f"{json.dumps(run(what['warm']))}\n")
            gc.freeze()  # else each fork writes on all that is loaded, and so copies it
            continue
        began = time.perf_counter()
        if (pid := os.fork()) == 0:
            _child(what)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        answers.write(json.dumps([status, time.perf_counter() - began]) + "\n")


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _serve(answers)
