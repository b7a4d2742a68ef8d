"""The programs of examples/: losses and gradients of those that tell a whole story in a file."""

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import charloom
from charloom import config
from charloom.config import ModelConfig, TrainConfig
from charloom.data.batches import Streams
from charloom.data.known_texts import load_corpus
from charloom.data.vocabulary import Vocabulary
from charloom.models.engines import pick_engine
from charloom.models.reference import ReferenceLearner, add_cell, network
from charloom.models.reference.gradcheck import (
    check_gradients,
    numerical_gradient,
    relative_error,
)
from charloom.models.weights import GATES
from charloom.presets import preset
from expect import refused

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = {"Wx": "layer0.Wx", "Wh": "layer0.Wh", "b": "layer0.b", "W": "head.W", "c": "head.b"}
LONGEST = {"min_char_rnn.py": 120, "min_char_lstm.py": 120, "markov.py": 40}
STEPS = 100


def example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


@pytest.fixture
def mgu() -> Iterator[SimpleNamespace]:
    """The cell of custom_cell.py, known by its name for as long as a test takes."""
    cell = SimpleNamespace(**example("custom_cell"))
    add_cell("mgu", cell, gates=2)
    yield cell
    config.CELLS.remove("mgu")
    del GATES["mgu"], network.CELLS["mgu"]


@pytest.mark.parametrize("name", ["min_char_rnn", "min_char_lstm"])
def test_losses_and_weights_are_those_of_the_reference_engine(name: str) -> None:
    program, historic = example(name), preset(name.replace("_", "-"))
    text = load_corpus("us-constitution")[: 45 * historic.train.length]  # which begins again
    vocabulary = Vocabulary.from_text(text)
    ids, V = vocabulary.encode(text), len(vocabulary)
    weights = program["new_weights"](V, np.random.default_rng(5))
    # The program's own rate, 0.1, turns the rounding of gradients that are next to 0 into losses.
    program["train"].__globals__["RATE"] = rate = 0.01
    assert isinstance(historic.model, ModelConfig)
    learner = ReferenceLearner(historic.model, historic.train, V)
    learner.load({NAMES[n]: w for n, w in weights.items()})
    streams, expected = Streams(ids, 1, historic.train.length), []
    for _ in range(STEPS):
        inputs, targets, fresh = streams.next()
        if fresh:
            learner.reset()
        expected.append(learner.update(inputs, targets, rate))
    losses = [*program["train"](ids, weights, STEPS)]
    assert streams.epoch == 2
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(losses, expected, rtol=1e-9)
    for n, w in weights.items():
        np.testing.assert_allclose(w, learner.weights[NAMES[n]], rtol=1e-7, atol=1e-9)


def test_gradients_of_the_rnn_are_the_slope_of_its_loss() -> None:
    program = example("min_char_rnn")
    program["forward"].__globals__["H"] = 3
    rng = np.random.default_rng(1)
    weights = {n: rng.normal(0, 0.5, w.shape) for n, w in program["new_weights"](4, rng).items()}
    inputs, targets = rng.integers(0, 4, (2, 5))
    h = rng.normal(0, 0.5, 3)

    def loss() -> float:
        return float(program["forward"](weights, inputs, targets, h)[0])

    _, hs, ps = program["forward"](weights, inputs, targets, h)
    gradients = program["backward"](weights, inputs, targets, hs, ps)
    for name, w in weights.items():
        assert relative_error(gradients[name], numerical_gradient(loss, w)) < 1e-6


def test_a_markov_chain_writes_only_what_has_followed() -> None:
    import random

    program = example("markov")
    text = "the cat sat on the mat, the cat ate the rat. "
    followed = program["count"](text, 3)
    assert followed["the"] == {" ": 4}
    assert followed["cat"] == {" ": 2}
    written = program["write"](followed, "the", 60, random.Random(0))
    assert written.startswith("the ")
    assert all(written[n : n + 4] in text for n in range(len(written) - 3))
    assert program["write"](followed, "at.", 60, random.Random(0)) == "at. "


@pytest.mark.parametrize("inputs", [0, 3])
def test_a_cell_of_one_s_own_has_the_right_gradients(mgu: SimpleNamespace, inputs: int) -> None:
    model = ModelConfig(cell="mgu", layers=2, hidden=4, embedding=inputs)
    assert max(check_gradients(model).values()) < 1e-6
    backward = mgu.backward
    mgu.backward = lambda *given: (*backward(*given)[:3], 0.9 * backward(*given)[3])
    errors = check_gradients(model)
    assert {name for name, error in errors.items() if error > 0.01} == {"layer0.b", "layer1.b"}


@pytest.mark.usefixtures("mgu")
def test_a_cell_of_one_s_own_is_trained_by_the_loop_and_opened_again(tmp_path: Path) -> None:
    settings = {"model": "mgu", "hidden": 16, "embedding": 0, "iterations": 40, "batch": 8}
    settings["learning_rate"] = 0.03
    run = charloom.train("corpus:us-constitution", out=tmp_path / "run", **settings)
    assert run.config.model == ModelConfig(cell="mgu", hidden=16)
    first, *_, last = [line.loss for line in run.metrics() if line.loss is not None]
    assert last < first - 0.2
    assert len(charloom.load(run).sample("We", length=20)) == 22
    model = charloom.load(run).language_model
    assert model.start(2)[0][0].shape == (2, 16)


def test_a_cell_that_nobody_added_is_refused_and_no_name_is_taken_twice(
    mgu: SimpleNamespace,
) -> None:
    with refused("taken"):
        add_cell("mgu", mgu, gates=2)
    with refused("taken"):
        add_cell("lstm", mgu, gates=2)
    with refused("bad-setting", field="cell"):
        ModelConfig(cell="mg")
    with refused("bad-setting", field="model"):
        charloom.train("corpus:us-constitution", model="mg")


@pytest.mark.usefixtures("mgu")
def test_the_reference_engine_alone_computes_it() -> None:
    model = ModelConfig(cell="mgu")
    assert pick_engine("auto", model) == pick_engine("auto", model, TrainConfig()) == "reference"
    for engine in ("compiled", "torch"):
        with refused("unsupported", asked=f"--engine {engine}"):
            pick_engine(engine, model)
    with refused("unsupported", asked="--accumulate"):
        pick_engine("auto", model, TrainConfig(accumulate=2))


def test_the_notebook_runs_from_top_to_bottom(capsys: pytest.CaptureFixture[str]) -> None:
    notebook = json.loads((EXAMPLES / "first_steps.ipynb").read_text("utf-8"))
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    assert sum("MINUTES = 0.5" in cell for cell in cells) == 1
    assert all(c["outputs"] == [] for c in notebook["cells"] if c["cell_type"] == "code")
    names: dict[str, Any] = {}
    for cell in cells:
        exec(cell.replace("MINUTES = 0.5", "MINUTES = 0.03"), names)
    assert names["losses"]
    printed = capsys.readouterr().out
    assert "after 'T': expects" in printed
    assert printed.count("Score(nats=") == 3


@pytest.mark.parametrize("name", LONGEST)
def test_the_whole_story_is_short_and_needs_numpy_at_most(name: str) -> None:
    content = (EXAMPLES / name).read_text("utf-8")
    assert len(content.splitlines()) <= LONGEST[name]
    assert "import charloom" not in content
    assert "from charloom" not in content
