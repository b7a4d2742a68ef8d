"""`charloom gradcheck`: the reference engine's gradients against the slope of the loss."""

from dataclasses import dataclass

import click

from charloom.cli.text import count, echo_json, table
from charloom.config import Cell, ModelConfig
from charloom.models.reference.gradcheck import check_gradients

THRESHOLD = 1e-6
CELLS: tuple[Cell, ...] = ("rnn", "lstm", "gru")
INPUTS = {"one-hot": 0, "embedded": 3}
LAYERS = (1, 2, 3)


@dataclass(frozen=True)
class Row:
    """One weight of one network, and how far its gradient is from the slope of the loss."""

    cell: str
    inputs: str
    layers: int
    name: str
    numbers: int
    relative_error: float


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def gradcheck(context: click.Context, as_json: bool) -> None:
    """Check the gradients of every cell, in 1 to 3 layers.

    Each number of each weight is moved a little, both ways: the loss must change as the
    reference engine's gradient says. The status is 1 where a relative error is above 1e-6.
    """
    rows = [
        row
        for cell in CELLS
        for inputs in INPUTS
        for layers in LAYERS
        for row in _check(cell, inputs, layers)
    ]
    passed = all(row.relative_error <= THRESHOLD for row in rows)
    if as_json:
        echo_json({"threshold": THRESHOLD, "passed": passed, "rows": rows})
    else:
        _show(rows, passed)
    context.exit(0 if passed else 1)


def _check(cell: Cell, inputs: str, layers: int) -> list[Row]:
    config = ModelConfig(cell=cell, layers=layers, hidden=4, embedding=INPUTS[inputs])
    return [
        Row(cell, inputs, layers, check.name, check.parameters, check.relative_error)
        for check in check_gradients(config)
    ]


def _show(rows: list[Row], passed: bool) -> None:
    click.echo("Relative error of each gradient: inputs, and layers")
    for cell in CELLS:
        click.echo()
        click.echo(_table(cell, [row for row in rows if row.cell == cell]))
    worst = max(rows, key=lambda row: row.relative_error)
    numbers = sum(row.numbers for row in rows)
    verdict = (
        f"{'passed' if passed else 'FAILED'}: {len(rows)} gradients of {numbers:,} numbers; the "
        f"worst relative error is {worst.relative_error:.1e} ({worst.name}, {worst.cell} in "
        f"{count(worst.layers, 'layer')}, {worst.inputs} inputs), and {THRESHOLD:g} is allowed"
    )
    click.echo("\n" + click.wrap_text(verdict))


def _table(cell: str, rows: list[Row]) -> str:
    """One line for each weight, one column for each network."""
    networks = [(inputs, layers) for inputs in INPUTS for layers in LAYERS]
    errors = {(row.name, row.inputs, row.layers): row.relative_error for row in rows}
    lines = [
        [name, *(_shown(errors.get((name, *network))) for network in networks)]
        for name in sorted({row.name for row in rows})
    ]
    return table([cell, *(f"{inputs} {layers}" for inputs, layers in networks)], lines)


def _shown(error: float | None) -> str:
    if error is None:
        return ""
    return f"{error:.0e}" if error <= THRESHOLD else f"{error:.0e} FAILED"
