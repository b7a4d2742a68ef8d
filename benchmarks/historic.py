"""The historic models on one core: the compiled engine against the reference.

python benchmarks/historic.py [--turns N]

Updates on the Constitution and sampling, one lane, 100 hidden units; the reference in
float64, the compiled engine in float32. Both run in one process, taking turns, one thread.
"""

import os

os.environ.update(  # before NumPy reads them
    {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")},
    VECLIB_MAXIMUM_THREADS="1",
)

import sys

import click
from rich.console import Console
from rich.table import Table

from charloom import SampleConfig, Vocabulary
from charloom.config import ModelConfig
from charloom.corpora import load_corpus
from charloom.model import create_model
from charloom.presets import preset
from charloom.replay import measure_speed
from charloom.sampling import generate
from charloom.weights import initial_weights
from common import machine, ratios, spread, taking_turns

REFERENCE, COMPILED = 2_000, 30_000  # characters a turn: some 0.2 seconds each


def sampling_speeds(turns: int) -> tuple[list[float], list[float]]:
    """Characters a second of min-char-lstm, reference and compiled, drawn at temperature 1.

    The weights are fresh: how long a character takes does not depend on them.
    """
    vocabulary = Vocabulary.from_text(load_corpus("us-constitution"))
    config = preset("min-char-lstm").model
    assert isinstance(config, ModelConfig)
    weights = initial_weights(config, len(vocabulary), seed=0)
    slow = create_model(config, weights, vocabulary, "reference")
    fast = create_model(config, weights, vocabulary, "compiled")
    draw = SampleConfig(seed=0)
    sides = (
        lambda: "".join(generate(slow, draw, length=REFERENCE)),
        lambda: "".join(generate(fast, draw, length=COMPILED)),
    )
    seconds = taking_turns(sides, turns)
    return [REFERENCE / s for s in seconds[0]], [COMPILED / s for s in seconds[1]]


@click.command()
@click.option("--turns", default=15, type=click.IntRange(1), show_default=True)
def main(turns: int) -> None:
    """Print one table: medians (lowest to highest) of the turns."""
    table = Table(
        title=f"The historic models, {turns} turns: median (lowest to highest)", caption=machine()
    )
    for column in ("", "reference, float64", "compiled, float32", "times faster, turn by turn"):
        table.add_column(column, justify="right" if column else "left")
    for name in ("min-char-lstm", "min-char-rnn"):
        speed = measure_speed(name, turns)
        updates = (speed.reference, speed.compiled, speed.ratios)
        table.add_row(f"{name}, µs an update", *map(spread, updates))
    slow, fast = sampling_speeds(turns)
    sampled = (slow, fast, ratios(fast, slow))
    table.add_row("min-char-lstm, characters/s sampled", *map(spread, sampled))
    Console(width=None if sys.stdout.isatty() else 130).print(table)


if __name__ == "__main__":
    main()
