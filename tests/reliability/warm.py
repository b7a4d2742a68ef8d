"""`charloom` commands in processes of their own that start in milliseconds.

As a program, it runs one command itself, by which all is imported and compiled; then it forks,
and the child runs the next command, as often as it is told to.
"""

import json
import os
import subprocess
import sys
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
        assert self._answer() == "warm"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stdin.close()
        self.server.stdout.close()
        self.server.wait()

    def start(self, *command):
        """Fork a command; returns the id of its process."""
        self.server.stdin.write(json.dumps([*map(str, command)]) + "\n")
        self.server.stdin.flush()
        self.pid = int(self._answer())
        return self.pid

    def signal(self, number):
        """Send the command a signal, if it is still there."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self):
        """Return the command's exit status; that of a signal which killed it is negative."""
        return int(self._answer())

    def _answer(self):
        line = self.server.stdout.readline()
        assert line, "the warm process has ended"
        return line.strip()


def _run(command):
    from charloom.cli import main

    sys.argv = ["charloom", *command]
    try:
        main()
    except SystemExit as ended:
        return ended.code or 0
    return 0


def _serve(answers):
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            status = 70
            try:
                status = _run(json.loads(line))
            finally:
                os._exit(status)
        answers.write(f"{pid}\n")
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        assert _run(sys.argv[1:]) == 0
        answers.write("warm\n")
        _serve(answers)
