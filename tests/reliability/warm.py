"""`charloom` commands in processes of their own that start in milliseconds.

As a program, it runs one command itself, by which all is imported and compiled; then it forks,
and the child runs the next command, as often as it is told to.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path


class Warm:
    """A process that forks `charloom` commands."""

    def __init__(self, *command):
        """Run a first command in the process itself, to its end."""
        self.server = subprocess.Popen(
            [sys.executable, __file__, *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = None
        assert self._answer() == "warm"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.pid is not None:
            self.signal(signal.SIGKILL)
        self.server.stdin.close()
        self.server.stdout.close()
        self.server.wait()

    def start(self, *command, out=os.devnull, err=None, terminal=None, ignored=(), patience=None):
        """Fork a command; returns the id of its process.

        `out` and `err` are where it writes to, "" is nowhere: closed. `terminal` is the one that
        it is started from, `ignored` are signals that it ignores. `patience` are the seconds that
        its end waits for a reader, if not the usual ones.
        """
        how = {"out": str(out), "err": err, "terminal": terminal, "ignored": [*ignored]}
        how["patience"] = patience
        self.server.stdin.write(json.dumps([[*map(str, command)], how]) + "\n")
        self.server.stdin.flush()
        self.pid = int(self._answer())
        return self.pid

    def signal(self, number):
        """Send the command a signal, if it is still there."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def until(self, true):
        """Wait until something holds or the command has ended; returns which, as a bool."""
        while not true():
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return bool(true())
            time.sleep(0.002)
        return True

    def wait(self):
        """Return the command's exit status; that of a signal which killed it is negative."""
        status, self.pid = int(self._answer()), None
        return status

    def _answer(self):
        line = self.server.stdout.readline()
        assert line, "the warm process has ended"
        return line.strip()


def run(command):
    """Run a command in this process; returns its exit status."""
    from charloom.cli import main

    sys.argv = ["charloom", *command]
    try:
        main()
    except SystemExit as ended:
        return ended.code or 0
    return 0


def _arrange(out, err, terminal, ignored, patience):
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    if terminal:
        os.setsid()
        os.open(terminal, os.O_RDWR)
    for descriptor, stream, name in ((1, "stdout", out), (2, "stderr", err)):
        if name:
            os.dup2(os.open(name, os.O_WRONLY | os.O_NOCTTY), descriptor)
            setattr(sys, stream, os.fdopen(descriptor, "w", closefd=False))
        elif name == "":
            os.close(descriptor)
            setattr(sys, stream, None)  # as Python does when it starts so
    if patience:
        from charloom.cli import reader

        reader.PATIENCE_SECONDS = patience


def _serve(answers):
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            status = 70
            try:
                command, how = json.loads(line)
                _arrange(**how)
                status = run(command)
            except SystemExit as ended:  # by a signal that came before the command began
                status = ended.code
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        answers.write(f"{pid}\n")
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        assert run(sys.argv[1:]) == 0
        gc.freeze()  # else each fork writes on all that is loaded, and so copies it
        answers.write("warm\n")
        _serve(answers)
