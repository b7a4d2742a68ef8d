"""Writing to standard output in a thread, so that a reader that hangs holds up nothing."""

import os
import select
import signal
import threading
from collections import deque
from typing import TextIO

from charloom.cli import close_stdout

BEHIND_BYTES = 2**14  # more than this waits to be written: the reader does not keep up
PATIENCE_SECONDS = 3.0  # that the end waits for the reader


class Reader:
    """The other side of a pipe, a terminal or a file, which may be stopped, slow or gone.

    Bytes bypass the buffer of the stream, because a thread that hangs would hold its lock.
    """

    def __init__(self, out: TextIO | None) -> None:
        """Take the stream, None if there is none."""
        self._out = out
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def is_behind(self) -> bool:
        """Whether so much waits that what can be left out should be."""
        return self._size > BEHIND_BYTES

    def write(self, text: str) -> None:
        """Queue the text to be written; does not wait for that."""
        if self._out is None or not text:
            return
        content = text.encode(self._out.encoding, self._out.errors or "strict")
        with self._change:
            self._waiting.append(content)
            self._size += len(content)
            self._change.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_on, daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Wait until all is written, for a few seconds at most."""
        with self._change:
            self._change.wait_for(lambda: not self._size, PATIENCE_SECONDS)

    def _write_on(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for training
        assert self._out is not None
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting)
                content = self._waiting.popleft()
            try:
                _write_all(self._out.fileno(), content)
            except OSError:
                close_stdout()
                self._out = None
            with self._change:
                self._size = self._size - len(content) if self._out else 0
                self._change.notify_all()
            if self._out is None:
                return


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        try:
            content = content[os.write(descriptor, content) :]
        except BlockingIOError:  # another program has set the pipe so
            select.select([], [descriptor], [])
