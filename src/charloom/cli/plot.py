"""`charloom plot`: the learning curves of runs as a picture."""

from pathlib import Path
from typing import get_args

import click

from charloom.analysis.curves import Axis, Value, curve, names
from charloom.cli.options import examples, output
from charloom.cli.text import echo_json, echo_wrote
from charloom.report.plots.images import write_plot
from charloom.report.plots.style import Look, check
from charloom.runs.run import Run

AXES, VALUES = get_args(Axis), get_args(Value)


@click.command(epilog=examples("charloom plot runs/gru runs/lstm -o curves.svg"))
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--x",
    "axis",
    type=click.Choice(AXES),
    default=AXES[0],
    metavar="NAME",
    help="characters, seconds or steps.  [characters]",
)
@click.option(
    "--y",
    "values",
    type=click.Choice(VALUES),
    multiple=True,
    default=VALUES[:1],
    metavar="NAME",
    help="loss, rate or gradient-norm; repeat it for several panels.  [loss]",
)
@click.option("--log", is_flag=True, help="Make the --x axis logarithmic.")
@click.option("--log-y", is_flag=True, help="Make the --y axes logarithmic.")
@output("--out", "A .png or .svg file", "curves.png")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as one JSON document.")
def plot(
    runs: tuple[str, ...],
    axis: Axis,
    values: tuple[Value, ...],
    log: bool,
    log_y: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Plot the learning curves of one or several RUNs.

    Nats per character are at the left, bits at the right; a ring marks the best checkpoint. The
    plot of one run ends with samples from its training. Needs the extra charloom[report], but not
    for --json without --out.
    """
    if out is not None or not as_json:
        check()
    opened = [Run.open(path) for path in dict.fromkeys(runs)]
    curves = [curve(run, name) for run, name in zip(opened, names(opened), strict=True)]
    if as_json:
        fields = ("model", "text", "best", "points", "samples", "setbacks")
        echo_json([{"run": c.name} | {name: getattr(c, name) for name in fields} for c in curves])
    if out is not None or not as_json:
        look = Look(axis, tuple(dict.fromkeys(values)), log, log_y, samples=values[0] == "loss")
        path = write_plot(out or Path("curves.png"), curves, look, free=out is None)
        if not as_json:
            echo_wrote(path)
