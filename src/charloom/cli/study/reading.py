"""What the studies of one run share: opening it, finding a text for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from charloom.errors import CharloomError
from charloom.formatting import extent, printable

if TYPE_CHECKING:
    from charloom.runs.run import Run


@dataclass(frozen=True)
class Reading:
    """A text to read, and in few words which it is; `held_out` where it is a run's own."""

    content: str
    source: str
    held_out: bool


def open_run(path: str) -> "Run | None":
    """Open a run folder; None for a pretrained model's, which has no text and no settings."""
    from charloom.runs.open import is_pretrained
    from charloom.runs.run import Run

    return None if is_pretrained(path) else Run.open(path)


def read(run: "Run | None", path: str, name: str | None, length: int | None) -> Reading:
    """Return the first `length` characters of the text `name`, or of what the run held out."""
    if name is None:
        return _held_out(run, path, length)
    from charloom.data.text import read_text

    text = read_text([name])
    for note in text.notes:
        click.echo(f"charloom: {name}: {note}", err=True)
    content = text.content if length is None else text.head(length)
    shown = printable(text.name)
    return Reading(content, extent(shown, len(content), text.characters), False)


def _held_out(run: "Run | None", path: str, length: int | None) -> Reading:
    if run is None:
        raise CharloomError(f"{path} is a model that has no text of its own: name a TEXT to read")
    parts = run.dataset()
    ids = parts.validation if parts.validation is not None else parts.test
    if ids is None:
        raise CharloomError(f"{path} held no text out of training: name a TEXT to read")
    whole = run.vocabulary.count(ids)
    most = None if length is None else length + len(getattr(run.vocabulary, "begin", ()))
    content = run.vocabulary.decode(ids[:most])[:length]
    return Reading(content, extent("held-out text", len(content), whole), True)


@contextmanager
def known_to(run: str, text: str) -> Iterator[None]:
    """Say in which line a character stands that a model has never seen."""
    from charloom.data.vocabulary import UnknownCharacterError

    try:
        yield
    except UnknownCharacterError as error:
        line = text.count("\n", 0, error.position) + 1
        raise CharloomError(f"{run} cannot read the text, line {line:,}: {error}") from None
