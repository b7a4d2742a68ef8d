"""`charloom study surprise`: nats for each character of a text, and what was guessed."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charloom.cli.study.reading import Reading, known_to, open_run, read
from charloom.cli.text import echo_json, is_plain, table
from charloom.formatting import LN2, nats_and_bits, printable

if TYPE_CHECKING:
    from rich.text import Text

    from charloom.analysis.surprise import Difference, Passage, Surprise
    from charloom.runs.run import Run

HELD_OUT = 4000  # characters read of a run's held-out text
SHOWN = 2000  # characters of a text that are shown here; a page shows more
WIDTH = 96  # columns of a line of a text that is not shown on a terminal
AROUND = 22  # characters before and after a passage
BLACK, WHITE = "color(16)", "color(231)"  # those that no theme changes
LEVELS = (  # from so many nats on, in which of a terminal's 256 colours
    (6.0, f"{WHITE} on color(124)"),
    (4.0, f"{BLACK} on color(203)"),
    (2.5, f"{BLACK} on color(216)"),
    (1.0, f"{BLACK} on color(223)"),
)
COLD = (
    (3.0, f"{WHITE} on color(25)"),
    (1.5, f"{BLACK} on color(75)"),
    (0.5, f"{BLACK} on color(153)"),
)
WARM = (
    (3.0, f"{WHITE} on color(124)"),
    (1.5, f"{BLACK} on color(210)"),
    (0.5, f"{BLACK} on color(224)"),
)

Levels = Sequence[tuple[float, str]]


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("text", required=False, metavar="[TEXT]")
@click.option("--against", metavar="RUN", help="Say which of the two fits the text better.")
@click.option("--html", metavar="FILE", help="Write a page: point at a character, see guesses.")
@click.option("--length", type=click.IntRange(2), metavar="N", help="Read N characters only.")
@click.option(
    "--top",
    type=click.IntRange(0),
    metavar="N",
    default=8,
    show_default=True,
    help="Passages shown.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def surprise(run: str, text: str | None, as_json: bool, **options: Any) -> None:
    """Show what RUN found hard to foresee in TEXT.

    TEXT is a file, a folder, - for standard input, or corpus:NAME; without it, the first 4,000
    characters that RUN held out of training. The surprise of a character is -log of the
    probability that it had, given all before it; their mean is what `charloom evaluate` says.
    On a terminal, the redder the more surprising; elsewhere a digit below each character says
    its nats. RUN can be a pretrained model's folder, too.
    """
    from charloom.analysis.surprise import difference
    from charloom.analysis.surprise import surprise as look
    from charloom.runs.open import open_model

    names = [name for name in (run, options["against"]) if name is not None]
    opened = [open_run(name) for name in names]
    length = options["length"] or (HELD_OUT if text is None else None)
    reading = read(opened[0], run, text, length)
    _warn_if_learned(reading, names, opened)
    found: list[Surprise] = []
    for name, here in zip(names, opened, strict=True):
        with known_to(name, reading.content):
            found.append(look(open_model(here or name), reading.content, options["top"]))
    against = difference(found[0], found[1], options["top"]) if len(found) == 2 else None
    if options["html"] is not None:
        _write_page(options["html"], names, reading, found, against)
    if as_json:
        echo_json(_document(names, reading, found, against))
    else:
        _show(names, reading, found, against)
    if options["html"] is not None and not as_json:
        click.echo(f"\nThe page is {options['html']}: open it in a browser.")


def _warn_if_learned(reading: Reading, names: list[str], runs: "list[Run | None]") -> None:
    """What one run held out, another may have learned."""
    if not reading.held_out or len(runs) < 2:
        return
    first, second = runs
    assert first is not None
    if second is None or first.corpus.sha256 != second.corpus.sha256:
        alike = False
    else:
        alike = second.config.data.validation + second.config.data.test >= (
            first.config.data.validation + first.config.data.test
        )
    if not alike:
        click.echo(f"charloom: {names[1]} may have learned what {names[0]} held out", err=True)


def _write_page(
    path: str,
    names: list[str],
    reading: Reading,
    found: "list[Surprise]",
    against: "Difference | None",
) -> None:
    from charloom.files import write_output
    from charloom.report.pages.surprise import surprise_page, surprise_view

    title = f"What surprises {names[0]}"
    if len(names) > 1:
        title = f"{names[0]} and {names[1]} on one text"
    named = list(zip(names, found, strict=True))
    page = surprise_page(surprise_view(title, reading.source, named, against))
    write_output(Path(path), page.encode())


def _document(
    names: list[str], reading: Reading, found: "list[Surprise]", against: "Difference | None"
) -> dict[str, Any]:
    runs = [
        {
            "run": name,
            "characters": s.characters,
            "nats": s.mean,
            "bits": s.bits,
            "perplexity": _exp(s.mean),
            "passages": [_row(p) for p in s.passages],
            "spans": [
                {"text": s.span(i), "nats": nats, "guesses": s.top(i)}
                for i, nats in enumerate(s.nats.tolist())
            ],
        }
        for name, s in zip(names, found, strict=True)
    ]
    document: dict[str, Any] = {"text": reading.source, "runs": runs}
    if against is not None:
        document["difference"] = {
            "nats": against.mean,
            "bits": against.mean / LN2,
            "ahead": against.ahead,
            "better": [_row(p) for p in against.better],
            "worse": [_row(p) for p in against.worse],
        }
    return document


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf


def _row(p: "Passage") -> dict[str, Any]:
    return {
        "line": p.line,
        "start": p.start,
        "text": p.text,
        "before": p.before,
        "after": p.after,
        "nats": p.nats,
        "bits": p.bits,
    }


def _show(
    names: list[str], reading: Reading, found: "list[Surprise]", against: "Difference | None"
) -> None:
    first = found[0]
    levels: tuple[Levels, Levels]
    click.echo(f"text  {reading.source}\n")
    if against is None:
        start, nats, levels = int(first.starts[0]), first.by_character(), (LEVELS, LEVELS)
        keys = [("expected", ""), *_keys(LEVELS)]
    else:
        start, nats, levels = against.start, -against.nats, (WARM, COLD)
        keys = [(f"{names[0]} better", COLD[0][1]), (f"{names[1]} better", WARM[0][1])]
    if is_plain():
        _show_digits(first.text, start, nats.tolist(), against is not None)
    else:
        _print(_coloured(first.text, start, nats.tolist(), levels), _legend(keys))
    if len(first.text) > SHOWN:
        click.echo(f"({len(first.text) - SHOWN:,} more characters: --html FILE shows more)")
    if against is None:
        _show_passages("What surprised it most, per character", first.passages)
        click.echo(f"\n{nats_and_bits(first.mean)}, over {first.characters:,} characters.")
        return
    _show_passages(f"Where {names[0]} is better, and by how much", against.better)
    _show_passages(f"Where {names[1]} is better, and by how much", against.worse)
    _show_verdict(names, found, against)


def _show_verdict(names: list[str], found: "list[Surprise]", against: "Difference") -> None:
    rows = [
        (name, f"{s.mean:.4f}", f"{s.bits:.4f}", f"{s.characters:,}")
        for name, s in zip(names, found, strict=True)
    ]
    click.echo("\n" + table(("run", "nats/character", "bits/character", "characters"), rows))
    if against.mean == 0:
        click.echo("\nBoth fit this text equally well.")
        return
    best = names[0] if against.mean > 0 else names[1]
    share = against.ahead if against.mean > 0 else float((against.nats < 0).mean())
    click.echo(
        f"\n{best} fits this text better: by {nats_and_bits(abs(against.mean))}; it was surprised "
        f"less at {100 * share:.0f}% of the characters."
    )


def _show_digits(text: str, start: int, nats: list[float], signed: bool) -> None:
    """Lines of a text, and below each what its characters cost: nats, or who is better."""
    marks = [" "] * start + [_sign(n) if signed else _digit(n) for n in nats]
    shown, place = printable_in_place(text[:SHOWN]), 0
    for line in shown.split("\n"):
        for cut in range(0, max(1, len(line)), WIDTH):
            part = slice(place + cut, place + min(cut + WIDTH, len(line)))
            click.echo(shown[part].rstrip())
            if below := "".join(marks[part]).rstrip():
                click.echo(below)
        place += len(line) + 1


def _digit(nats: float) -> str:
    return " " if nats < 1 else f"{min(9, int(min(nats, 9)))}"


def _sign(nats: float) -> str:
    return "-" if nats >= 1 else "+" if nats <= -1 else " "


def printable_in_place(text: str) -> str:
    """Return a text as `printable` does, but of the same length: a tab is one space."""
    return printable(text.replace("\t", " "))


def _coloured(text: str, start: int, nats: list[float], levels: tuple[Levels, Levels]) -> "Text":
    """A text on coloured ground: that of `levels` for nats above 0, and for nats below."""
    from rich.text import Text

    above, below = levels
    shown = Text()
    for place, character in enumerate(printable_in_place(text[:SHOWN])):
        value = nats[place - start] if place >= start else 0.0
        style = _style(value, above) if value > 0 else _style(-value, below)
        if character == "\n" and style:
            shown.append("↵", style)
            style = ""
        shown.append(character, style or None)
    return shown


def _style(nats: float, levels: Levels) -> str:
    return next((style for least, style in levels if nats >= least), "")


def _keys(levels: Levels) -> Iterable[tuple[str, str]]:
    return ((f"{least:g} nats", style) for least, style in reversed(levels))


def _legend(keys: Iterable[tuple[str, str]]) -> "Text":
    from rich.text import Text

    parts: list[Any] = [" "]
    for words, style in keys:
        parts += [(f" {words} ", style or "dim"), " "]
    return Text.assemble("\n", *parts[1:])


def _show_passages(title: str, passages: "Sequence[Passage]") -> None:
    """A line for each passage; where there is no colour, brackets stand around it."""
    if not passages:
        return
    click.echo(f"\n{title}")
    click.echo("  nats   bits    line")
    for p in passages:
        figures = f"{p.nats:6.2f} {p.bits:6.2f} {p.line:7,}  "
        before, inner, after = (_one_line(s) for s in (p.before[-AROUND:], p.text, p.after))
        if is_plain():
            click.echo(f"{figures}{before:>{AROUND}}[{inner}]{after[:AROUND]}".rstrip())
            continue
        from rich.text import Text

        around = [(f"{before:>{AROUND}}", "dim"), (inner, "bold"), (after[:AROUND], "dim")]
        _print(Text.assemble(figures, *around))


def _one_line(text: str) -> str:
    return printable(text).replace("\n", "↵")


def _print(*lines: "Text") -> None:
    from rich.console import Console

    console = Console(highlight=False, emoji=False, markup=False)
    for line in lines:
        console.print(line, soft_wrap=True)
