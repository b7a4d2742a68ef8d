"""`charloom study neurons`: cells that respond to features of a text, and where they do."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from charloom.cli.options import examples, output
from charloom.cli.study import reading, write_page
from charloom.cli.text import (
    echo,
    echo_json,
    echo_wrapped,
    echo_wrote,
    fill,
    is_plain,
    labelled,
    table,
)
from charloom.formatting import count, in_a_line, model_name, percent

if TYPE_CHECKING:
    from charloom.analysis.neurons import Cell, Neurons

READ_LENGTH = 100_000  # characters; more hardly change a correlation
HOT = (224, 217, 210, 203)  # of a terminal's 256 colours, from pale to strong
COLD = (189, 153, 117, 75)


@click.command(epilog=examples("charloom study neurons runs/novel"))
@click.argument("run", metavar="RUN")
@click.argument("text", required=False, metavar="[TEXT]")
@output("--html", "Write a page with the text as each cell sees it")
@click.option(
    "--length", type=click.IntRange(2), metavar="N", help="Read N characters, not 100,000."
)
@click.option("--top", type=click.IntRange(1), metavar="N", default=10, help="Cells to show.  [10]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def neurons(
    run: str, text: str | None, html: Path | None, length: int | None, top: int, as_json: bool
) -> None:
    """Find cells of RUN, a recurrent network, that respond to features of TEXT.

    TEXT is a file, a folder, - for standard input, or corpus:NAME; by default it is what RUN held
    out of training. Features are the position in the line and in the word, line breaks, quotes,
    brackets, capitals and others. Cells are ranked by memory: their correlation with a feature
    among the places of one character, which the character read cannot explain. For spaces or
    vowels it is 0. A cell's feature is chosen on the first half of the text, and its memory and
    correlation are measured on the second. Then come the passages where each cell is highest and
    lowest, and how often gates are nearly closed or open. After Karpathy, Johnson & Fei-Fei 2015,
    arXiv 1506.02078.
    """
    from charloom.analysis.activations import not_recurrent
    from charloom.analysis.inputs import check_readable
    from charloom.analysis.neurons import neurons as study
    from charloom.files import is_stdout
    from charloom.report.pages import check
    from charloom.runs.open import open_run

    if html is not None:
        check()
    model = open_run(run)
    if model is None:
        raise not_recurrent()
    read = reading(model, text, length, READ_LENGTH)
    check_readable(run, model.vocabulary, read.content)
    found = study(model, read.content, top)
    if html is not None:
        from charloom.report.pages.neurons import neurons_view

        title, view = f"Cells of {run} and what they respond to", neurons_view(read.label, found)
        write_page(html, "neurons.html", title, view)
        if is_stdout(html):
            return
    if as_json:
        echo_json(_document(run, read.label, found))
        return
    about = [("run", f"{run}: {model_name(model.config.model)}"), ("text", read.label)]
    echo("\n".join(labelled(about)) + "\n")
    _show(found)
    if html is not None:
        echo()
        echo_wrote(html)


def _document(run: str, label: str, found: "Neurons") -> dict[str, Any]:
    gates = [
        {
            "layer": gate.layer,
            "gate": gate.name,
            "left": float(gate.left.mean()),
            "right": float(gate.right.mean()),
            "cells": list(zip(gate.left.tolist(), gate.right.tolist(), strict=True)),
        }
        for gate in found.states.gates
    ]
    return {
        "run": run,
        "text": label,
        "shows": found.states.name,
        "cells": found.count,
        "responding": found.responding,
        "absent": found.absent,
        "top": found.top,
        "by_feature": found.by_feature,
        "gates": gates,
    }


def _show(found: "Neurons") -> None:
    rows = [
        (c.name, c.feature, f"{c.memory:+.3f}", f"{c.correlation:+.3f}", f"{c.mean:+.2f}")
        for c in found.top
    ]
    header = ("cell", "feature", "memory", "correlation", f"mean {found.states.name}")
    echo(table(header, rows, left=2))
    shown = {cell.feature for cell in found.top}
    others = [c for c in found.by_feature if c.feature not in shown]
    if others:
        cells = [(c.name, c.feature, f"{c.memory:+.3f}", f"{c.correlation:+.3f}") for c in others]
        echo("\nBest cells for the other features")
        echo(table(("cell", "feature", "memory", "correlation"), cells, left=2))
    if found.absent:
        echo(fill(f"Too rare or too common in this text: {', '.join(found.absent)}."))
    responding = f"{found.responding:,} of {count(found.count, 'cell')}"
    said = (
        f"{responding} have a correlation of at least 0.5 or at most -0.5 with a feature.\n"
        "Features were chosen on the first half of the text; the figures are of the second."
    )
    echo("\n" + fill(said))
    echo("\n" + fill(f"Where each cell is highest and lowest: {found.states.name}, line, text"))
    for cell in found.top:
        echo(f"\n{cell.name}  {cell.feature}")
        _show_drives(cell)
    if found.states.gates:
        shares = "Share of the text for which gates are nearly closed (< 0.1) or open (> 0.9)"
        echo("\n" + fill(shares))
        gates = [
            (str(g.layer), g.full_name, percent(g.left.mean(), 0), percent(g.right.mean(), 0))
            for g in found.states.gates
        ]
        echo(table(("layer", "gate", "closed", "open"), gates, left=2))


def _show_drives(cell: "Cell") -> None:
    """Print the text around the highest and the lowest place, coloured as the cell is.

    Without colours, a mark is behind the place.
    """
    for drive in (*cell.high[:1], *cell.low[:1]):
        at = drive.place - drive.start
        shown = in_a_line(drive.text.replace("\t", " "))  # of the same length
        head = f" {drive.value:+.2f} {drive.line:7,}  "
        if is_plain():
            echo(f"{head}{shown[: at + 1]}‹{shown[at + 1 :]}".rstrip())
        else:
            echo_wrapped(_coloured(shown, drive.values, at), Text(head, "dim"))


def _coloured(shown: str, values: Sequence[float], at: int) -> Text:
    """Return a text in the colours of a cell's values, underlined where it is highest or lowest."""
    coloured = Text()
    most = max(1.0, *map(abs, values))
    for place, (character, value) in enumerate(zip(shown, values, strict=True)):
        style = _style(value / most)
        coloured.append(character, f"{style} underline bold" if place == at else style or None)
    return coloured


def _style(share: float) -> str:
    """Return the background for this share of the largest value: red above 0, blue below."""
    level = int(min(abs(share), 0.999) * 5) - 1
    colours: Sequence[int] = HOT if share > 0 else COLD
    return "" if level < 0 else f"color(16) on color({colours[level]})"
