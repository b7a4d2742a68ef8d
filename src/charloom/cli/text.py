"""How figures, tables and documents are written."""

import os
import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from charloom.data.tokenizer import Tokenizer
from charloom.formatting import LN2 as LN2
from charloom.formatting import count as count
from charloom.formatting import duration as duration
from charloom.formatting import model_kind as model_kind
from charloom.formatting import model_name as model_name
from charloom.formatting import nats_and_bits as nats_and_bits
from charloom.formatting import printable as printable
from charloom.formatting import speed as speed


def is_plain() -> bool:
    """Whether what is printed goes to a file or another program, not to a terminal."""
    out = sys.stdout
    return out is None or not out.isatty() or os.environ.get("TERM") in ("dumb", "unknown")


def echo_json(document: Any) -> None:
    """Print one JSON document; a number that JSON does not have becomes null."""
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return aligned lines: the first `left` columns to the left, figures to the right.

    Nothing is cut, so that the output can be searched and cut by other programs.
    """
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def alphabet(vocabulary: Tokenizer) -> str:
    """Return in few words what the ids of a text stand for."""
    known = "different" if vocabulary.unit == "characters" else "known tokens"
    return f"{len(vocabulary):,} {known}"
