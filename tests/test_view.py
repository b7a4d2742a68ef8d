"""What a view of training says of the losses: over how many steps, and of which text."""

import os
import re
from dataclasses import replace

import pytest
from msgspec import structs

from charloom.cli.live import LiveView
from charloom.cli.plain import PlainView
from charloom.evaluation import Score
from charloom.runs.meta import Best
from charloom.training.events import Evaluated, Finished, Progress, Scoring, Started
from small_runs import config_of, new_run, write_text

SCORE = Score(1.5, 2000, whole=9000, margin=0.02)


@pytest.fixture
def run(tmp_path):
    return new_run(tmp_path / "run", config_of(write_text(tmp_path)))


def told(view, run, *events):
    """Return what a view writes of a run: Started, then these; the last is Finished."""
    reading, writing = os.pipe()
    out = os.fdopen(writing, "w")
    started = Started(run, "reference", 100, run.dataset(), 0, 100, ())
    with view(out) as shown:
        shown.follow(iter([started, *events]))
    out.close()
    with os.fdopen(reading) as pipe:
        return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", pipe.read())


def progress(step, loss):
    return Progress(step, 100, 1.0, 10 * step, loss, 9.0, 0.1, 10.0, 1.0, 1.0)


def finished(run, step=100, **more):
    facts = {"reason": "interrupted", "signal": 15, "step": step, "total": 100, "training": 1.25}
    facts |= {"validation": None, "best": None, "path": run.path, "seconds": 1.0}
    return Finished(**facts | more)


@pytest.mark.parametrize("view", [PlainView, LiveView])
def test_the_training_loss_is_the_mean_over_the_steps_that_are_named(run, view):
    steps = [progress(10, 9.0), progress(12, 4.0), progress(13, 1.0), progress(20, 3.0)]
    events = [*steps, Evaluated(30, SCORE, True), progress(30, 2.0), finished(run)]
    said = told(view, run, *events)
    mean = (2 * 4.0 + 1 * 1.0 + 7 * 3.0 + 10 * 2.0) / 20
    assert re.search(rf"training loss +{mean:.3f} .*over (the last )?20 steps", said)


@pytest.mark.parametrize("columns", [40, 50, 80])
def test_a_narrow_terminal_shows_fewer_words_but_whole_figures(run, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    first, last = structs.replace(SCORE, nats=1.25), Evaluated(90_000, SCORE, False)
    now = replace(progress(90_000, 3.0), total=100_000, speed=102_000.0, rate=0.00403)
    events = [progress(10, 9.0), Evaluated(80_000, first, True), last, now, finished(run)]
    said = told(LiveView, run, *events)
    assert "…" not in said
    figures = ["learning rate 0.00403", "102,000 characters/s", "epoch 1.0"]
    assert all(figure in said for figure in [*figures, "lowest 1.250"][: 3 if columns < 50 else 4])
    assert ("at step 90,000; lowest 1.250 at 80,000" in said) is (columns == 80)


@pytest.mark.parametrize("view", [PlainView, LiveView])
def test_what_is_said_of_a_run_that_did_not_end_is_what_is_known(run, view):
    said = told(view, run, progress(10, 2.0), Scoring(10), finished(run))
    assert "Training loss: 1.250 nats" in said
    assert "Validation loss" not in said


def test_an_interrupted_run_says_of_how_much_its_latest_loss_is(run):
    said = told(PlainView, run, finished(run, validation=SCORE, best=Best(30, 1.5)))
    assert "±0.020 nats, on 2,000 of 9,000 characters" in said


@pytest.mark.parametrize(("step", "words"), [(10, "so far"), (5000, "over the last 1,000 steps")])
def test_a_mean_over_few_steps_is_not_called_one_over_a_thousand(run, step, words):
    assert words in told(PlainView, run, finished(run, step))
