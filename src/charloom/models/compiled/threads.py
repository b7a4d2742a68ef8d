"""Threads over lanes: kernels run without the interpreter's lock."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

R = TypeVar("R")


def available_threads() -> int:
    """Return OMP_NUM_THREADS if it is set, else how many processors this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_out(calls: Sequence[Callable[[], R]], threads: int) -> list[R]:
    """Make the calls on so many threads, of which this is one; return their results in order.

    Raises what one of them raised, but only when all threads have ended: until then they write
    into arrays of the caller's.
    """
    if threads == 1:
        return [call() for call in calls]

    def share(first: int) -> list[R]:
        return [call() for call in calls[first::threads]]

    pool = _pool(os.getpid(), threads - 1)
    others = [pool.submit(share, first) for first in range(1, threads)]
    try:
        own = share(0)
    finally:
        wait(others)
    shares = [own, *(other.result() for other in others)]
    return [shares[k % threads][k // threads] for k in range(len(calls))]


@cache
def _pool(_process: int, threads: int) -> ThreadPoolExecutor:
    """Return the one pool of so many threads in this process: a fork does not inherit threads."""
    return ThreadPoolExecutor(threads)
