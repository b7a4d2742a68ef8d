"""`charloom study surprise`: nats for each character of a text, and what was predicted."""

from collections.abc import Sequence
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

import click
from rich.cells import cell_len
from rich.text import Text

from charloom.cli.options import examples, output
from charloom.cli.study import reading, write_page
from charloom.cli.text import (
    breaks,
    echo,
    echo_json,
    echo_note,
    echo_styled,
    echo_wrapped,
    echo_wrote,
    fill,
    is_plain,
    labelled,
    score_fields,
    table,
)
from charloom.formatting import LN2, count, in_a_line, nats_and_bits, printable

if TYPE_CHECKING:
    from charloom.analysis.surprise import Difference, Passage, Surprise

HELD_OUT_LENGTH = 4000  # characters read of a run's held-out text
PAGE_LENGTH = 100_000  # for a page, which has as many
SHOWN_LENGTH = 2000  # characters of a text that are printed; a page shows more
COLUMNS = 96  # of a line of a text that is not printed on a terminal
CONTEXT_LENGTH = 22  # characters before and after a passage, at most
FIGURES_LENGTH = 23  # characters of a line in front of them
BLACK, WHITE = "color(16)", "color(231)"  # which no theme changes
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


@click.command(epilog=examples("charloom study surprise runs/novel"))
@click.argument("run", metavar="RUN")
@click.argument("text", required=False, metavar="[TEXT]")
@click.option("--against", metavar="RUN", help="Compare with another run on the same text.")
@output("--html", "Write a page where pointing at a character shows predictions")
@click.option("--length", type=click.IntRange(2), metavar="N", help="Read only N characters.")
@click.option(
    "--top", type=click.IntRange(0), metavar="N", default=8, help="Passages to show.  [8]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def surprise(run: str, text: str | None, as_json: bool, **options: Any) -> None:
    """Show how well RUN predicts each character of TEXT.

    TEXT is a file, a folder, - for standard input, or corpus:NAME; by default it is the first
    4,000 characters that RUN held out of training, for a page the first 100,000. The surprise of a
    character is -log of its probability given all before it; their mean is the loss that `charloom
    evaluate` prints. On a terminal, a redder character is more surprising; elsewhere a digit below
    it gives its nats.
    RUN can also be a pretrained model's folder.
    """
    from charloom.analysis.inputs import check_readable, may_have_trained_on
    from charloom.analysis.surprise import difference
    from charloom.analysis.surprise import surprise as study
    from charloom.files import is_stdout
    from charloom.report.pages import check
    from charloom.runs.open import open_model, open_run

    if options["html"] is not None:
        check()
    names = [name for name in (run, options["against"]) if name is not None]
    runs = [open_run(name) for name in names]
    most = HELD_OUT_LENGTH if options["html"] is None else PAGE_LENGTH
    read = reading(runs[0], text, options["length"], most if text is None else None)
    if runs[0] and read.held_out and len(runs) > 1 and may_have_trained_on(runs[1], runs[0]):
        echo_note(f"{names[1]} may be trained on what {names[0]} held out")
    found: list[Surprise] = []
    for name, one in zip(names, runs, strict=True):
        model = open_model(one or name)
        check_readable(name, model.vocabulary, read.content)
        found.append(study(model, read.content, options["top"]))
    against = difference(found[0], found[1], options["top"]) if len(found) == 2 else None
    named = list(zip(names, found, strict=True))
    if options["html"] is not None:
        from charloom.report.pages.surprise import surprise_view

        title, view = f"Surprise: {' and '.join(names)}", surprise_view(read.label, named, against)
        write_page(options["html"], "surprise.html", title, view)
        if is_stdout(options["html"]):
            return
    if as_json:
        echo_json(_document(named, read.label, against))
        return
    echo("\n".join(labelled([("text", read.label)])) + "\n")
    if against is None:
        _show(found[0])
    else:
        _show_difference(named, against)
    if options["html"] is not None:
        echo()
        echo_wrote(options["html"])


def _document(
    named: "Sequence[tuple[str, Surprise]]", label: str, against: "Difference | None"
) -> dict[str, Any]:
    runs = [
        {
            "run": name,
            **score_fields(s.score),
            "passages": [_row(p) for p in s.passages],
            "spans": [
                {"text": s.span(i), "nats": nats, "guesses": s.top(i)}
                for i, nats in enumerate(s.nats.tolist())
            ],
        }
        for name, s in named
    ]
    document: dict[str, Any] = {"text": label, "runs": runs}
    if against is not None:
        document["difference"] = {
            "nats": against.mean,
            "bits": against.mean / LN2,
            "ahead": against.ahead,
            "better": [_row(p) for p in against.better],
            "worse": [_row(p) for p in against.worse],
        }
    return document


def _row(p: "Passage") -> dict[str, Any]:
    names = ("line", "start", "text", "before", "after", "nats")
    return {name: getattr(p, name) for name in names} | {"bits": p.nats / LN2}


def _show(found: "Surprise") -> None:
    nats = [0.0] * int(found.starts[0]) + found.by_character().tolist()
    keys = [("expected", ""), *((f"{least:g} nats", style) for least, style in reversed(LEVELS))]
    digits = [" " if n < 1 else f"{int(min(n, 9))}" for n in nats]
    _show_text(found.text, nats, (LEVELS, LEVELS), keys, digits, "digits: nats")
    _show_passages("Most surprising passages, per character", found.passages)
    over = f"over {count(found.score.characters, 'character')}"
    echo("\n" + fill(f"{nats_and_bits(found.score.nats)}, {over}."))


def _show_difference(named: "Sequence[tuple[str, Surprise]]", against: "Difference") -> None:
    from charloom.analysis.surprise import verdict

    (first, one), (second, _) = named
    nats = [0.0] * against.start + (-against.nats).tolist()
    keys = [(f"{first} better", COLD[0][1]), (f"{second} better", WARM[0][1])]
    signs = ["-" if n >= 1 else "+" if n <= -1 else " " for n in nats]
    explained = f"by a nat or more: + {first} is better, - {second} is better"
    _show_text(one.text, nats, (WARM, COLD), keys, signs, explained)
    _show_passages(f"Where {first} is better, by how much per character", against.better)
    _show_passages(f"Where {second} is better, by how much per character", against.worse)
    scores = [(name, s.score) for name, s in named]
    rows = [(name, f"{s.nats:.4f}", f"{s.bits:.4f}", f"{s.characters:,}") for name, s in scores]
    echo("\n" + table(("run", "nats/character", "bits/character", "characters"), rows))
    echo("\n" + fill(verdict(against, first, second)))


def _show_text(
    text: str,
    nats: list[float],
    levels: tuple[Levels, Levels],
    keys: list[tuple[str, str]],
    marks: list[str],
    explained: str,
) -> None:
    """Print a text, coloured by the nats of its characters; without colours, with marks below."""
    # Of the same length as the text: a tab is one space.
    shown = printable(text[:SHOWN_LENGTH].replace("\t", " "))
    if is_plain():
        for start, end in breaks(shown, COLUMNS):
            echo(shown[start:end].rstrip())
            if below := "".join(marks[start:end]).rstrip():
                echo(below)
        echo(f"\n({explained})")
    else:
        echo_wrapped(_coloured(shown, nats, levels))
        legend = [Text(f" {key} ", style or "dim") for key, style in keys]
        fits = sum(key.cell_len + 1 for key in legend) <= get_terminal_size().columns
        echo_styled(Text("\n") + Text(" " if fits else "\n").join(legend))
    if len(text) > SHOWN_LENGTH:
        echo(fill(f"({len(text) - SHOWN_LENGTH:,} more characters: --html FILE shows more)"))


def _coloured(shown: str, nats: list[float], levels: tuple[Levels, Levels]) -> Text:
    """Return a text with the background of `levels` for nats above 0, and for nats below."""
    above, below = levels
    coloured = Text()
    for character, value in zip(shown, nats, strict=False):  # the text may be cut off
        chosen = above if value > 0 else below
        style = next((style for least, style in chosen if abs(value) >= least), "")
        if character == "\n" and style:
            coloured.append("↵", style)
            style = ""
        coloured.append(character, style or None)
    return coloured


def _show_passages(title: str, passages: "Sequence[Passage]") -> None:
    """Print a line for each passage; without colours, brackets are around it."""
    if not passages:
        return
    echo("\n" + fill(title))
    echo("  nats   bits    line")
    widest = max(cell_len(in_a_line(p.text)) for p in passages)
    room = (get_terminal_size().columns - FIGURES_LENGTH - widest) // 2
    around = CONTEXT_LENGTH if is_plain() else max(1, min(CONTEXT_LENGTH, room))
    for p in passages:
        figures = f"{p.nats:6.2f} {p.nats / LN2:6.2f} {p.line:7,}  "
        before, inner, after = map(in_a_line, (p.before[-around:], p.text, p.after))
        before, after = f"{before:>{around}}", after[:around]
        if is_plain():
            echo(f"{figures}{before}[{inner}]{after}".rstrip())
        else:
            echo_wrapped(Text.assemble((before, "dim"), (inner, "bold"), (after, "dim")), figures)
