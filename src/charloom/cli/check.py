"""`charloom check`: what to know of a text before training on it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from charloom.formatting import LN2, count, duration, percent, printable

if TYPE_CHECKING:
    from collections import Counter

    from charloom.analysis.check import Check

RARE_SHOWN = 10  # characters
PARTS_SHOWN = 4  # scripts and languages
LEAST_SHARE = 0.001  # of a script or language that is shown


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
    from charloom.analysis.check import advice, document
    from charloom.analysis.check import check as library
    from charloom.files import is_stdout, write_output
    from charloom.report.pages import check as check_jinja

    if html is not None:
        check_jinja()
    fields = DataConfig.__struct_fields__
    data = DataConfig(**{name: value for name, value in given(context).items() if name in fields})
    with progress() as (_, tell):
        found = library(data, tell)
    rows = [*_rows(found)]
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


def _rows(check: "Check") -> Iterator[tuple[str, str]]:
    """Yield the figures of a check, each with its name."""
    found = check.found
    sizes, several = sorted(found.lengths), len(found.lengths) > 1
    of = f" in {count(len(sizes), 'document')}" if several else ""
    yield "text", f"{check.text.name}: {count(found.characters, 'character')}{of}"
    if several:
        middle = sizes[len(sizes) // 2]
        yield "documents", f"{sizes[0]:,} to {sizes[-1]:,} characters, half up to {middle:,}"
    yield "lines", f"{found.lines:,}, the longest {count(found.longest.length, 'character')}"
    rare = "".join(printable(c) for c, _ in found.rare[:RARE_SHOWN])
    some = f"; rarest: {rare}" if rare.strip() else ""
    yield "vocabulary", f"{len(found.times):,} different characters{some}"
    if found.scripts:
        yield "scripts", _shares(found.scripts)
    if check.languages:
        yield "languages", _shares(check.languages)
    yield "held out", check.held_out
    if check.counted is not None:
        nats = check.counted.nats
        loss = f"{nats:.3f} nats ({nats / LN2:.3f} bits) per character"
        yield "n-gram model", f"{loss} on what is held out ({check.counted.name})"
    if check.pace is not None:
        seconds = found.characters / check.pace
        shown = duration(seconds) if seconds >= 1 else f"{seconds:.1f} s"
        yield "an epoch", f"about {shown} on this machine, with the model for 3 minutes"
    for note in check.text.notes:
        yield "reading", note


def _shares(times: "Counter[str]") -> str:
    total = times.total()
    shown = [
        f"{name or 'other'} {percent(number / total, 1)}"
        for name, number in times.most_common(PARTS_SHOWN)
        if number >= LEAST_SHARE * total
    ]
    return ", ".join(shown)
