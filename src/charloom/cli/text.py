"""How tables, labelled lines, progress and JSON documents are printed."""

import json
import math
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from shutil import get_terminal_size
from textwrap import TextWrapper
from time import monotonic
from typing import TYPE_CHECKING, Any

import click
import msgspec

from charloom.config import NetworkConfig, NgramConfig, PretrainedConfig
from charloom.data.raw_bytes import raw_bytes
from charloom.files import is_stdout
from charloom.formatting import count, harmless, in_a_line, model_name, nats_and_bits, printable
from charloom.progress import Tell

if TYPE_CHECKING:
    from rich.text import Text

    from charloom.data.tokenizer import Tokenizer
    from charloom.evaluation import Score


MAX_COLUMNS = 100  # of prose: longer lines are hard to read
LEAST_COLUMNS = 12  # of a column of words that is wrapped


def is_plain() -> bool:
    """Whether standard output is a file or another program, or a terminal without colours."""
    return not is_terminal() or os.environ.get("TERM") in ("dumb", "unknown")


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def columns() -> int | None:
    """Return how wide the terminal is that standard output is; None if it is none."""
    return None if is_plain() else get_terminal_size().columns


def echo(text: str = "", *, err: bool = False, nl: bool = True, **style: bool) -> None:
    """Print a text in which names and texts of others may be: they cannot command a terminal.

    All that commands print goes through here, or through one of the functions below.
    """
    shown = printable(text)
    click.echo(click.style(shown, **style) if style else shown, err=err, nl=nl)


def echo_note(text: object) -> None:
    """Print a note, a warning or an error in a line of standard error."""
    echo(f"charloom: {in_a_line(str(text))}", err=True)


def echo_written(text: str, nl: bool = True) -> None:
    """Print what a model wrote, as it is; on a terminal, it cannot command that."""
    click.echo(harmless(text) if is_terminal() else text, nl=nl, color=True)  # or it strips some


def echo_raw(text: str, nl: bool = True) -> None:
    """Print the bytes that a model wrote, or on a terminal a character for each."""
    if is_terminal():
        echo_written(text, nl)
    else:
        click.echo(raw_bytes(text) + b"\n" * nl, nl=False)


def echo_json(document: Any) -> None:
    """Print one JSON document; a number that JSON does not have becomes null.

    What a terminal would obey can only be in its strings, and is written as a number there.
    """
    try:
        content = msgspec.json.encode(document)
    except UnicodeEncodeError:  # the name of a file in another encoding
        content = msgspec.json.encode(_encodable(msgspec.to_builtins(document)))
    lines = msgspec.json.format(content, indent=2).decode().split("\n")
    click.echo("\n".join(map(_escaped, lines)))


def _encodable(document: Any) -> Any:
    """Return a document of plain types in which "?" is in place of what has no UTF-8."""
    if isinstance(document, dict):
        return {_encodable(name): _encodable(value) for name, value in document.items()}
    if isinstance(document, list | tuple):
        return [_encodable(value) for value in document]
    return document.encode(errors="replace").decode() if isinstance(document, str) else document


def _escaped(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(c if harmless(c) == c else json.dumps(c)[1:-1] for c in line)


def echo_wrote(path: Path) -> None:
    """Say which file was written, beside it if it is standard output."""
    echo(f"wrote {path}", err=is_stdout(path))


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
def progress(seconds: float = math.inf) -> Iterator[tuple[Tell, Tell]]:
    """Report progress on standard error: what to call for a line, and for what is being done.

    On a terminal, what is being done is a last line that changes; elsewhere it is a line of its
    own once in so many seconds, or not shown.
    """
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
    told_at = monotonic()

    def write(text: str) -> None:
        console.print(printable(text))

    def tell(text: str) -> None:
        nonlocal told_at
        status.update(f"{printable(text)} ...")
        if not console.is_terminal and monotonic() - told_at >= seconds:
            told_at = monotonic()
            write(text)

    with console.status("") as status:
        yield write, tell


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: int = 1,
    dim: Collection[int] = (),
) -> str:
    """Return aligned lines: the first `left` columns to the left, figures to the right.

    On a terminal that is too narrow, cells are wrapped, or each row becomes a paragraph with a
    line for each cell. Elsewhere nothing is wrapped or cut, so that other programs can search it.
    The rows whose numbers are in `dim` are dim on a terminal.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    lines, width = [[in_a_line(cell) for cell in row] for row in rows], columns()
    cells = [*zip(header, *lines, strict=True)]
    widest = [max(map(cell_len, column)) for column in cells]
    fits = width is None or sum(widest) + 2 * (len(widest) - 1) <= width
    widths = widest
    if width is not None and not fits:
        least = [max(cell_len(word) for cell in c for word in cell.split() or [""]) for c in cells]
        widths = [min(n, LEAST_COLUMNS) if i < left else n for i, n in enumerate(least)]
        room = width - sum(widths) - 2 * (len(widths) - 1)
        if room < 0:
            return _paragraphs(header, lines)
        for i, most in enumerate(widest):
            more = min(room, most - widths[i])
            widths[i], room = widths[i] + more, room - more
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim" if dim else "")
    for i, name in enumerate(header):
        justify: Any = "left" if i < left else "right"
        grid.add_column(Text(name), justify=justify, no_wrap=fits, overflow="fold", width=widths[i])
    for number, row in enumerate(lines):
        grid.add_row(*map(Text, row), style="dim" if number in dim else "")
    console = Console(
        file=StringIO(),
        width=10_000 if fits else width,
        force_terminal=width is not None,
        color_system=None if width is None else "standard",
    )
    with console.capture() as capture:
        console.print(grid)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _paragraphs(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return each row as its first cell and, below it, the others with their names."""
    found = []
    for first, *others in rows:
        named = [(name, cell) for name, cell in zip(header[1:], others, strict=True) if cell]
        name = f"{header[0]} {first}" if header[0] else first
        found.append("\n".join([name, *(labelled(named, indent=2) if named else [])]))
    return "\n".join(found)


