"""Telling how far a long piece of work has come."""

from collections.abc import Callable
from time import perf_counter

Tell = Callable[[str], None]

LONG_BYTES = 100_000_000  # what is shorter is over before anybody asks
TELL_SECONDS = 1.0  # between two lines, at least
TELL_SHARE = 0.02  # of the whole between two lines, at least


def say_nothing(_: str) -> None:
    """Tell nobody."""


class Meter:
    """Tells "reading the text: 312 MB of 1.1 GB" about once a second, of long texts only."""

    def __init__(self, tell: Tell, what: str, total: int) -> None:
        self._tell, self._what, self._total = tell, what, total
        self._told_at, self._told = perf_counter(), 0

    def move(self, done: int) -> None:
        """Note that so many bytes are done."""
        if self._total < LONG_BYTES or done - self._told < TELL_SHARE * self._total:
            return
        if perf_counter() - self._told_at >= TELL_SECONDS:
            whole = f" of {_size(self._total)}" if done <= self._total else ""  # it was packed
            self._tell(f"{self._what}: {_size(done)}{whole}")
            self._told_at, self._told = perf_counter(), done


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
