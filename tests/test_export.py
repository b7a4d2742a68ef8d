"""A run as an ONNX file: what onnxruntime makes of it, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from charloom import __version__
from charloom.cli.export import export
from charloom.config import (
    DataConfig,
    ModelConfig,
    NetworkConfig,
    NgramConfig,
    PretrainedConfig,
    RunConfig,
    SampleConfig,
    TransformerConfig,
    replace,
)
from charloom.data.vocabulary import Vocabulary
from charloom.formats.onnx import DifferenceError, export_onnx
from charloom.formats.onnx.comparison import Comparison, compare
from charloom.generation.sampling import generate_ids
from charloom.models.engines import create_model
from charloom.models.protocols import LanguageModel
from charloom.models.weights import Weights, initial_weights, weight_shapes
from charloom.runs.open import open_model
from charloom.runs.run import Run
from every_cell import CELLS, recurrent
from expect import refused
from rounding import within_rounding
from small_runs import NEVER, config_of, played, write_text

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from charloom.formats.onnx.contents import contents  # noqa: E402
from charloom.formats.onnx.session import OnnxModel  # noqa: E402

EXAMPLE = Path(__file__).parents[1] / "examples" / "onnx_sample.py"
VOCABULARY = Vocabulary(tuple("\n abcdefg"))
V = len(VOCABULARY)
NETWORKS: list[NetworkConfig] = [
    recurrent(cell, layers=layers, hidden=6, embedding=embedding)
    for cell in CELLS
    for layers in (1, 2)
    for embedding in (0, 4)
]
NETWORKS += [
    ModelConfig(cell=cell, layers=2, hidden=6, gate=gate)
    for cell, gate in (("lstm", "hard-sigmoid-1/5"), ("gru", "hard-sigmoid-1/6"))
]
NETWORKS += [
    TransformerConfig(mixer=mixer, layers=2, width=8, heads=2, context=12, positions=positions)
    for mixer, positions in (
        ("mingru", "learned"),
        ("minlstm", "learned"),
        ("attention", "learned"),
        ("attention", "rotary"),
    )
]


def name_of(network: NetworkConfig) -> str:
    values = [getattr(network, field) for field in network.__struct_fields__[:4]]
    last = getattr(network, "positions", "") or (network.reset or network.gate)
    return "-".join(map(str, [*values, last]))


every_network = pytest.mark.parametrize("network", NETWORKS, ids=name_of)


def random_weights(network: Any) -> Weights:
    """Every number random, also those that begin as 0 or 1."""
    rng = np.random.default_rng(1)
    weights = initial_weights(network, V, 0)
    return {name: w + 0.3 * rng.normal(size=w.shape) for name, w in weights.items()}


def both(network: NetworkConfig) -> tuple[OnnxModel, LanguageModel]:
    """The network through onnxruntime, and in the reference engine."""
    weights = random_weights(network)
    content = contents(RunConfig(model=network), weights, VOCABULARY)
    return OnnxModel(content), create_model(network, weights, VOCABULARY, "reference", "float64")


def random_ids(B: int, T: int) -> np.ndarray:
    return np.random.default_rng(B * T).integers(0, V, (B, T), np.int32)


@every_network
def test_log_probs_are_those_of_the_reference_in_any_pieces(network: NetworkConfig) -> None:
    model, reference = both(network)
    assert isinstance(model, LanguageModel)
    ids = random_ids(3, 20)
    wanted, _ = reference.log_probs(ids, reference.start(3))
    np.testing.assert_allclose(model.log_probs(ids, model.start(3))[0], wanted, 0, 1e-5)
    state, parts = model.start(3), []
    for t in (0, 1, 8):
        part, state = model.log_probs(ids[:, t : {0: 1, 1: 8, 8: 15}[t]], state)
        parts.append(part)
    for t in range(15, 20):
        log_p, state = model.step(ids[:, t], state)
        parts.append(log_p[:, None])
    np.testing.assert_allclose(np.concatenate(parts, axis=1), wanted, 0, 1e-5)
    one, _ = model.log_probs(ids[1:2], model.start(1))
    np.testing.assert_allclose(one, wanted[1:2], 0, 1e-5)


two_networks = pytest.mark.parametrize("network", [NETWORKS[5], NETWORKS[-1]], ids=name_of)


@two_networks
def test_the_same_characters_are_drawn(network: NetworkConfig) -> None:
    model, reference = both(network)
    config, first = SampleConfig(), VOCABULARY.encode("bd")
    uniforms = np.random.default_rng(5).random((2, 200))
    drawn, _ = generate_ids(model, first, model.start(2), uniforms, config)
    read = np.column_stack([first, drawn[:, :-1]])
    log_p, _ = reference.log_probs(read, reference.start(2))
    # Not their own texts: within 1e-5, what float32 costs, one may draw the next id instead.
    for id, row, u in zip(drawn.flat, log_p.reshape(-1, V), uniforms.flat, strict=True):
        assert id in within_rounding(row, config, u, 1e-5)
    assert len({*drawn[0]}) > 5


@every_network
def test_the_file_says_what_it_holds(network: NetworkConfig) -> None:
    config = RunConfig(model=network, data=DataConfig(sources=("secret.txt",)), start="secret")
    content = contents(config, random_weights(network), VOCABULARY)
    model = onnx.load_from_string(content)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(facts["vocabulary"]) == [*VOCABULARY.characters]
    assert msgspec.json.decode(facts["config"], type=RunConfig).model == network
    assert facts["charloom"] == __version__
    assert b"secret" not in content
    names = [value.name for value in model.graph.input]
    assert [value.name for value in model.graph.output[1:]] == [f"{n}.after" for n in names[1:]]
    for word in ("ids (B, T)", "log_probs (B, T, V)", *facts):
        assert word in model.doc_string
    (opset,) = model.opset_import
    assert (opset.domain, opset.version, model.ir_version) == ("", 17, 8)


# Runs.


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("export")
    config = config_of(write_text(folder), engine="reference", watch=NEVER)
    return played(folder / "brigade", config)


def test_a_run_is_written_and_replaces_what_was_there(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    done = export_onnx(run, path)
    assert done.path == path
    assert done.size == path.stat().st_size
    assert done.parameters == sum(w.size for w in run.load_weights().values())
    assert done.comparison == compare(OnnxModel(path.read_bytes()), open_model(run))
    assert done.comparison.characters == done.comparison.same == 600
    assert 0 < done.comparison.difference < 1e-5
    path.write_text("mine")
    assert export_onnx(run, path) == done
    assert path.stat().st_size == done.size
    assert [*tmp_path.iterdir()] == [path]
    assert export_onnx(run, path, free=True).path == tmp_path / "a-2.onnx"


def test_a_place_that_cannot_be_written_to_is_named(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "missing" / "a.onnx"
    with refused("unwritable", path=str(path)):
        export_onnx(run, path)
    with refused("unwritable", path=str(tmp_path)):
        export_onnx(run, tmp_path)
    assert not [*tmp_path.iterdir()]


def test_nothing_is_written_where_the_two_differ(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.onnx"
    with monkeypatch.context() as patch:
        patch.setattr("charloom.formats.onnx.comparison.TOLERANCE", 0.0)
        with refused("bad-model", same=600, characters=600):
            export_onnx(run, path)

    def other(config: NetworkConfig, weights: Weights, *rest: Any, **more: Any) -> LanguageModel:
        biased = weights["head.b"] + np.arange(len(weights["head.b"]), dtype=np.float32)
        return create_model(config, weights | {"head.b": biased}, *rest, **more)

    monkeypatch.setattr("charloom.formats.onnx.export.create_model", other)
    with refused("bad-model", characters=600) as caught:
        export_onnx(run, path)
    assert isinstance(caught.value, DifferenceError)
    assert caught.value.status == 1
    assert caught.value.facts["difference"] > 1e-3
    assert not path.exists()


def test_a_comparison_fails_for_one_character_or_a_nan() -> None:
    assert Comparison(600, 600, 1e-5).passed
    assert not Comparison(600, 599, 1e-5).passed
    assert not Comparison(600, 600, 0.002).passed
    assert not Comparison(600, 600, float("nan")).passed


def with_model(run: Run, model: Any) -> Run:
    return Run(run.path, replace(run.config, model=model), run.vocabulary, run.corpus)


PRETRAINED = PretrainedConfig(source="gpt2", architecture={}, shapes={}, sha256="0" * 64, context=8)


@pytest.mark.parametrize(
    ("model", "facts"),
    [
        (NgramConfig(), {"kind": "ngram"}),
        (PRETRAINED, {"kind": "pretrained"}),
        (ModelConfig(hidden=20000), {}),
    ],
    ids=["ngram", "pretrained", "large"],
)
def test_what_cannot_be_written_is_refused(
    run: Run, tmp_path: Path, model: Any, facts: dict[str, str]
) -> None:
    with refused("unsupported", **facts):
        export_onnx(with_model(run, model), tmp_path / "a.onnx")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_the_extra(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with refused("missing-library", library=package):
        export_onnx(run, tmp_path / "a.onnx")


# The command, and the example.


def test_the_command_reports_what_it_wrote_and_checked(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(export, [str(run.path), "--onnx"])
    assert (result.exit_code, result.stderr) == (0, "")
    file, model, characters, difference = result.stdout.splitlines()
    assert file.split() == [
        *("file", "brigade.onnx:", f"{(tmp_path / 'brigade.onnx').stat().st_size:,}", "bytes")
    ]
    assert f"{sum(w.size for w in run.load_weights().values()):,}" in model
    assert "float32" in model
    assert "float64" in model
    assert "600" in characters.split()
    assert 0 < float(difference.split("by ")[1].split()[0]) < 1e-5
    again = CliRunner().invoke(export, [str(run.path), "--onnx"])
    assert "brigade-2.onnx:" in again.stdout.split()
    assert again.exit_code == 0


@two_networks
def test_the_example_writes_what_charloom_writes(network: NetworkConfig, tmp_path: Path) -> None:
    weights = random_weights(network)
    path = tmp_path / "a.onnx"
    path.write_bytes(contents(RunConfig(model=network), weights, VOCABULARY))
    result = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLE, path, "a bad cafe", "0"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""
    assert result.stdout[-1] == "\n"
    ids = VOCABULARY.encode(result.stdout[:-1])
    start = len("a bad cafe")
    assert (VOCABULARY.decode(ids[:start]), len(ids)) == ("a bad cafe", start + 300)
    assert len({*ids[start:]}) > 1
    model = create_model(network, weights, VOCABULARY, "reference", "float64")
    log_p = model.log_probs(ids[None, :-1], model.start(1))[0][0, start - 1 :]
    # The likeliest each time, or one as likely within twice the 1e-5 that float32 costs.
    assert (log_p[np.arange(300), ids[start:]] >= log_p.max(-1) - 2e-5).all()


def test_the_example_shows_no_boundary(tmp_path: Path) -> None:
    network, vocabulary = NETWORKS[0], Vocabulary.from_text("\0\nab")
    weights = {
        name: np.zeros(shape, np.float32)
        for name, shape in weight_shapes(network, len(vocabulary)).items()
    }
    weights["head.b"][vocabulary.boundary] = 1
    path = tmp_path / "a.onnx"
    path.write_bytes(contents(RunConfig(model=network), weights, vocabulary))
    command = [sys.executable, EXAMPLE, path, "ab", "0"]
    written = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    assert written == "ab" + "\n" * 301
