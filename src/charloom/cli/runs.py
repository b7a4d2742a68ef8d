"""`charloom runs`: what has been trained."""

import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charloom.cli.text import (
    alphabet,
    echo,
    echo_json,
    echo_note,
    fill,
    labelled,
    loss_words,
    sized,
    table,
    wrapped,
)
from charloom.formatting import LN2, count, duration, listed, nats_and_bits, printable
from charloom.runs.listing import (
    NONE,
    REMEMBERS,
    TRAINED,
    described,
    is_provisional,
    loss_of,
    summarized,
)

if TYPE_CHECKING:
    from charloom.runs.metrics import Line
    from charloom.runs.run import Run

HOME = "runs"  # the folder for a run that was given no --out
LOSS_ROWS = 20  # of the table of losses, at most
MAX_SAMPLE_BYTES = 2**24
PROVISIONAL = (
    "* the lowest so far, which may be that of a part of the validation text; `charloom resume "
    "RUN` finishes such a run and scores all of it"
)
SEVERAL_TEXTS = "validation losses compare only where the text is the same"
TRAINING = "(training)"
ON_TRAINING = f"{TRAINING} the loss on the training text itself: nothing was held out"
MEMORY = "(memory)"
OF_MEMORY = (
    f"{MEMORY} some or all of the validation part is in the training part, so that its loss "
    "measures memory more than prediction"
)


SORTED: dict[str, Callable[[dict[str, Any]], Any]] = {  # what has no such figure comes last
    "name": lambda row: 0,
    "loss": loss_of,
    "steps": lambda row: -row.get("steps", -1),
    "time": lambda row: -row["last_trained"].timestamp() if "last_trained" in row else math.inf,
}


class _ListByDefault(click.Group):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read `runs [FOLDER]` as `runs list [FOLDER]`."""
        if not args or args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ListByDefault)
def runs() -> None:
    """List runs, which is what `charloom runs` alone does; show, rename or delete them.

    \b
      charloom runs --sort loss
      charloom runs show runs/novel
      charloom runs mv runs/novel runs/best
    """  # noqa: D301 -- a real backspace, for click


@runs.command("list")
@click.argument("folder", required=False)
@click.option(
    "--sort",
    type=click.Choice([*SORTED]),
    default="name",
    help="name, loss (lowest first), steps (most first) or time (newest first).  [name]",
)
@click.option(
    "--match", metavar="TEXT", help="Only runs with TEXT in their name, model, preset or text."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_(folder: str | None, sort: str, match: str | None, as_json: bool) -> None:
    """List the runs in and below FOLDER, or below runs/."""
    from charloom.runs.folders import list_runs

    paths = [] if folder is None and not Path(HOME).is_dir() else list_runs(folder or HOME)
    rows = sorted(map(described, paths), key=SORTED[sort])
    if match is not None:
        text = match.lower()
        names = ("run", "model", "preset", "text")
        rows = [row for row in rows if any(text in (row.get(n) or "").lower() for n in names)]
    if as_json:
        echo_json(rows)
    elif rows:
        echo(_list(rows))
        for row in rows:
            if "error" in row:
                echo_note(row["error"])
    elif match is not None and paths:
        echo(f"none of {count(len(paths), 'run')} matches {match!r}", err=True)
    else:
        where = folder or f"{HOME}/"
        echo(f"no runs in {where}: `charloom train SOURCE` makes one", err=True)


@runs.command(short_help="Show one run.")
@click.argument("run", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show(run: str, as_json: bool) -> None:
    """Show RUN: its text, model, losses, checkpoints, what to do next, and its latest sample."""
    from charloom.files import read_bytes
    from charloom.runs.checkpoint import steps
    from charloom.runs.run import Run
    from charloom.training.advice import advise
    from charloom.training.facts import facts_of

    opened = Run.open(run)
    row = summarized(opened)
    checkpoints = steps(opened.checkpoints)
    metrics, advice = opened.metrics(), advise(facts_of(opened))
    if as_json:
        files = {"corpus": opened.corpus, "config": opened.config, "checkpoints": checkpoints}
        echo_json(row | files | {"metrics": metrics, "advice": advice})
        return
    echo("\n".join(labelled(_facts(opened, row, checkpoints))))
    echo("\n" + _losses(metrics))
    echo(f"\n{fill(str(advice))}")
    if (best := opened.best_sample()) is not None:
        echo(f"\nsample of the best checkpoint:\n\n{wrapped(best)}")
        return
    for step, path in opened.samples()[-1:]:
        sample = read_bytes(path, MAX_SAMPLE_BYTES).decode(errors="replace")
        echo(f"\nsample at step {step:,}:\n\n{wrapped(sample)}")


@runs.command(short_help="Rename a run.")
@click.argument("run", metavar="RUN")
@click.argument("new", metavar="NEW")
def mv(run: str, new: str) -> None:
    """Rename RUN, or move it; NEW must not exist yet."""
    from charloom.runs.folders import move

    move(run, new)


@runs.command(short_help="Delete runs.")
@click.argument("paths", nargs=-1, required=True, metavar="RUN...")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def rm(paths: tuple[str, ...], yes: bool) -> None:
    """Delete each RUN with its checkpoints, after asking; one that is being trained stays."""
    from charloom.runs.folders import check_is_run, delete

    for path in paths:
        check_is_run(path)
        if not yes:
            row = described(Path(path))
            what = "damaged" if "error" in row else f"{row['model']}, {count(row['steps'], 'step')}"
            if not click.confirm(f"Delete {printable(path)} ({what})?", err=True):
                continue
        delete(path)


def _list(rows: list[dict[str, Any]]) -> str:
    """Return a table of runs; if they held out several texts, it says which, and so does a line."""
    texts, kinds = _texts(rows), [loss_of(row)[0] for row in rows]
    scored = {text for text, kind in zip(texts, kinds, strict=True) if kind < TRAINED}
    several = len(scored) > 1

    def line(run: str, text: str, *cells: str) -> tuple[str, ...]:
        return (run, text, *cells) if several else (run, *cells)

    header = line("run", "text", "model", "steps", "validation nats", "bits", "last trained")
    lines = [line(row["run"], text, *_cells(row)) for row, text in zip(rows, texts, strict=True)]
    notes = [PROVISIONAL] * any(map(is_provisional, rows)) + [SEVERAL_TEXTS] * several
    notes += [OF_MEMORY] * (REMEMBERS in kinds) + [ON_TRAINING] * (TRAINED in kinds)
    return "\n".join(
        [table(header, lines, left=2 + several), *(fill(note, hanging=2) for note in notes)]
    )


def _texts(rows: list[dict[str, Any]]) -> list[str]:
    """Return the text of each run that has a loss.

    If what is held out is not the same, it has a number.
    """
    known: dict[str, dict[str, int]] = {}  # of each name, what is held out, by its number
    found = []
    for row in rows:
        kind, _ = loss_of(row)
        name = "" if kind == NONE else printable(row["text"])
        if kind < TRAINED:
            numbers = known.setdefault(name, {})
            number = numbers.setdefault(row["held_out"], len(numbers) + 1)
            name += f" ({number})" if number > 1 else ""
        found.append(name)
    return found


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a run behind its name and its text."""
    if "error" in row:
        return row["code"], "", "", "", ""
    kind, loss = loss_of(row)
    nats, bits = _both(loss)
    score = row["score"] or row["training"]
    if is_provisional(row):
        nats = f"{nats} *"
    elif score is not None and score.margin is not None:
        nats = f"{nats} ±{score.margin:.4f}"
    nats += ("", f" {MEMORY}", f" {TRAINING}", "")[kind]
    return row["model"], f"{row['steps']:,}", nats, bits, _when(row["last_trained"])


