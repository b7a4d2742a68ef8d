"""`charloom study neurons`: cells that respond to something, and what drives them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charloom.cli.study.reading import known_to, open_run, read
from charloom.cli.text import echo_json, is_plain, table
from charloom.errors import CharloomError
from charloom.formatting import count, model_name, printable

if TYPE_CHECKING:
    from charloom.analysis.neurons import Cell, Drive, Neurons

READ = 100_000  # characters read: more hardly changes a correlation
PASSAGES = 1  # at each end of a cell
LETTERS = {"i": "input", "f": "forget", "o": "output", "r": "reset", "z": "update"}
HOT = (224, 217, 210, 203)  # of a terminal's 256 colours, from pale to strong
COLD = (189, 153, 117, 75)


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("text", required=False, metavar="[TEXT]")
@click.option("--html", metavar="FILE", help="Write a page: the text as any cell sees it.")
@click.option(
    "--length", type=click.IntRange(2), metavar="N", help="Read N characters, not 100,000."
)
@click.option(
    "--top", type=click.IntRange(1), metavar="N", default=10, show_default=True, help="Cells shown."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def neurons(
    run: str, text: str | None, html: str | None, length: int | None, top: int, as_json: bool
) -> None:
    """Find cells of RUN, a recurrent network, that respond to something in TEXT.

    TEXT is a file, a folder, - for standard input, or corpus:NAME; without it, what RUN held out
    of training. Cells are ranked by their correlation with simple features: the position in the
    line and in the word, line breaks, quotes, brackets, capitals and others. A cell's feature is
    chosen on the first half of the text, and the correlation shown is that on the second. Below
    it stand the passages that drive the cell highest and lowest, and how often gates are nearly
    closed or open. After Karpathy, Johnson & Fei-Fei 2015, arXiv 1506.02078.
    """
    from charloom.analysis.activations import REFUSED
    from charloom.analysis.neurons import neurons as look

    opened = open_run(run)
    if opened is None:
        raise CharloomError(REFUSED)
    reading = read(opened, run, text, length or READ)
    with known_to(run, reading.content):
        found = look(opened, reading.content, top)
    if html is not None:
        from charloom.files import write_output
        from charloom.report.pages.neurons import neurons_page, neurons_view

        view = neurons_view(f"What the cells of {run} follow", reading.source, found)
        write_output(Path(html), neurons_page(view).encode())
    if as_json:
        echo_json(_document(run, reading.source, found))
        return
    click.echo(f"run   {run}: {model_name(opened.config.model)}")
    click.echo(f"text  {reading.source}\n")
    _show(found)
    if html is not None:
        click.echo(f"\nThe page is {html}: open it in a browser.")


def _document(run: str, source: str, found: "Neurons") -> dict[str, Any]:
    gates = [
        {
            "layer": gate.layer,
            "gate": gate.name,
            "left": float(gate.left.mean()),
            "right": float(gate.right.mean()),
            "cells": list(zip(gate.left.tolist(), gate.right.tolist(), strict=True)),
        }
        for gate in found.gates
    ]
    return {
        "run": run,
        "text": source,
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
        (c.name, c.feature, f"{c.correlation:+.3f}", f"{c.chosen:+.3f}", f"{c.mean:+.2f}")
        for c in found.top
    ]
    header = ("cell", "follows", "correlation", "first half", f"mean {found.states.name}")
    click.echo(table(header, rows, left=2))
    others = [
        cell for cell in found.by_feature if cell.feature not in {c.feature for c in found.top}
    ]
    if others:
        click.echo("\nBest for the other features")
        click.echo(
            table(
                ("cell", "feature", "correlation"),
                [(c.name, c.feature, f"{c.correlation:+.3f}") for c in others],
                left=2,
            )
        )
    if found.absent:
        click.echo(f"Too rare in this text, or everywhere: {', '.join(found.absent)}.")
    click.echo(
        f"\n{found.responding} of {count(found.count, 'cell')} with a correlation of 0.5 or more, "
        "up or down. Features were chosen\non the first half of the text; the correlations are "
        "those on the second."
    )
    click.echo(f"\nWhat drives them highest and lowest, {found.states.name} at the mark")
    for cell in found.top:
        _show_drives(cell)
    if found.gates:
        _show_gates(found)


def _show_drives(cell: "Cell") -> None:
    click.echo(f"\n{cell.name}  {cell.feature}")
    for drive in (*cell.high[:PASSAGES], *cell.low[:PASSAGES]):
        _show_drive(drive)


def _show_drive(drive: "Drive") -> None:
    """One line, coloured as the cell is; where there is no colour, a mark is behind the place."""
    at = drive.place - drive.start
    shown = printable(drive.text.replace("\t", " ")).replace("\n", "↵")
    head = f" {drive.value:+.2f} {drive.line:7,}  "
    if is_plain():
        click.echo(f"{head}{shown[: at + 1]}‹{shown[at + 1 :]}".rstrip())
        return
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble((head, "dim"))
    most = max(1.0, *(abs(value) for value in drive.values))
    for place, (character, value) in enumerate(zip(shown, drive.values, strict=True)):
        style = _style(value / most)
        line.append(character, f"{style} underline bold" if place == at else style or None)
    Console(highlight=False, emoji=False, markup=False).print(line, soft_wrap=True)


def _style(share: float) -> str:
    """A ground for a cell at this share of the most, red above 0 and blue below."""
    level = int(min(abs(share), 0.999) * 5) - 1
    colours: Sequence[int] = HOT if share > 0 else COLD
    return "" if level < 0 else f"color(16) on color({colours[level]})"


def _show_gates(found: "Neurons") -> None:
    click.echo("\nGates: how much of the time they are nearly closed (below 0.1), open (above 0.9)")
    rows = [
        (
            f"layer {gate.layer}",
            LETTERS[gate.name],
            f"{100 * gate.left.mean():.0f}%",
            f"{100 * gate.right.mean():.0f}%",
        )
        for gate in found.gates
    ]
    click.echo(table(("", "gate", "closed", "open"), rows, left=2))
