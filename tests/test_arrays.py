"""A run's weights as arrays for NumPy and PyTorch: they predict the same there."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from msgspec import UNSET

from charloom.cli.export import export
from charloom.config import DataConfig, ModelConfig, NgramConfig, RunConfig
from charloom.data.text import Text
from charloom.data.vocabulary import Vocabulary
from charloom.formats.arrays import export_npz, export_torch
from charloom.models.engines import create_model
from charloom.models.versions import versions
from charloom.models.weights import initial_weights
from charloom.runs.meta import Meta
from charloom.runs.run import Run
from every_cell import CELLS, recurrent
from expect import refused

EXAMPLE = Path(__file__).parents[1] / "examples" / "torch_sample.py"
VOCABULARY = Vocabulary(tuple("\n abcdefg"))
V = len(VOCABULARY)
IDS = np.random.default_rng(0).integers(0, V, (1, 40))
MODELS = [
    recurrent(cell, layers=2, hidden=6, embedding=embedding)
    for cell in CELLS
    for embedding in (0, 4)
]
HARD = ModelConfig(cell="lstm", hidden=4, gate="hard-sigmoid-1/5")


def saved(folder: Path, model: Any) -> Run:
    """Return a run with random weights, the biases, too."""
    config = RunConfig(model=model, data=DataConfig(validation=0.0), dtype="float64")
    run = Run.create(folder, config, VOCABULARY, Text.from_string("abc defg\n" * 9, "text"))
    rng = np.random.default_rng(1)
    weights = initial_weights(model, V, 0)
    weights = {name: w + 0.3 * rng.normal(size=w.shape) for name, w in weights.items()}
    run.save(weights, Meta(step=1, seconds=0.0, best=None, versions=versions("reference")))
    return run


def log_probs(run: Run, weights: Any = None) -> np.ndarray:
    weights = run.load_weights() if weights is None else weights
    model = create_model(run.config.model, weights, VOCABULARY, "reference", "float64")
    return model.log_probs(IDS, model.start(1))[0][0]


@pytest.mark.parametrize("model", [*MODELS, HARD], ids=repr)
def test_numpy_has_the_arrays_and_the_characters(tmp_path: Path, model: ModelConfig) -> None:
    run = saved(tmp_path / "run", model)
    path, size = export_npz(run, tmp_path / "a.npz")
    assert size == path.stat().st_size
    with np.load(path) as arrays:
        found = dict(arrays)
    assert tuple(map(chr, found.pop("characters"))) == VOCABULARY.characters
    assert found.pop("reset", UNSET) == model.reset
    assert found.pop("gate", UNSET) == model.gate
    np.testing.assert_array_equal(log_probs(run, found), log_probs(run))


@pytest.mark.torch
@pytest.mark.parametrize("model", [m for m in MODELS if m.reset != "state"], ids=repr)
def test_pytorch_predicts_the_same(
    tmp_path: Path, model: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    run = saved(tmp_path / "run", model)
    path, _ = export_torch(run, tmp_path / "a.safetensors")
    monkeypatch.setattr(sys, "argv", ["torch_sample.py", str(path), "abc"])
    example: dict[str, Any] = {"__name__": "example"}
    exec(compile(EXAMPLE.read_text(), str(EXAMPLE), "exec"), example)
    found = example["read"](IDS[0])[0].detach().numpy()
    np.testing.assert_allclose(found, log_probs(run), 0, 1e-5)


@pytest.mark.torch
def test_the_example_writes_text_without_charloom(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    export_torch(saved(tmp_path / "run", MODELS[3]), tmp_path / "a.safetensors")
    script = f"""
import runpy, sys
sys.modules["charloom"] = None
sys.argv = ["torch_sample.py", "a.safetensors", "abc", "0.5"]
runpy.run_path({str(EXAMPLE)!r}, run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert len(done.stdout.removesuffix("\n")) == len("abc") + 300
    assert {*done.stdout} <= {*VOCABULARY.characters}


@pytest.mark.parametrize("model", [recurrent("gru, state", hidden=4), HARD], ids=repr)
def test_a_cell_that_pytorch_does_not_have_is_refused(tmp_path: Path, model: ModelConfig) -> None:
    run = saved(tmp_path / "run", model)
    with refused("unsupported", path=run.path):
        export_torch(run, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_other_models_are_refused(tmp_path: Path) -> None:
    text = Text.from_string("abc defg\n" * 9, "text")
    config = RunConfig(model=NgramConfig(), data=DataConfig(validation=0.0))
    run = Run.create(tmp_path / "run", config, VOCABULARY, text)
    for write in (export_npz, export_torch):
        with refused("unsupported"):
            write(run, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_what_the_command_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "run", MODELS[0])
    for kind, name in (("--npz", "run.npz"), ("--torch", "run.safetensors")):
        result = CliRunner().invoke(export, ["run", kind])
        assert result.exit_code == 0, result.output
        assert name in result.output
        assert Path(name).exists()
    assert CliRunner().invoke(export, ["run"]).exit_code == 2
