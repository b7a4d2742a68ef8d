"""The signals that ask a run to stop, or to save and go on."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import Any, Self

from charloom.distributed import place

ECHO_SECONDS = 2.0  # in which torchrun may pass on what the terminal has sent already
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal came during something that can be broken off. It is no error."""


class Signals:
    """While entered, SIGINT, SIGTERM and SIGHUP are gathered in `caught`: they end a run.

    SIGUSR1 sets `save`. A SIGINT after another signal raises KeyboardInterrupt. Under torchrun,
    which passes on what the terminal has sent already, that takes two seconds. Those that end a
    run stay ignored if they are (nohup). Python gives signals to the main thread: in others,
    nothing is done.
    """

    def __init__(self) -> None:
        self.caught: list[int] = []
        self.save = False
        self._at_once = False
        self._since = 0.0  # the first
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._handlers[number] = signal.signal(number, self._catch)
            self._handlers[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._catch)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Raise Interrupted within, as soon as a signal that ends the run comes (or has come)."""
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
            if place() and monotonic() - self._since < ECHO_SECONDS:
                return
            raise KeyboardInterrupt
        self._since = self._since or monotonic()
        self.caught.append(number)
        if self._at_once:
            raise Interrupted