def echo_styled(text: "Text") -> None:
    """Print a styled text, neither wrapped nor highlighted."""
    from rich.console import Console

    text.plain = harmless(text.plain)  # of the same length, and so styled as before
    Console(highlight=False, emoji=False, markup=False).print(text, soft_wrap=True)


def echo_wrapped(text: "Text", head: "Text | str" = "") -> None:
    """Print a styled text behind `head`; what there is no room for is below its beginning."""
    from rich.text import Text

    room = max(1, get_terminal_size().columns - len(head))
    for start, end in breaks(text.plain, room):
        echo_styled(Text.assemble(head if start == 0 else " " * len(head), text[start:end]))


def labelled(rows: Sequence[tuple[str, str]], indent: int = 0) -> list[str]:
    """Return a line for each label and its text, the texts one below the other.

    On a terminal, a text that is too long continues below its beginning.
    """
    rows = [(in_a_line(label), in_a_line(text)) for label, text in rows]
    width, before = columns(), max(len(label) for label, _ in rows)
    lines = [f"{'':{indent}}{label:{before}}  {text}" for label, text in rows]
    if width is None:
        return lines
    if max(map(len, lines)) > width and before > width // 2:
        return [
            line
            for label, text in rows
            for line in (f"{'':{indent}}{label}", fill(text, indent + 4, indent + 4))
        ]
    return [
        line if len(line) <= width else fill(line, 0, indent + before + 2).rstrip()
        for line in lines
    ]


def fill(text: str, indent: int = 0, hanging: int = 0) -> str:
    """Return prose in lines that a terminal has room for, and that are not hard to read.

    Lines after the first are indented by `hanging`. A word, such as a path, stays whole, to be
    copied; where standard output is no terminal, so do lines.
    """
    width = columns()
    wrapper = TextWrapper(
        10**6 if width is None else min(MAX_COLUMNS, width),
        initial_indent=" " * indent,
        subsequent_indent=" " * hanging,
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(map(wrapper.fill, harmless(text).splitlines()))


def wrapped(text: str, indent: str = "", width: int | None = None) -> str:
    """Return a text in its own lines, each of them broken where a terminal has no room for it.

    Every line begins with `indent`. Where standard output is no terminal, and no `width` is given,
    lines stay whole.
    """
    width, text = width or columns(), printable(text)
    if width is None:
        return "\n".join(f"{indent}{line}".rstrip() for line in text.split("\n"))
    room = max(1, width - len(indent))
    return "\n".join(f"{indent}{text[a:b]}".rstrip() for a, b in breaks(text, room))


def breaks(text: str, width: int) -> Iterator[tuple[int, int]]:
    """Yield where lines of a text start and end, so that they fit and no shorter word is cut.

    A space that there is no room for is in none of them.
    """
    from rich.cells import get_character_cell_size

    start = word = used = 0  # where the line and its last word begin, and the cells of the line
    for place, character in enumerate(text):
        cells = get_character_cell_size(character)
        if character == "\n" or (character == " " and used + cells > width):
            yield start, place
            start, word, used = place + 1, place + 1, 0
            continue
        while used + cells > width and start < place:
            cut = word if start < word else place
            yield start, cut
            start, used = cut, sum(map(get_character_cell_size, text[cut:place]))
        used += cells
        if character == " ":
            word = place + 1
    yield start, len(text)


def alphabet(vocabulary: "Tokenizer") -> str:
    """Return in few words what a model reads: different characters, bytes or tokens."""
    if vocabulary.unit == "bytes":
        return "by the byte"
    different = "different" if vocabulary.unit == "characters" else "tokens in the vocabulary"
    return f"{len(vocabulary) - (vocabulary.boundary is not None):,} {different}"


def sized(model: NetworkConfig | NgramConfig, parameters: int | None) -> str:
    """Return a model's name, what its figures are, and how many parameters it has, if known."""
    meaning = " (order)" if isinstance(model, NgramConfig) else " (layers x units)"
    name = model_name(model) + ("" if isinstance(model, PretrainedConfig) else meaning)
    return name if parameters is None else f"{name}: {count(parameters, 'parameter')}"
