"""`charloom study`: what a run learned. One file a command, imported when it is asked for."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charloom.cli.lazy import LazyGroup
from charloom.cli.text import echo_note

if TYPE_CHECKING:
    from charloom.analysis.inputs import Excerpt
    from charloom.runs.run import Run

COMMANDS = {
    "novelty": "Measure how much of a generated text is copied from its source.",
    "keywords": "Find the words that a generated text keeps, loses and invents.",
    "surprise": "Show how well a run predicts each character of a text.",
    "neurons": "Find cells that respond to features of a text.",
}


class _Studies(LazyGroup):
    package, sections = "charloom.cli.study", {"Commands": COMMANDS}


@click.group(cls=_Studies)
def study() -> None:
    """Analyse what a run learned."""


def reading(
    run: "Run | None", name: str | None, length: int | None, default: int | None = None
) -> "Excerpt":
    """Return the first `length` characters of the text `name`, or of what a run held out.

    If no length is given, about as many as the default, to the end of a word.
    """
    from charloom.analysis.inputs import excerpt
    from charloom.data.reading import Reading
    from charloom.data.text import read_text

    as_own = Reading.like([] if run is None else [run.config.data])
    text = None if name is None else read_text([name], reading=as_own)
    found = excerpt(run, text, length or default, not length)
    for note in found.notes:
        echo_note(note)
    return found


def write_page(path: Path, template: str, title: str, view: dict[str, Any]) -> None:
    """Write a page that is one view."""
    from charloom.files import write_output
    from charloom.report.pages import page

    write_output(path, page(template, title=title, view=view).encode())
