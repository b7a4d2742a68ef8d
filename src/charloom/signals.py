"""The signals that ask a run to stop, or to save and go on."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import Any, Self

from charloom.distributed import place

ECHO = 2.0  # seconds in which torchrun may pass on what the terminal has sent already
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal has come in the middle of what can be left there. It is no error."""


class Signals:
    """While entered, SIGINT, SIGTERM and SIGHUP are gathered in `caught`: they end a run.

    SIGUSR1 sets `save`. A SIGINT that follows another signal raises KeyboardInterrupt: the user
    is impatient. Under torchrun one Ctrl-C may come several times, from the terminal and from
    torchrun, so there that takes two seconds. What was ignored stays so (nohup). Python gives
    signals to the main thread alone: in another, nothing is done.
    """

    def __init__(self) -> None:
        self.caught: list[int] = []
        self.save = False
        self._at_once = False
        self._since = 0.0  # the first
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (*STOPPING, signal.SIGUSR1):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._handlers[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Raise Interrupted within, wherever a signal that ends the run comes (or has come)."""
        self._at_once = True
        try:
            if self.caught:
                raise Interrupted
            yield
        finally:
            self._at_once = False

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            self.save = True
            return
        if self.caught and number == signal.SIGINT:
            if place() and monotonic() - self._since < ECHO:
                return
            raise KeyboardInterrupt
        self._since = self._since or monotonic()
        self.caught.append(number)
        if self._at_once:
            raise Interrupted
