"""`charloom check`: what to know of a text before training on it."""

from pathlib import Path
from typing import Any

import click

from charloom.cli.options import (
    MIN_COUNT,
    OutputFile,
    SectionedCommand,
    examples,
    given,
    option,
    options,
)
from charloom.cli.options import reading as reading_options
from charloom.cli.text import echo, echo_json, echo_wrote, fill, labelled, progress
from charloom.config import DataConfig


@click.command(
    cls=SectionedCommand,
    epilog=examples("charloom check posts/", "charloom check novel.txt --html check.html"),
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@option(
    "Output",
    "--html",
    type=OutputFile(),
    metavar="FILE",
    help="Write a page, with a map of the text. Needs the extra charloom[report].",
)
@option("Output", "--json", "as_json", is_flag=True, help="Print one JSON document.")
@reading_options("Text")
@options("Text", DataConfig(), MIN_COUNT)
@click.pass_context
def check(context: click.Context, /, html: Path | None, as_json: bool, **_options: Any) -> None:
    """Check a text before training on it.

    SOURCE is whatever `charloom train` reads. Documents and long passages that are there twice,
    lines in many documents (navigation, signatures, licences), control characters, rare
    characters and lines too long to be prose are named, with what to do about them. An n-gram
    model says how predictable the text is, and a measurement how long an epoch takes here.
    """
    from charloom.analysis.check import advice, document, figures
    from charloom.analysis.check import check as library
    from charloom.files import is_stdout, write_output
    from charloom.report.pages import check as check_jinja

    if html is not None:
        check_jinja()
    fields = DataConfig.__struct_fields__
    data = DataConfig(**{name: value for name, value in given(context).items() if name in fields})
    with progress() as (_, tell):
        found = library(data, tell)
    rows = [*figures(found)]
    page_alone = html is not None and is_stdout(html)
    if as_json and not page_alone:
        echo_json(document(found))
    elif not page_alone:
        echo("\n".join(labelled(rows)))
        said = advice(found) or ["Nothing in it needs mending before a training."]
        echo("\n" + "\n".join(fill(f"- {line}", hanging=2) for line in said))
    if html is not None:
        from charloom.report.pages.text_check import check_page

        write_output(html, check_page(found, rows).encode())
        if not (as_json or page_alone):
            echo()
            echo_wrote(html)
