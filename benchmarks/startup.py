"""Seconds from a command to what it is for, each a process of its own.

A run of one update counts all that a user waits for: Python, imports, the text, the kernels,
the update, the checkpoint at the end. Cold is with an empty kernel cache: all is compiled.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from common import Options, Row, print_rows, taking_turns, use_threads

COLD_TURNS = 3
UPDATE = ("train", "corpus:us-constitution", "--iterations", "1")
ALONE = ("--evaluate-every", "0", "--sample-every", "0")


def show(options: Options) -> None:
    use_threads(options.threads)
    update = (*UPDATE, *ALONE, *(("--engine", "reference") if options.tiny else ()))
    cold_turns = min(options.turns, COLD_TURNS)
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder, "cache")  # filled by the turn that is not measured
        sides = [process(["--help"], cache), process(update, cache)]
        helped, warm = taking_turns(sides, options.turns)
    cold = taking_turns([process(update, None)], cold_turns, unmeasured=0)[0]
    rows = [
        Row("charloom --help", helped),
        Row("charloom train --iterations 1, warm kernel cache", warm),
        Row(f"charloom train --iterations 1, empty kernel cache, {cold_turns} turns", cold),
    ]
    print_rows(f"startup, seconds: {options.turns} turns", rows)


def process(arguments: list[str] | tuple[str, ...], cache: Path | None) -> Callable[[], None]:
    """Return what runs a command in a fresh folder; without a cache, that is fresh too."""

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {"XDG_CACHE_HOME": str(cache or Path(folder, "cache"))}
            environment.pop("NUMBA_CACHE_DIR", None)
            subprocess.run(
                [sys.executable, "-m", "charloom", *arguments],
                cwd=folder,
                env=environment,
                stdout=subprocess.DEVNULL,
                check=True,
            )

    return run
