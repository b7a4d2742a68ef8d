"""How far something has come, how fast it goes, and how long the rest will take."""

from collections.abc import Iterator
from time import perf_counter
from typing import TypeVar

from charloom.formatting import duration, speed
from charloom.progress import Tell

T = TypeVar("T")


def told(pieces: Iterator[T], each: int, what: str, total: int, tell: Tell) -> Iterator[T]:
    """Pass on pieces of so many characters `each`, of `total` in all, and tell after each."""
    began = perf_counter()
    for number, piece in enumerate(pieces, 1):
        yield piece
        done = min(number * each, total)
        if done:
            seconds = perf_counter() - began
            left = duration(seconds * (total / done - 1))
            tell(f"{what}: {done / total:.0%}, {speed(done / max(seconds, 1e-9))}, {left} left")
