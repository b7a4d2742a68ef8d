"""What the parts share: sides that take turns, figures with their spread, texts, the machine."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from charloom.config import ModelConfig, SampleConfig
from charloom.data.batches import Streams
from charloom.data.text import Text, read_text
from charloom.data.vocabulary import Vocabulary
from charloom.generation.sampling import generate
from charloom.models.engines import Engine, create_model
from charloom.models.protocols import LanguageModel, Learner
from charloom.models.weights import initial_weights

VOCABULARY = Vocabulary(tuple(map(chr, range(32, 97))))  # 65 characters, as many as Shakespeare's
TABLES: list[dict[str, Any]] = []  # what was printed, for --json


@dataclass(frozen=True)
class Options:
    """What the command was asked for."""

    turns: int
    threads: int
    text: str | None
    tiny: bool  # sizes that show that it works, and nothing else
    minutes: tuple[float, ...]
    seeds: int
    side: str | None


class Row(NamedTuple):
    """One figure, a value a turn: charloom's, the other side's, and how many times it gains."""

    what: str
    charloom: Sequence[float]
    other: str = ""
    others: Sequence[float] = ()
    gain: Sequence[float] = ()


def taking_turns(
    sides: Sequence[Callable[[], object]], repeats: int, unmeasured: int = 1
) -> list[list[float]]:
    """Run A B A B ..., first an unmeasured turn, and return the seconds of each side."""
    seconds: list[list[float]] = [[] for _ in sides]
    for turn in range(unmeasured + repeats):
        for side, times in zip(sides, seconds, strict=True):
            began = time.perf_counter()
            side()
            if turn >= unmeasured:
                times.append(time.perf_counter() - began)
    return seconds


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Divide turn by turn: what slows both sides of a turn leaves its ratio alone."""
    return [a / b for a, b in zip(above, below, strict=True)]


def rates(amount: float, seconds: Sequence[float]) -> list[float]:
    """Return how much of it was done in a second, turn by turn."""
    return [amount / s for s in seconds]


def by_rate(what: str, ours: Sequence[float], other: str, theirs: Sequence[float]) -> Row:
    """Compare figures of which the higher is the faster."""
    return Row(what, ours, other, theirs, ratios(ours, theirs))


def by_time(what: str, ours: Sequence[float], other: str, theirs: Sequence[float]) -> Row:
    """Compare figures of which the lower is the faster."""
    return Row(what, ours, other, theirs, ratios(theirs, ours))


def spread(values: Sequence[float], form: str = "") -> str:
    """Median (lowest to highest); a single value stands alone."""
    form = form or (",.0f" if min(values) >= 100 else ".3g")
    median, low, high = (format(f(values), form) for f in (statistics.median, min, max))
    return f"{median} ({low} to {high})" if len(values) > 1 else median


def print_rows(title: str, rows: Sequence[Row]) -> None:
    """Print a table of medians with their spread; the other side's columns where there is one."""
    columns = ["", "charloom"]
    if any(row.other for row in rows):
        columns += ["against", "its figure", "times faster, turn by turn"]
    cells = [
        [row.what, spread(row.charloom)]
        + ([row.other, spread(row.others), spread(row.gain)] if row.other else [])
        for row in rows
    ]
    print_table(f"{title}; median (lowest to highest)", columns, cells)


def print_table(title: str, columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Print words to the left, figures to the right, and keep them for --json."""
    TABLES.append({"title": title, "columns": [*columns], "rows": [[*row] for row in cells]})
    table = Table(box=SIMPLE)
    for column in columns:
        left = column in ("", "against")
        table.add_column(column, justify="left" if left else "right")
    for row in cells:
        table.add_row(*row)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 180  # no row is broken where nobody looks at it
    console.print(f"\n{title}", style="bold")
    console.print(table)


def say(line: str) -> None:
    """Print a line at once: what comes next may take minutes."""
    print(line, flush=True)


def texts(options: Options) -> list[Text]:
    """Return the Constitution, which ships, and the text that was named; say how to name one."""
    if options.text is None:
        say("(for a larger text too: --text FILE, or --text corpus:tiny-shakespeare, a download)")
    sources = ["corpus:us-constitution", *([options.text] if options.text else [])]
    return [read_text([source]) for source in sources]


def writer(model: LanguageModel, length: int) -> Callable[[], str]:
    """Return what writes `length` characters as a user gets them, at temperature 1."""
    return lambda: "".join(generate(model, SampleConfig(seed=0), length=length))


def fresh_model(config: ModelConfig, vocabulary: Vocabulary, engine: Engine) -> LanguageModel:
    """Return a model as drawn: how long a character takes does not depend on its weights."""
    return create_model(config, initial_weights(config, len(vocabulary), 0), vocabulary, engine)


def walk(learner: Learner, lanes: Streams, rates: Iterable[float]) -> None:
    """Update once with each learning rate, going on through the text from call to call."""
    for rate in rates:
        inputs, targets, fresh = lanes.next()
        if fresh:
            learner.reset()
        learner.update(inputs, targets, rate)


def use_threads(threads: int) -> None:
    """Set the threads of a learner that is made after this, on either side, or in a process."""
    os.environ["OMP_NUM_THREADS"] = str(threads)


def has_torch() -> bool:
    """Say whether PyTorch is installed, without loading it."""
    return find_spec("torch") is not None


def say_torch_is_missing() -> None:
    """Say in one line why there are no rows against PyTorch, and what to do."""
    say("(PyTorch is not installed, so nothing is measured against it: pip install torch)")


def machine() -> str:
    """Say in one line what is measured on, and how busy it was: threads suffer from others."""
    packages = {"NumPy": "numpy", "numba": "numba", "torch": "torch"}
    versions = ", ".join(f"{name} {_version(package)}" for name, package in packages.items())
    load = f", load {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else ""
    cpus = f"{_processor()}, {os.cpu_count()} CPUs{load}"
    return f"{cpus}; Python {platform.python_version()}, {versions}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
