"""A run as a model of Keras: it predicts the same there, and what is written is read again."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import old_files
from charloom.cli.export import export
from charloom.config import DataConfig, ModelConfig, NgramConfig, RunConfig
from charloom.data.text import Text
from charloom.data.vocabulary import Vocabulary
from charloom.formats.keras import export_keras
from charloom.formats.old.importing import import_run
from charloom.models.engines import create_model
from charloom.models.versions import versions
from charloom.models.weights import initial_weights
from charloom.runs.meta import Meta
from charloom.runs.open import open_model
from charloom.runs.run import Run
from every_cell import CELLS, recurrent
from expect import refused

pytest.importorskip("h5py")

VOCABULARY = Vocabulary(tuple("\n abcdefg"))
V = len(VOCABULARY)
IDS = np.random.default_rng(0).integers(0, V, (1, 40))
MODELS = [recurrent(cell, layers=2, hidden=6, embedding=E) for cell in CELLS for E in (0, 4)]
MODELS.append(ModelConfig(cell="lstm", hidden=6, embedding=4, gate="hard-sigmoid-1/6"))

PREDICT = """
import json, sys
import keras
import numpy as np
ids = np.array(json.loads(sys.argv[1]))
for path in sys.argv[2:]:
    model = keras.saving.load_model(path, compile=False)
    print(json.dumps(model(ids).log()[0].tolist()))
"""


def saved(folder: Path, model: ModelConfig) -> Run:
    """Return a run with random weights, the biases, too."""
    config = RunConfig(model=model, data=DataConfig(validation=0.0))
    run = Run.create(folder, config, VOCABULARY, Text.from_string("abc defg\n" * 9, "text"))
    rng = np.random.default_rng(1)
    weights = initial_weights(model, V, 0)
    weights = {
        name: (w + 0.3 * rng.normal(size=w.shape)).astype(np.float32) for name, w in weights.items()
    }
    run.save(weights, Meta(step=1, seconds=0.0, best=None, versions=versions("reference")))
    return run


def log_probs(run: Run) -> np.ndarray:
    model = create_model(run.config.model, run.load_weights(), VOCABULARY, "reference")
    return model.log_probs(IDS, model.start(1))[0][0]


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_what_is_written_is_read_as_the_same_model(tmp_path: Path, model: ModelConfig) -> None:
    run = saved(tmp_path / "run", model)
    path, size = export_keras(run, tmp_path / "a.h5")
    assert size == path.stat().st_size
    again, found = import_run(path, tmp_path / "again")
    assert again.vocabulary == VOCABULARY
    assert found.model.gate == model.gate
    if model.cell == "gru":  # Keras has no GRU with one bias and the reset after the product
        assert found.model.reset == (model.reset or "biased-product")
    predicts = open_model(again)
    ours, _ = predicts.log_probs(IDS, predicts.start(1))
    np.testing.assert_allclose(ours[0], log_probs(run), rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_by_the_formulas_of_keras_it_predicts_the_same(
    tmp_path: Path, model: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read here once more, with nothing of charloom: gates i f c o and z r h."""
    import h5py

    run = saved(tmp_path / "run", model)
    path, _ = export_keras(run, tmp_path / "a.h5")
    with h5py.File(path) as file:
        config = json.loads(file.attrs["model_config"])["config"]["layers"][1:]
        group = file["model_weights"]
        found = [[group[layer][n][()] for n in group[layer].attrs["weight_names"]]
                 for layer in (one["config"]["name"] for one in config)]  # fmt: skip
    (table,), *layers, (W, b) = found
    x = table[IDS[0]].astype(np.float64)
    if model.gate:
        monkeypatch.setattr(old_files, "_sigmoid", lambda a: np.clip(a / 6 + 0.5, 0, 1))
    for kernel, recurrent_kernel, bias in layers:
        if model.cell == "lstm":
            x = old_files.lstm(x, np.concatenate([kernel, recurrent_kernel]), bias, "ifgo")
        elif model.cell == "gru":
            first, second = bias if bias.ndim == 2 else (bias, None)
            x = old_files.gru(x, kernel, recurrent_kernel, first, second)
        else:
            h, rows = np.zeros(len(bias)), []
            for row in x:
                h = np.tanh(row @ kernel + h @ recurrent_kernel + bias)
                rows.append(h)
            x = np.array(rows)
    np.testing.assert_allclose(old_files.log_softmax(x @ W + b), log_probs(run), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.torch
def test_keras_predicts_the_same(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    if find_spec("keras") is None:  # importing it would load the backend that it is set to
        pytest.skip("needs keras")
    runs = [saved(tmp_path / f"run{n}", model) for n, model in enumerate(MODELS)]
    paths = [str(export_keras(run, run.path.with_suffix(".h5"))[0]) for run in runs]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREDICT, json.dumps(IDS.tolist()), *paths],
        capture_output=True,
        text=True,
        check=False,
        env={"KERAS_BACKEND": "torch", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(runs)
    for predicted, run in zip(found, runs, strict=True):
        np.testing.assert_allclose(
            predicted, log_probs(run), rtol=0, atol=1e-5, err_msg=repr(run.config.model)
        )


def test_other_models_are_refused(tmp_path: Path) -> None:
    text = Text.from_string("abc defg\n" * 9, "text")
    config = RunConfig(model=NgramConfig(), data=DataConfig(validation=0.0))
    ngram = Run.create(tmp_path / "ngram", config, VOCABULARY, text)
    hard = saved(tmp_path / "hard", ModelConfig(cell="lstm", hidden=4, gate="hard-sigmoid-1/5"))
    for run in (ngram, hard):
        with refused("unsupported", path=run.path):
            export_keras(run, tmp_path / "a.h5")
    assert not (tmp_path / "a.h5").exists()


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = saved(tmp_path / "run", MODELS[0])
    monkeypatch.setitem(sys.modules, "h5py", None)
    with refused("missing-library", library="h5py"):
        export_keras(run, tmp_path / "a.h5")


def test_what_the_command_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "run", MODELS[0])
    result = CliRunner().invoke(export, ["run", "--keras"])
    assert result.exit_code == 0, result.output
    assert "load_model('run.h5')" in result.output
    assert (tmp_path / "run.h5").exists()
