"""What the benchmarks share: sides that take turns, figures with their spread, the machine."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numba
import numpy as np


def taking_turns(sides: Sequence[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Run A B A B ..., once unmeasured, and return the seconds of each side."""
    seconds: list[list[float]] = [[] for _ in sides]
    for turn in range(repeats + 1):
        for side, times in zip(sides, seconds, strict=True):
            began = time.perf_counter()
            side()
            if turn:
                times.append(time.perf_counter() - began)
    return seconds


def spread(values: Sequence[float]) -> str:
    """Median (lowest to highest)."""
    form = ",.0f" if min(values) >= 100 else ".3g"
    median, low, high = (format(f(values), form) for f in (statistics.median, min, max))
    return f"{median} ({low} to {high})"


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Divide turn by turn: what slows both sides of a turn leaves its ratio alone."""
    return [a / b for a, b in zip(above, below, strict=True)]


def machine() -> str:
    """Say in one line what was measured on, and that it was one thread."""
    return (
        f"{_processor()}, {os.cpu_count()} CPUs, 1 thread used; Python "
        f"{platform.python_version()}, NumPy {np.__version__}, numba {numba.__version__}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
