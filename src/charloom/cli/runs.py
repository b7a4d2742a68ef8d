"""`charloom runs`: what has been trained."""

import math
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charloom.cli.text import alphabet, count, duration, echo_json, model_name, nats_and_bits, table
from charloom.config import NgramConfig
from charloom.errors import CharloomError

if TYPE_CHECKING:
    from charloom.runs.run import Run

HOME = "runs"  # where `train` puts a run that was given no other place
LINES = 20  # of a table of losses
LARGEST_SAMPLE = 2**24  # bytes


class _ListByDefault(click.Group):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read `runs [FOLDER]` as `runs list [FOLDER]`."""
        if not args or args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ListByDefault)
def runs() -> None:
    """List runs (which `charloom runs` alone does too), or show one."""


@runs.command("list")
@click.argument("folder", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_(folder: str | None, as_json: bool) -> None:
    """List the runs in and below FOLDER, or below runs/."""
    from charloom.runs.run import list_runs

    paths = [] if folder is None and not Path(HOME).is_dir() else list_runs(folder or HOME)
    rows = [_describe(path) for path in paths]
    if as_json:
        echo_json(rows)
    elif rows:
        header = ("run", "model", "steps", "held-out nats", "bits", "last trained")
        click.echo(table(header, [_line(row) for row in rows], left=2))
        for row in rows:
            if "error" in row:
                click.echo(f"charloom: {row['error']}", err=True)
    else:
        where = folder or f"{HOME}/"
        click.echo(f"no runs in {where}: `charloom train SOURCE` makes one", err=True)


@runs.command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show(run: str, as_json: bool) -> None:
    """Show one run: text, model, losses, checkpoints, and what it wrote last."""
    from charloom.files import read_bytes
    from charloom.runs.checkpoint import steps
    from charloom.runs.run import Run

    opened = Run.open(run)
    row = _summary(opened)
    checkpoints = steps(opened.checkpoints)
    metrics = opened.metrics()
    if as_json:
        echo_json(
            row
            | {"corpus": opened.corpus, "config": opened.config}
            | {"checkpoints": checkpoints, "metrics": metrics}
        )
        return
    click.echo("\n".join(_facts(opened, row, checkpoints)))
    click.echo("\n" + _losses(metrics))
    if (newest := max((opened.path / "samples").glob("[0-9]*.txt"), default=None)) is not None:
        sample = read_bytes(newest, LARGEST_SAMPLE)
        click.echo(f"\nit wrote at step {int(newest.stem):,}:\n\n{sample.decode(errors='replace')}")


def _describe(path: Path) -> dict[str, Any]:
    """The summary of a run; of one that is damaged, what is wrong with it."""
    from charloom.runs.run import Run

    try:
        return _summary(Run.open(path))
    except CharloomError as error:
        return {"run": str(path), "error": str(error)}


def _summary(run: "Run") -> dict[str, Any]:
    """What the list says of a run: stable names, for programs too."""
    from charloom.models.weights import parameter_count

    metrics = run.metrics()
    newest = metrics[-1] if metrics else {}
    losses = [(_held_out(m), m["step"]) for m in metrics if "validation" in m]
    best = min(losses, default=(None, None))
    model = run.config.model
    return {
        "run": str(run.path),
        "text": run.corpus.name,
        "model": model_name(model),
        "preset": run.config.preset,
        "parameters": None
        if isinstance(model, NgramConfig)
        else parameter_count(model, len(run.vocabulary)),
        "steps": newest.get("step", 0),
        "seconds": newest.get("seconds", 0.0),
        "validation": best[0],
        "best_step": best[1],
        "last_trained": _last_trained(run),
    }


def _held_out(record: dict[str, Any]) -> float:
    """The loss of a line of metrics; null is infinite there."""
    return math.inf if record["validation"] is None else record["validation"]


def _last_trained(run: "Run") -> datetime:
    saved = [path.stat().st_mtime for path in run.checkpoints.glob("*/MANIFEST.json")]
    newest = max(saved, default=(run.path / "config.json").stat().st_mtime)
    return datetime.fromtimestamp(newest).astimezone()


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    if "error" in row:
        return row["run"], "damaged", "", "", "", ""
    both = _both(row["validation"])
    return row["run"], row["model"], f"{row['steps']:,}", *both, _when(row["last_trained"])


def _facts(run: "Run", row: dict[str, Any], checkpoints: list[int]) -> list[str]:
    train, corpus = run.config.train, run.corpus
    facts = [
        f"run         {run.path}" + (f", preset {row['preset']}" if row["preset"] else ""),
        f"text        {corpus.name}: {corpus.characters:,} characters, "
        f"{alphabet(run.vocabulary)}; from {', '.join(corpus.sources)}",
        f"model       {row['model']}"
        + (f": {count(row['parameters'], 'number')}" if row["parameters"] else ""),
    ]
    if row["parameters"]:
        facts.append(
            f"steps       of {train.batch} x {train.length} characters, {train.optimizer}, "
            f"learning rate {train.learning_rate:g}, {train.schedule}"
        )
    facts.append(
        f"trained     {count(row['steps'], 'step')} in {duration(row['seconds'])}, "
        f"until {_when(row['last_trained'])}"
    )
    if row["validation"] is not None:
        loss = nats_and_bits(row["validation"])
        facts.append(f"held-out    {loss}, the lowest, at step {row['best_step']:,}")
    saved = ", ".join(f"{step:,}" for step in checkpoints) or "none"
    return [*facts, f"checkpoints {saved}"]


def _losses(metrics: list[dict[str, Any]]) -> str:
    """A table of the losses: all that were measured on held-out text, thinned out."""
    records = [m for m in metrics if "validation" in m] or metrics
    every = -(-len(records) // LINES) or 1
    lines = [
        (
            f"{m['step']:,}",
            *_both(m.get("loss")),
            *_both(_held_out(m) if "validation" in m else None),
        )
        for m in records[::-1][::every][::-1]
    ]
    return table(("step", "training nats", "bits", "held-out nats", "bits"), lines, left=0)


def _both(nats: float | None) -> tuple[str, str]:
    from charloom.cli.text import LN2

    return ("", "") if nats is None else (f"{nats:.4f}", f"{nats / LN2:.4f}")


def _when(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"
