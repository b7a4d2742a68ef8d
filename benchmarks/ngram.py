"""Fitting and sampling an n-gram model, against a plain chain of dicts and Counters.

python benchmarks/ngram.py [TEXT] [--order N] [--repeats N] [--characters N]

Both sides run in one process, taking turns. The chain counts contexts of order - 1
characters alone; NgramModel counts all shorter ones too, and smooths them.
"""

import random
import statistics
import sys
from collections import Counter, defaultdict
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from charloom import NgramConfig, Vocabulary
from charloom.ngram import NgramModel
from common import machine, spread, taking_turns

Chain = dict[str, Counter[str]]


def fit_chain(text: str, order: int) -> Chain:
    chain: Chain = defaultdict(Counter)
    for i in range(len(text) - order + 1):
        chain[text[i : i + order - 1]][text[i + order - 1]] += 1
    return chain


def sample_chain(chain: Chain, start: str, characters: int, rng: random.Random) -> str:
    """Write on from `start`, and begin again there where nothing is known to follow."""
    written: list[str] = []
    context = start
    for _ in range(characters):
        following = chain.get(context) or chain[start]
        written.append(rng.choices(list(following), list(following.values()))[0])
        context = (context + written[-1])[1:]
    return "".join(written)


def sample_model(model: NgramModel, start: str, characters: int, rng: np.random.Generator) -> str:
    """Draw from `step` in plain Python, as any sampler does."""
    _, state = model.log_probs(model.vocabulary.encode(start[:-1])[None], model.start(1))
    written = np.empty(characters + 1, np.int32)
    written[0] = model.vocabulary.encode(start[-1:])[0]
    for i, u in enumerate(rng.random(characters)):
        log_probs, state = model.step(written[i : i + 1], state)
        cumulative = np.exp(log_probs[0]).cumsum()
        written[i + 1] = cumulative.searchsorted(u * cumulative[-1], side="right")
    return model.vocabulary.decode(written[1:])


def add_rows(table: Table, text: str, order: int, repeats: int, characters: int) -> None:
    vocabulary = Vocabulary.from_text(text)
    config = NgramConfig(order=order)
    ids = vocabulary.encode(text)
    fits = taking_turns(
        [lambda: NgramModel.fit(ids, vocabulary, config), lambda: fit_chain(text, order)], repeats
    )
    model, chain = NgramModel.fit(ids, vocabulary, config), fit_chain(text, order)
    start = text[: order - 1]
    samples = taking_turns(
        [
            lambda: sample_model(model, start, characters, np.random.default_rng(0)),
            lambda: sample_chain(chain, start, characters, random.Random(0)),
        ],
        repeats,
    )
    speeds = [[characters / seconds for seconds in side] for side in samples]
    fit_ratio = statistics.median(fits[1]) / statistics.median(fits[0])
    speed_ratio = statistics.median(speeds[0]) / statistics.median(speeds[1])
    table.add_row("fit, seconds", *map(spread, fits), f"{fit_ratio:.2f}")
    table.add_row("sampling, characters/s", *map(spread, speeds), f"{speed_ratio:.2f}")
    table.add_row(
        "n-grams kept", f"{model.parameter_count:,}", f"{sum(map(len, chain.values())):,}", ""
    )


@click.command()
@click.argument(
    "source", required=False, type=click.Path(path_type=Path, dir_okay=False, exists=True)
)
@click.option("--order", default=8, type=click.IntRange(2, 32), show_default=True)
@click.option("--repeats", default=5, type=click.IntRange(1), show_default=True)
@click.option("--characters", default=50_000, type=click.IntRange(1), show_default=True)
def main(source: Path | None, order: int, repeats: int, characters: int) -> None:
    """Compare on the text in SOURCE, or else on the manual that comes with Python."""
    if source is None:
        from pydoc_data.topics import topics

        text, name = "\n".join(topics[key] for key in sorted(topics)), "Python's manual"
    else:
        text, name = source.read_text(encoding="utf-8"), source.name
    table = Table(
        title=f"n-grams of order {order}, {name}, {len(text):,} characters: "
        f"median of {repeats} (lowest to highest)",
        caption=machine(),
    )
    for column in ("", "NgramModel, kneser-ney", "dict of Counters", "times faster"):
        table.add_column(column, justify="left" if not column else "right")
    add_rows(table, text, order, repeats, characters)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main()