def _facts(run: "Run", row: dict[str, Any], checkpoints: list[int]) -> list[tuple[str, str]]:
    train, corpus = run.config.train, run.corpus
    size = f"{count(corpus.characters, 'character')}, {alphabet(run.vocabulary)}"
    text = f"{corpus.name}: {size}; from {listed(corpus.sources)}"
    took = f"{count(row['steps'], 'step')} in {duration(row['seconds'])}"
    took += f", until {_when(row['last_trained'])}"
    if run.config.imported:
        steps = f", {count(row['steps'], 'step')}" if row["steps"] else ""
        took = f"by {run.config.imported}{steps}; imported {_when(row['last_trained'])}"
        text = text if corpus.characters else f"not known; of {alphabet(run.vocabulary)} characters"
    facts = [
        ("run", f"{run.path}" + (f", preset {row['preset']}" if row["preset"] else "")),
        ("text", text),
        ("model", sized(run.config.model, row["parameters"])),
        ("trained", took),
    ]
    if row["parameters"] and (row["steps"] or not run.config.imported):
        rate = f"learning rate {train.learning_rate:g}, {train.schedule} schedule"
        unit = "" if run.vocabulary.unit == "characters" else f" {run.vocabulary.unit}"
        facts += [
            ("batches", f"batch size {train.batch}, sequence length {train.length}{unit}"),
            ("optimizer", f"{train.optimizer}, {rate}"),
        ]
    if row["score"] is not None:
        loss = f"{loss_words(row['score'])}, by the checkpoint of step {row['best_step']:,}"
        facts.append(("validation", loss + _repeated(row)))
    elif row["validation"] is not None:
        loss = f"{nats_and_bits(row['validation'])} at step {row['best_step']:,}"
        facts.append(("validation", f"lowest loss during training {loss}{_repeated(row)}"))
    elif row["training"] is not None:
        loss = f"{loss_words(row['training'])} of the training text, since nothing was held out"
        facts.append(("loss", f"{loss}; by the checkpoint of step {row['best_step']:,}"))
    if (mixed := row["mixture"]) is not None:
        loss = nats_and_bits(mixed.alone.nats)
        facts.append(("alone", f"{loss} on that part, without the n-gram model"))
    if (counted := row["counted"]) is not None:
        loss = nats_and_bits(counted.score.nats)
        facts.append(("counted", f"{loss} on that part, by an n-gram of order {counted.order}"))
    saved = ", ".join(f"{step:,}" for step in checkpoints) or "none"
    return [*facts, ("checkpoints", saved)]


def _repeated(row: dict[str, Any]) -> str:
    """Return that a validation loss measures memory, if it does."""
    from charloom.data.likeness import share_words

    if not row["repeated"]:
        return ""
    return f"; {share_words(row['repeated'])} of that part is in the training part, too"


def _losses(metrics: "list[Line]") -> str:
    """Return a table of the losses at every evaluation, thinned out."""
    lines = [line for line in metrics if line.validation_loss is not None] or metrics
    every = -(-len(lines) // LOSS_ROWS) or 1
    rows = [
        (f"{line.step:,}", *_both(line.loss), *_both(line.validation_loss))
        for line in lines[::-1][::every][::-1]
    ]
    return table(("step", "training nats", "bits", "validation nats", "bits"), rows, left=0)


def _both(nats: float | None) -> tuple[str, str]:
    return ("", "") if nats is None else (f"{nats:.4f}", f"{nats / LN2:.4f}")


def _when(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"
