"""`charloom runs`: what has been trained."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from charloom.cli.text import echo_json, model_name, nats_and_bits, table
from charloom.errors import CharloomError

if TYPE_CHECKING:
    pass


@click.group(invoke_without_command=True)
@click.pass_context
def runs(context: click.Context) -> None:
    """List the runs below runs/, or show one."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


@runs.command("list")
@click.argument("folder", default="runs", metavar="[FOLDER]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_(folder: str = "runs", as_json: bool = False) -> None:
    """List the runs in and below FOLDER (runs/ where none is given)."""
    from charloom.run import list_runs

    rows = [_describe(path) for path in list_runs(folder)]
    if as_json:
        echo_json(rows)
        return
    lines = [
        (row["run"], row.get("model", row.get("damage", "")), row.get("step", ""), _loss(row))
        for row in rows
    ]
    click.echo(table(("run", "model", "step", "held-out nats"), lines, left=2))


@runs.command("show")
@click.argument("run", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show(run: str, as_json: bool) -> None:
    """Show one run: its text, its settings, its losses, its checkpoints."""
    from charloom.checkpoint import steps
    from charloom.run import Run

    opened = Run.open(run)
    row = _describe(Path(run))
    held = steps(opened.checkpoints)
    if as_json:
        config = msgspec.to_builtins(opened.config)
        echo_json(row | {"checkpoints": held, "config": config, "metrics": opened.metrics()})
        return
    corpus = opened.corpus
    click.echo(f"{run}\n  {row['model']}, {opened.config.engine}, {opened.config.dtype}")
    click.echo(f"  {corpus.name}: {corpus.characters:,} characters, {len(opened.vocabulary)} kinds")
    click.echo(f"  checkpoints {', '.join(f'{step:,}' for step in held) or 'none'}")
    for record in opened.metrics():
        if record.get("validation") is not None:
            loss = nats_and_bits(record["validation"])
            click.echo(f"  step {record['step']:>10,}  held-out {loss}")


def _describe(path: Path) -> dict[str, Any]:
    """What a line says of a run; a damaged one says what is wrong."""
    from charloom.run import Run

    try:
        run: Run = Run.open(path)
        metrics = run.metrics()
    except CharloomError as error:
        return {"run": str(path), "damage": str(error)}
    losses = [r["validation"] for r in metrics if r.get("validation") is not None]
    return {
        "run": str(path),
        "model": model_name(run.config.model),
        "text": run.corpus.name,
        "step": f"{metrics[-1]['step']:,}" if metrics else "0",
        "validation": min(losses, default=None),
    }


def _loss(row: dict[str, Any]) -> str:
    return "" if row.get("validation") is None else f"{row['validation']:.4f}"
