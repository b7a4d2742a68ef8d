"""More minutes for a run that has ended, or was stopped: what becomes of its settings."""

from charloom.config import Extension, NgramConfig, RunConfig, replace
from charloom.data.batches import open_batches
from charloom.errors import CharloomError
from charloom.runs.checkpoint import Checkpoint
from charloom.runs.run import Run
from charloom.training.cadence import intervals, total_steps
from charloom.training.state import check_settings

MOST_STEPS = 10**15


def extended(run: Run, saved: Checkpoint | None, minutes: float) -> RunConfig:
    """Return the settings of a run that goes on from a checkpoint for so many minutes from now.

    Those that it had left, its iterations and its epochs no longer end it. Raises CharloomError if
    the minutes are none, if it counts, or if it was changed or has not learned anything yet.
    """
    config = run.config
    if isinstance(config.model, NgramConfig):
        message = (
            f"{run.path} is an n-gram model, which counts and needs no minutes: leave them out"
        )
        raise CharloomError(message, "bad-setting", field="minutes")
    replace(config.train, minutes=minutes)  # raises if it is no number above 0
    if saved is None or saved.meta.step == 0:
        message = (
            f"{run.path} has not learned anything yet, so its speed is not known: resume it "
            "without minutes"
        )
        raise CharloomError(message, "unsupported", path=str(run.path))
    check_settings(saved, config)
    step, seconds = saved.meta.step, saved.meta.seconds
    more = min(60 * minutes * step / max(seconds, 1e-3), MOST_STEPS)
    train = replace(
        config.train,
        minutes=seconds / 60 + minutes,
        iterations=step + max(1, int(more)),
        epochs=None,
    )
    extension = Extension(minutes=minutes, scored=_scored(run))
    return replace(config, train=train, extended=(*config.extended, extension))


def _scored(run: Run) -> int:
    """Return how many ids of the validation part an evaluation has scored so far."""
    config, parts = run.config, run.dataset()
    if config.extended:
        return config.extended[-1].scored
    per_epoch = open_batches(parts.train, config.train).steps_per_epoch
    size = 0 if parts.validation is None else len(parts.validation)
    return intervals(config.train, config.watch, total_steps(config.train, per_epoch), size)[1]
