"""`charloom write`: a text that you and a run write in turns, in a terminal."""

import sys
from pathlib import Path
from typing import Any

import click

from charloom.cli.options import SectionedCommand, examples, given, option, options
from charloom.cli.text import echo_wrote, is_terminal
from charloom.config import SampleConfig, replace
from charloom.errors import CharloomError, needs_extra

LARGEST = 400_000  # bytes of a file
LONGEST = 100_000  # characters of a text


@click.command(
    cls=SectionedCommand,
    epilog=examples("charloom write runs/novel", "charloom write runs/novel chapter.txt -n 99"),
)
@click.argument("run", metavar="RUN")
@click.argument("file", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
@option("Text", "--length", "-n", default=300, metavar="N", help="Characters at a time.  [300]")
@option("Text", "--seed", type=int, metavar="N", help="Of the first continuation.  [random]")
@options(
    "Sampling",
    SampleConfig(temperature=0.8),
    {
        "temperature": "Below 1 is safer, above 1 is wilder; F7 and F8 change it.",
        "top_p": "Draw from the most likely characters that together reach this probability.",
    },
)
@click.pass_context
def write(
    context: click.Context, /, run: str, file: Path | None, length: int, seed: int | None, **_: Any
) -> None:
    """Write with RUN, in a terminal: you type, and it continues where the cursor is.

    Tab continues, Esc stops, Ctrl-R writes another continuation, F5 and F6 show those that there
    were, and Ctrl-Z undoes. Each character is coloured by how surprising it was to RUN: from as
    expected, blue, to surprising, red; without colours, what is surprising is underlined. Below the
    text is what may come next where the cursor is, at the temperature that is set.

    Ctrl-S saves to FILE, or to a new file in this folder that is named after RUN. If there is a
    FILE, it is opened.
    """
    with needs_extra("write", "write"):
        import prompt_toolkit  # noqa: F401
    from charloom.editor.reader import Reader
    from charloom.editor.screen import Screen
    from charloom.editor.versions import Draft
    from charloom.runs.open import open_model, open_run

    if not (is_terminal() and sys.stdin is not None and sys.stdin.isatty()):
        message = f"write needs a terminal: charloom sample {run} writes without one"
        raise CharloomError(message, "unsupported")
    if length < 1:
        raise CharloomError(f"length is {length}, but must be at least 1", field="length")
    values = {
        name: value for name, value in given(context).items() if name in ("temperature", "top_p")
    }
    config = replace(SampleConfig(temperature=0.8), **values)
    text = _opened(file)
    opened = open_run(run)
    reader = Reader(open_model(opened or run))
    name = Path(run).resolve().name
    screen = Screen(
        Draft(reader, text, config, length, seed), name, file or Path(f"{name}.txt"), file is None
    )
    screen.run()
    if screen.saved is not None:
        echo_wrote(screen.saved)


def _opened(file: Path | None) -> str:
    """Return the text of a file, up to its last line end; empty if there is none yet."""
    from charloom.data.utf8 import normalized
    from charloom.files import check_output, read_bytes

    if file is None:
        return ""
    check_output(file)
    if not file.exists():
        return ""
    try:
        text = normalized(read_bytes(file, LARGEST).decode())
    except UnicodeDecodeError:
        message = f"{file} is not in UTF-8: convert it first"
        raise CharloomError(message, "not-text", path=str(file)) from None
    if len(text) > LONGEST:
        message = f"{file} has {len(text):,} characters, and {LONGEST:,} can be written with"
        raise CharloomError(message, "unsupported", path=str(file))
    return text.removesuffix("\n")
