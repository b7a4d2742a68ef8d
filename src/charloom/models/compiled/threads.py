"""Threads over lanes: kernels run without the interpreter's lock."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

R = TypeVar("R")


def available_threads() -> int:
    """Return OMP_NUM_THREADS if it is set, else how many processors this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Team:
    """So many threads, this one among them, that are kept for the next time."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def do(self, calls: Sequence[Callable[[], R]]) -> list[R]:
        """Make the calls, each thread its share of them; results in order."""
        if self._pool is None:
            return [call() for call in calls]

        def share(first: int) -> list[R]:
            return [call() for call in calls[first :: self.threads]]

        others = [self._pool.submit(share, first) for first in range(1, self.threads)]
        shares = [share(0), *(future.result() for future in others)]
        return [shares[k % self.threads][k // self.threads] for k in range(len(calls))]
