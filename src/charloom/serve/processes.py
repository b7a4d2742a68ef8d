"""A `charloom` command as a process of its own: what it says, how it ended, and an orderly stop.

And a training that another process started, as far as it can be told for sure.
"""

import os
import select
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from charloom.runs.folders import LOCK, holder

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
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.status is None

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


class Elsewhere:
    """A `charloom train` or `resume` that this process did not start."""

    def __init__(self, process: int, descriptor: int) -> None:
        self.process, self._descriptor = process, descriptor
        weakref.finalize(self, os.close, descriptor)
        self._ended = select.poll()
        self._ended.register(descriptor, select.POLLIN)
        self.stopping = False

    @property
    def running(self) -> bool:
        """Whether it has not ended; how it did is not known here."""
        return not self._ended.poll(0)

    def stop(self) -> None:
        """Ask it to save and end."""
        self.stopping = True
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGTERM)


def trainer_of(run: Path) -> Elsewhere | None:
    """Return the training that holds a run folder; None if none does, or if that is not certain.

    The process that a lock names may be gone, and its number another's by now. So first a
    descriptor of the process is opened, which never becomes another's, and then the process must
    have the lock's file open and be such a command. Only Linux can tell.
    """
    process = holder(run)
    if process is None or not hasattr(os, "pidfd_open"):
        return None
    try:
        descriptor = os.pidfd_open(process)
    except OSError:
        return None
    if _trains(process) and _has_open(process, run / LOCK):
        return Elsewhere(process, descriptor)
    os.close(descriptor)
    return None


def _trains(process: int) -> bool:
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(
        Path(os.fsdecode(program)).name == "charloom" and command in (b"train", b"resume")
        for program, command in pairwise(words)
    )


def _has_open(process: int, path: Path) -> bool:
    try:
        wanted = path.stat()
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                if os.path.samestat(descriptor.stat(), wanted):
                    return True
    except OSError:
        pass
    return False


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
