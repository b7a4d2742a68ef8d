"""A `charloom` command as a process of its own: what it says, how it ended, and an orderly stop."""

import os
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

SAID_BYTES = 2**14  # of the end of what a command has said

_RUNNING: list["subprocess.Popen[bytes]"] = []  # so that what ends unseen is no zombie for ever
STOPPED = {128 + signal.SIGTERM, -signal.SIGTERM, 128 + signal.SIGINT, -signal.SIGINT}


class Command:
    """`charloom ARGUMENTS` in a session of its own, so that it has no terminal and gets no Ctrl-C.

    Raises OSError if it cannot be started.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._out, self._err = _unnamed_file(self), _unnamed_file(self)
        self._process = subprocess.Popen(
            # -P: the folder that the server was started in is no place for modules.
            [sys.executable, "-P", "-m", "charloom", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
            start_new_session=True,
        )
        self.stopping = False
        _RUNNING[:] = [one for one in _RUNNING if one.poll() is None] + [self._process]

    @property
    def status(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    @property
    def was_stopped(self) -> bool:
        """Whether a signal has ended it, in an orderly way or not."""
        return self.status in STOPPED

    def stop(self) -> None:
        """Ask it to end: a training saves first."""
        self.stopping = True
        if self.status is None:
            self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Wait until it has ended, for so many seconds at most."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def output(self, most: int) -> bytes:
        """Return what it has written, from the beginning."""
        return os.pread(self._out, most, 0)

    def said(self) -> str:
        """Return the end of what it has written, from the beginning of a line."""
        return _end(self._out)

    @property
    def error(self) -> str:
        """The last line of what it complains of, without its name."""
        lines = _end(self._err).strip().splitlines()
        return lines[-1].removeprefix("charloom: ") if lines else ""


def _unnamed_file(owner: object) -> int:
    """Return the descriptor of a new file without a name, which goes with its owner."""
    descriptor, name = tempfile.mkstemp(prefix="charloom-")
    Path(name).unlink()
    weakref.finalize(owner, os.close, descriptor)
    return descriptor


def _end(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    content = os.pread(descriptor, SAID_BYTES, max(0, size - SAID_BYTES))
    if size > SAID_BYTES:
        content = content[content.find(b"\n") + 1 :]
    return content.decode("utf-8", "replace")
