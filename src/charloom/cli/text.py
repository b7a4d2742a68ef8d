"""How tables, labelled lines, progress and JSON documents are printed."""

import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from charloom.config import NetworkConfig, NgramConfig, PretrainedConfig
from charloom.data.tokenizer import Tokenizer
from charloom.files import is_stdout
from charloom.formatting import count, model_name, nats_and_bits, printable
from charloom.progress import Tell

if TYPE_CHECKING:
    from rich.text import Text

    from charloom.evaluation import Score


def is_plain() -> bool:
    """Whether standard output is a file or another program, not a terminal."""
    out = sys.stdout
    return out is None or not out.isatty() or os.environ.get("TERM") in ("dumb", "unknown")


def echo_json(document: Any) -> None:
    """Print one JSON document; a number that JSON does not have becomes null."""
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))


def echo_wrote(path: Path) -> None:
    """Say which file was written, beside it if it is standard output."""
    click.echo(f"wrote {path}", err=is_stdout(path))


def score_fields(score: "Score") -> dict[str, float]:
    """Return what programs are told of a loss."""
    return {name: getattr(score, name) for name in ("characters", "nats", "bits", "perplexity")}


def loss_words(score: "Score") -> str:
    """Return a loss per character in both units, and of how much of a text it is."""
    if score.nats == math.inf:
        return "infinite, since the model rules out one of the characters"
    loss = nats_and_bits(score.nats)
    if score.whole is None:
        return f"{loss}, all {count(score.characters, 'character')}"
    margin = "" if score.margin is None else f" ±{score.margin:.3f} nats,"
    return f"{loss},{margin} on {score.characters:,} of {count(score.whole, 'character')}"


@contextmanager
def progress() -> Iterator[tuple[Tell, Tell]]:
    """Report progress on standard error: what to call for a line, and for what is being done.

    On a terminal, what is being done is a last line that changes; elsewhere it is not shown.
    """
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
    with console.status("") as status:
        yield (
            lambda text: console.print(printable(text)),
            lambda text: status.update(f"{printable(text)} ..."),
        )


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return aligned lines: the first `left` columns to the left, figures to the right.

    Nothing is wrapped or cut, so that other programs can search it.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for i, name in enumerate(header):
        grid.add_column(Text(name), justify="left" if i < left else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*map(Text, row))
    console = Console(file=StringIO(), width=10_000, color_system=None)
    with console.capture() as capture:
        console.print(grid)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def echo_styled(text: "Text") -> None:
    """Print a styled text, neither wrapped nor highlighted."""
    from rich.console import Console

    Console(highlight=False, emoji=False, markup=False).print(text, soft_wrap=True)


def labelled(rows: Sequence[tuple[str, str]], indent: int = 0) -> list[str]:
    """Return a line for each label and its text, the texts one below the other."""
    width = max(len(label) for label, _ in rows)
    return [f"{'':{indent}}{label:{width}}  {text}" for label, text in rows]


def alphabet(vocabulary: Tokenizer) -> str:
    """Return in few words how many characters or tokens a vocabulary has."""
    different = "different" if vocabulary.unit == "characters" else "tokens in the vocabulary"
    return f"{len(vocabulary):,} {different}"


def sized(model: NetworkConfig | NgramConfig, parameters: int | None) -> str:
    """Return a model's name, what its figures are, and how many parameters it has, if known."""
    meaning = " (order)" if isinstance(model, NgramConfig) else " (layers x units)"
    name = model_name(model) + ("" if isinstance(model, PretrainedConfig) else meaning)
    return name if parameters is None else f"{name}: {count(parameters, 'parameter')}"
