"""A run folder in, what a list of runs says of it out: plain values by name."""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from charloom.config import replace
from charloom.errors import CharloomError
from charloom.runs.checkpoint import steps
from charloom.runs.metrics import Line
from charloom.runs.run import Run

PREDICTS, REMEMBERS, TRAINED, NONE = range(4)  # what a loss says of a run, the best first


def described(path: Path) -> dict[str, Any]:
    """Return the summary of a run, or what is wrong with it, of which the others know nothing."""
    try:
        return summarized(Run.open(path))
    except CharloomError as error:
        return {"run": str(path), "error": str(error), "code": error.code}
    except OSError as error:  # it is being removed
        return {"run": str(path), "error": f"{path}: {error.strerror}", "code": "unreadable"}


def summarized(run: Run) -> dict[str, Any]:
    """Return what the list says of a run, under names that programs rely on."""
    metrics = run.metrics()
    newest = metrics[-1] if metrics else Line(step=0)
    losses = [(nats, line.step) for line in metrics if (nats := line.validation_loss) is not None]
    created = (run.path / "config.json").stat().st_mtime
    nats, best = min(losses, default=(None, None))
    final = run.final()
    score = training = None
    if final is not None:
        best = final.best
        if final.held_out:
            score, nats = final.score, final.score.nats
        else:
            training = final.score
    return {
        "run": str(run.path),
        "text": run.corpus.name,
        "held_out": _held_out(run),
        "model": run.kind,
        "preset": run.config.preset,
        "imported": run.config.imported,
        "parameters": run.parameters,
        "steps": max([newest.step, *steps(run.checkpoints)]),
        "seconds": newest.seconds or 0.0,
        "validation": nats,
        "best_step": best,
        "score": score,
        "training": training,
        "repeated": run.repeated,
        "counted": None if final is None else final.counted,
        "mixture": None if final is None else final.mixture,
        "last_trained": run.last_saved or datetime.fromtimestamp(created).astimezone(),
    }


def loss_of(row: dict[str, Any]) -> tuple[int, float | None]:
    """Return the kind of loss that a list shows, PREDICTS to NONE, and its nats.

    It is that on the validation part, or else on the training part; two kinds do not compare.
    """
    if row.get("validation") is not None:
        return (REMEMBERS if row["repeated"] else PREDICTS), row["validation"]
    if row.get("training") is not None:
        return TRAINED, row["training"].nats
    return NONE, None


def is_provisional(row: dict[str, Any]) -> bool:
    """Whether the loss is not that of the end of the run, but the lowest on the way."""
    return row.get("validation") is not None and row["score"] is None


def _held_out(run: Run) -> str:
    """Return what tells apart texts on which losses do not compare: the whole, and its split."""
    data = msgspec.json.encode(replace(run.config.data, sources=()))
    return hashlib.sha256(run.corpus.sha256.encode() + data).hexdigest()[:16]
