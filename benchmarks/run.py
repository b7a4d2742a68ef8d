"""charloom beside PyTorch, its own reference engine and plain Python: `make bench`.

    python benchmarks/run.py [PART ...] [--turns N] [--threads N] [--text SOURCE]

All sides of a row run in this one process or one after the other, in turn: A B A B. The parts
are files of this folder; without a name all run but the last five, which take minutes, or,
as serve, the whole machine.
"""

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import click

PARTS = ("historic", "training", "sampling", "ngram", "mixture", "compression", "text", "startup")
LONG = ("quality", "adaptation", "scale", "kinds", "serve")


def available_threads() -> int:
    """Return the CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice([*PARTS, *LONG]))
@click.option("--turns", default=7, type=click.IntRange(1), show_default=True)
@click.option("--threads", default=available_threads, type=click.IntRange(1), help="[all CPUs]")
@click.option("--text", metavar="SOURCE", help="A larger text for those that read one.")
@click.option("--tiny", is_flag=True, help="Tiny sizes, to see that it works: no figure counts.")
@click.option(
    "--minutes",
    multiple=True,
    default=(0.5, 3.0),
    type=float,
    help="quality, adaptation: of a run.",
)
@click.option(
    "--seeds", default=1, type=click.IntRange(1), help="quality, adaptation: runs of each side."
)
@click.option("--json", "kept", metavar="FILE", help="Write the tables to FILE, too.")
@click.option("--side", type=click.Choice(["charloom", "torch"]), help="quality: one side only.")
def main(parts: tuple[str, ...], kept: str | None, **options: Any) -> None:
    """Measure the PARTs named, or all but the long ones, and print a table for each."""
    for library in ("OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM"):
        os.environ[f"{library}_THREADS"] = "1"  # NumPy's, which reads them when it is imported
    from common import TABLES, Options, machine, say

    measured_on = machine()
    say(measured_on)
    for part in parts or PARTS:
        import_module(part).show(Options(**options))
        if kept:
            document = {"machine": measured_on, "tables": TABLES}
            content = json.dumps(document, indent=1, ensure_ascii=False)
            Path(kept).write_text(content + "\n", "utf-8")


if __name__ == "__main__":
    main()
