"""Seconds from a command to what it is for, each a process of its own.

A run of one update counts all that a user waits for: Python, imports, the text, the kernels,
the update, the checkpoint at the end. Cold is with an empty kernel cache: all is compiled.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from common import Options, Row, print_rows, taking_turns, use_threads

COLD_TURNS = 3
UPDATE = ("train", "corpus:us-constitution", "--iterations", "1")
ALONE = ("--evaluate-every", "0", "--sample-every", "0")
TINY = ("train", "corpus:us-constitution", "--model", "ngram")  # which compiles little


def show(options: Options) -> None:
    use_threads(options.threads)
    update = TINY if options.tiny else (*UPDATE, *ALONE)
    with tempfile.TemporaryDirectory() as folder:
        names = [f"cache{turn}" for turn in range(min(options.turns, COLD_TURNS))]
        caches = [None if options.tiny else Path(folder, name) for name in names]
        empty = iter(caches)
        (cold,) = taking_turns([lambda: run(update, next(empty))], len(caches), unmeasured=0)
        sides = [partial(run, what, caches[-1]) for what in (["--help"], update)]
        helped, warm = taking_turns(sides, options.turns)
    rows = [
        Row("charloom --help", helped),
        Row("charloom train --iterations 1, warm kernel cache", warm),
        Row(f"charloom train --iterations 1, empty kernel cache, {len(caches)} turns", cold),
    ]
    print_rows(f"startup, seconds: {options.turns} turns", rows)


def run(arguments: Sequence[str], cache: Path | None) -> None:
    """Run a command in a fresh folder, with kernels from this cache or from the user's own."""
    environment = dict(os.environ)
    if cache:
        environment["XDG_CACHE_HOME"] = str(cache)
        environment.pop("NUMBA_CACHE_DIR", None)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "charloom", *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
