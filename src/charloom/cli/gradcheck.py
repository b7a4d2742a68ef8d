"""`charloom gradcheck`: the reference engine's gradients against the slope of the loss."""

import click

from charloom.cli.options import examples
from charloom.cli.text import (
    echo,
    echo_json,
    fill,
    table,
)
from charloom.formatting import count
from charloom.models.reference import gradcheck as library
from charloom.models.reference.gradcheck import THRESHOLD, CellCheck


@click.command(epilog=examples("charloom gradcheck"))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def gradcheck(context: click.Context, as_json: bool) -> None:
    """Check the reference engine's gradients of every cell, with 1 to 3 layers.

    Each parameter is moved a little up and down: the loss must change as its gradient says. The
    exit status is 1 if a relative error is above 1e-6.
    """
    checks = library.check_cells()
    passed = all(check.relative_error <= THRESHOLD for check in checks)
    if as_json:
        echo_json({"threshold": THRESHOLD, "passed": passed, "rows": checks})
    else:
        _show(checks, passed)
    context.exit(0 if passed else 1)


def _show(checks: list[CellCheck], passed: bool) -> None:
    echo("Relative error of each gradient, by inputs and number of layers")
    for cell in dict.fromkeys(check.cell for check in checks):
        echo("\n" + _table(cell, [check for check in checks if check.cell == cell]))
    worst = max(checks, key=lambda check: check.relative_error)
    parameters = sum(check.numbers for check in checks)
    verdict = (
        f"{'passed' if passed else 'FAILED'}: {len(checks)} gradients of {parameters:,} "
        f"parameters; the largest relative error is {worst.relative_error:.1e} ({worst.name}, "
        f"{worst.cell} with {count(worst.layers, 'layer')}, {worst.inputs} inputs), and "
        f"{THRESHOLD:g} is allowed"
    )
    echo("\n" + fill(verdict))


def _table(cell: str, checks: list[CellCheck]) -> str:
    """One row for each weight, one column for each network."""
    networks = [*dict.fromkeys((check.inputs, check.layers) for check in checks)]
    errors = {(c.name, c.inputs, c.layers): _shown(c.relative_error) for c in checks}
    rows = [
        [name, *(errors.get((name, *network), "") for network in networks)]
        for name in sorted({check.name for check in checks})
    ]
    return table([cell, *(f"{inputs} {layers}" for inputs, layers in networks)], rows)


def _shown(error: float) -> str:
    return f"{error:.0e}" + ("" if error <= THRESHOLD else " FAILED")
