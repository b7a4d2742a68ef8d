"""`charloom text`: what would be trained on, as text or as JSON Lines."""

from typing import Any

import click

from charloom.cli.options import (
    OutputFile,
    SectionedCommand,
    examples,
    given,
    option,
)
from charloom.cli.options import reading as reading_options
from charloom.cli.text import echo_note, echo_written, echo_wrote, progress
from charloom.config import DataConfig


@click.command(
    cls=SectionedCommand,
    epilog=examples(
        "charloom text wordpress.xml -o posts.txt",
        "charloom text books/ -o books.jsonl",
        "charloom text notes.zip | less",
        "charloom text posts/ --dedupe -o posts.txt",
    ),
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@option(
    "Output",
    "--out",
    "-o",
    type=OutputFile(),
    metavar="FILE",
    help="Write to FILE, replaced if it exists; JSON Lines if it is named .jsonl.",
)
@option("Output", "--jsonl", is_flag=True, help="Write JSON Lines, whatever FILE is named.")
@reading_options("Text")
@click.pass_context
def text(context: click.Context, /, **_options: Any) -> None:
    """Write out what `charloom train SOURCE...` would be trained on.

    Documents, such as files, posts or chapters, are separated by lines <|endoftext|>, which
    training knows. JSON Lines have an object a line for each, with text and, as far as they are
    known, source, name, title, author and date. What was left out or changed is told on standard
    error. --dedupe and --drop-boilerplate leave out what `charloom check` names.
    """
    from charloom.data.reading import Reading
    from charloom.data.writing import Writing
    from charloom.files import write_output

    values = given(context)
    sources, out = values.pop("sources"), values.pop("out", None)
    as_json = values.pop("jsonl", False) or (out is not None and out.suffix.lower() == ".jsonl")
    reading = Reading.of(DataConfig(**values))
    if out is None:
        writing = Writing(sources, reading, as_json=as_json)
        for piece in writing.pieces():
            echo_written(piece, nl=False)
    else:
        with progress() as (_, tell):
            writing = Writing(sources, reading, as_json=as_json, out=out, tell=tell)
            write_output(out, (piece.encode() for piece in writing.pieces()))
        echo_wrote(out)
    for note in writing.notes:
        echo_note(note)
