"""`charloom corpora`: the texts known by name."""

import click

from charloom.cli.options import examples
from charloom.cli.text import (
    echo,
    echo_json,
    table,
)


@click.command(epilog=examples("charloom corpora", "charloom train corpus:us-constitution"))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def corpora(as_json: bool) -> None:
    """List the texts known by name: `charloom train corpus:NAME`."""
    from charloom.data.known_texts import KNOWN_TEXTS

    if as_json:
        echo_json(KNOWN_TEXTS)
        return
    rows = [
        (
            f"corpus:{text.name}",
            text.title,
            text.licence,
            f"{text.characters:,}" if text.characters else "varies",
            f"{text.size / 1e6:.0f} MB" if text.size else "",
        )
        for text in KNOWN_TEXTS
    ]
    echo(table(("name", "text", "licence", "characters", "download"), rows, left=3))
