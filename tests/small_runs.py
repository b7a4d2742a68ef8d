"""Small runs, the ways to stop them, and all that must not depend on how often they were."""

import shutil
import signal
from contextlib import contextmanager
from time import perf_counter
from unittest import mock

import msgspec

from charloom.config import DataConfig, RunConfig, TrainConfig, WatchConfig, replace
from charloom.data import batches
from charloom.data.reading import Reading
from charloom.data.split import arrange
from charloom.data.text import read_text
from charloom.progress import say_nothing
from charloom.runs.run import Run
from charloom.runs.start import first_vocabulary
from charloom.training.loop import train
from charloom.training.planning import plan
from every_cell import recurrent

TEXT = "Theirs not to make reply,\nTheirs not to reason why,\nTheirs but to do and die.\n" * 5
STEPS = 24
TRAIN = TrainConfig(  # every kind of state: slots, dropout, carried state, a rate that is cut
    batch=2,
    length=20,
    iterations=STEPS,
    optimizer="adamw",
    learning_rate=0.2,
    weight_decay=0.01,
    clip_norm=1.0,
    dropout=0.25,
    schedule="plateau",
    window=3,
    patience=1,
    seed=3,
)
OFTEN = WatchConfig(evaluate_every=5, sample_every=7, checkpoint_every=3, sample_length=5, keep=2)
NEVER = WatchConfig(evaluate_every=0, sample_every=0, checkpoint_every=0)


def write_text(folder):
    """Return a file with the text."""
    path = folder / "brigade.txt"
    path.write_text(TEXT)
    return path


def config_of(source, cell="lstm", engine="reference", train=TRAIN, watch=OFTEN, **more):
    return RunConfig(
        model=recurrent(cell, layers=2, hidden=4),
        data=DataConfig(sources=(str(source),)),
        train=train,
        watch=watch,
        engine=engine,
        dtype="float64" if engine == "reference" else "float32",
        **more,
    )


def new_run(path, config, text=None):
    """Begin a run with these settings; only the iterations are chosen, if there are none."""
    if text is None:
        text = read_text(config.data.sources, reading=Reading.of(config.data))
    text = arrange(text, config.data, say_nothing)
    if config.train.iterations is None:
        config = plan(config, None, text, perf_counter()).config
    return Run.create(path, config, first_vocabulary(config, text), text)


def play(run, resume=False):
    return list(train(run, resume))


def played(path, config):
    """Return a run that nothing has stopped."""
    run = new_run(path, config)
    play(run)
    return run


def stopped(path, config, step, number=signal.SIGTERM):
    """Return a run that a signal has stopped during update `step`, or before the first.

    During the first, it would not be waited for.
    """
    assert step != 1
    run = new_run(path, config)
    with signal_during_update(step, number):
        events = train(run)
        first = next(events)
        if step == 0:
            signal.raise_signal(number)
        *_, finished = first, *events
    assert (finished.reason, finished.step) == ("interrupted", step)
    return run


def copied(run, path):
    """Return the run again, in another folder."""
    shutil.copytree(run.path, path)
    return Run.open(path)


@contextmanager
def signal_during_update(count, number=signal.SIGTERM):
    """Send this process a signal during the update that comes after so many from now."""
    left = count

    class Stopping(batches.Streams):
        def next(self):
            nonlocal left
            left -= 1
            if left == 0:
                signal.raise_signal(number)
            return super().next()

    with mock.patch.object(batches, "Streams", Stopping):
        yield


def outcome(run):
    """All that must not depend on how often the run was stopped or looked at."""
    found = run.checkpoint("latest")
    arrays = {
        name: (array.dtype.str, array.shape, array.tobytes())
        for name, array in (found.weights | found.state).items()
    }
    meta = {name: getattr(found.meta, name) for name in found.meta.__struct_fields__}
    del meta["seconds"]
    meta["config"] = replace(found.meta.config, watch=NEVER)  # which may change
    metrics = [msgspec.to_builtins(replace(line, seconds=None)) for line in run.metrics()]
    # Not that of the best checkpoint: which that is depends on what was saved.
    samples = {step: path.read_bytes() for step, path in run.samples()}
    return {"arrays": arrays, "meta": meta, "metrics": metrics, "samples": samples}
