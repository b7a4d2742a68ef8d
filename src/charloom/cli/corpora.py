"""`charloom corpora`: the texts known by name."""

import click

from charloom.cli.text import echo_json, table


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def corpora(as_json: bool) -> None:
    """List the texts known by name: `charloom train corpus:NAME`."""
    from charloom.data.known_texts import corpora as known

    if as_json:
        echo_json(known())
        return
    rows = [
        (
            f"corpus:{corpus.name}",
            corpus.title,
            f"{corpus.characters:,}" if corpus.characters else "varies",
        )
        for corpus in known()
    ]
    click.echo(table(("name", "text", "characters"), rows, left=2))
