"""textgenrnn's weights: read as it predicts by them, which is worked out here once more."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from charloom import cli
from charloom.config import AttentiveConfig, TrainConfig
from charloom.data.boundary import BOUNDARY
from charloom.evaluation import evaluate
from charloom.formats.old.importing import import_run
from charloom.models.engines import create_learner, create_model
from charloom.models.protocols import LanguageModel
from charloom.runs.open import open_model
from charloom.runs.run import Run
from expect import error_of, refused
from old_files import TEXT, TOKENS, log_softmax, loss, lstm, numbers

h5py = pytest.importorskip("h5py")

V, D, H, C = len(TOKENS) + 1, 5, 4, 7  # with <s>, without what stands before a text
F = D + 2 * H
VOCABULARY = {token: n for n, token in enumerate([*TOKENS, "<s>"], 1)}


def arrays(cudnn: bool = False) -> dict[str, list[Any]]:
    """Return the arrays by layer, with the bias that cuDNN has."""
    biases = (8 if cudnn else 4) * H
    shapes = [(V + 1, D), (D, 4 * H), (H, 4 * H), (biases,), (H, 4 * H), (H, 4 * H), (biases,)]
    found = numbers(*shapes, (F, 1), (F, V + 1), (V + 1,), seed=8)
    cuts = {"embedding": (0, 1), "rnn_1": (1, 4), "rnn_2": (4, 7), "attention": (7, 8)}
    return {name: found[a:b] for name, (a, b) in (cuts | {"output": (8, 10)}).items()}


def write(path: Path, layers: dict[str, list[Any]], window: int = C) -> Path:
    with h5py.File(path, "w") as file:
        for name, own in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/a{n}:0".encode() for n in range(len(own))]
            for n, array in enumerate(own):
                group[f"{name}/a{n}:0"] = array
        file.create_group("rnn_concat").attrs["weight_names"] = np.array([], "S1")
    stem = path.name.removesuffix("_weights.hdf5")
    (path.parent / f"{stem}_vocab.json").write_text(json.dumps(VOCABULARY))
    (path.parent / f"{stem}_config.json").write_text(json.dumps({"max_length": window}))
    return path


def plain(kernel: Any, recurrent: Any, bias: Any) -> tuple[Any, Any]:
    """Return a layer's matrix and bias as plain Keras has them, gates i f c o."""
    width, size = len(kernel), len(recurrent)
    if len(bias) == 8 * size:
        kernel = np.hstack([k.reshape(size, width).T for k in np.hsplit(kernel, 4)])
        recurrent = np.hstack([k.T for k in np.hsplit(recurrent, 4)])
        bias = bias[: 4 * size] + bias[4 * size :]
    return np.vstack([kernel, recurrent]).astype(np.float64), bias.astype(np.float64)


def by_hand(layers: dict[str, list[Any]], ids: Any, window: int = C) -> Any:
    """Return what follows ids[: t + 1] for each t: (T, V), ids from 1 on, without id 0."""
    rows = []
    for t in range(len(ids)):
        seen = [*ids[max(0, t + 1 - window) : t + 1]]
        x = layers["embedding"][0].astype(np.float64)[[0] * (window - len(seen)) + seen]
        parts = [x]
        for name in ("rnn_1", "rnn_2"):
            x = lstm(x, *plain(*layers[name]), "ifgo")
            parts.append(x)
        s = np.hstack(parts)
        a = np.exp(s @ layers["attention"][0][:, 0])
        rows.append((a / a.sum()) @ s @ layers["output"][0] + layers["output"][1])
    return log_softmax(np.array(rows)[:, 1:])


@pytest.fixture(params=[False, True], ids=["LSTM", "CuDNNLSTM"])
def imported(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Run, Any]:
    layers = arrays(request.param)
    path = write(tmp_path / "mine_weights.hdf5", layers)
    return import_run(path, tmp_path / "run")[0], layers


def ours(run: Run, text: str = TEXT, engine: Any = "auto") -> float:
    model = open_model(run, engine)
    return evaluate(model, model.vocabulary.encode(text), lanes=1).nats


@pytest.mark.parametrize("engine", ["reference", "compiled"])
def test_it_predicts_what_textgenrnn_does(imported: tuple[Run, Any], engine: str) -> None:
    run, layers = imported
    ids = np.array([VOCABULARY[character] for character in TEXT])
    wanted = loss(by_hand(layers, ids), ids - 1)
    assert ours(run, engine=engine) == pytest.approx(wanted, abs=1e-5)
    assert run.config.model == AttentiveConfig(layers=2, hidden=H, embedding=D, window=C)
    assert run.vocabulary.characters == (BOUNDARY, *sorted(TOKENS))


def test_at_once_or_one_by_one_and_nothing_is_seen_across_a_boundary(
    imported: tuple[Run, Any],
) -> None:
    model = open_model(imported[0])
    assert isinstance(model, LanguageModel)
    ids = model.vocabulary.encode("the cat" + BOUNDARY + "the hat")[None].repeat(2, 0)
    whole, end = model.log_probs(ids, model.start(2))
    state = model.start(2)
    for t in range(ids.shape[1]):
        before = state.copy()
        step, after = model.step(ids[:, t], state)
        np.testing.assert_array_equal(state, before)
        np.testing.assert_allclose(step, whole[:, t], rtol=0, atol=1e-5)
        state = after
    np.testing.assert_array_equal(state, end)
    np.testing.assert_allclose(np.exp(whole).sum(-1), 1, atol=1e-5)
    fresh, _ = model.log_probs(ids[:, 7:], model.start(2))
    np.testing.assert_allclose(whole[:, 7:], fresh, rtol=0, atol=1e-5)
    with refused("bad-array"):
        model.step(np.array([V]), model.start(1))


COMMANDS = {
    "sample": (["sample", "{run}", "--length", "20", "--seed", "1"], None),
    "a document": (["sample", "{run}", "--document", "--seed", "1", "--length", "50"], None),
    "evaluate": (["evaluate", "{run}", "{text}"], None),
    "compare": (["compare", "{run}", "--text", "{text}"], None),
    "surprise": (["study", "surprise", "{run}", "{text}"], None),
    "show": (["runs", "show", "{run}"], None),
    "report": (["report", "{run}", "--out", "{out}"], None),
    "neurons": (["study", "neurons", "{run}", "{text}"], "unsupported"),
    "adapt": (["evaluate", "{run}", "{text}", "--adapt"], "unsupported"),
    "train": (["train", "{text}", "--from", "{run}", "--iterations", "1"], "unsupported"),
    "onnx": (["export", "{run}", "--onnx", "--out", "{out}"], "unsupported"),
    "npz": (["export", "{run}", "--npz", "--out", "{out}"], "unsupported"),
    "torch": (["export", "{run}", "--torch", "--out", "{out}"], "unsupported"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_take_it_or_say_why_not(tmp_path: Path, name: str) -> None:
    words, code = COMMANDS[name]
    if name == "report":
        pytest.importorskip("matplotlib")
    run, _ = import_run(write(tmp_path / "a_weights.hdf5", arrays()), tmp_path / "run")
    (tmp_path / "text.txt").write_text(TEXT)
    places = {"run": run.path, "text": tmp_path / "text.txt", "out": tmp_path / "out"}
    result = CliRunner().invoke(cli.charloom, [word.format(**places) for word in words])
    error = error_of(result)
    assert (None if error is None else error.code) == code, result.output


def test_the_torch_engine_and_learners_refuse_it(tmp_path: Path) -> None:
    run, _ = import_run(write(tmp_path / "a_weights.hdf5", arrays()), tmp_path / "run")
    with refused("unsupported", engine="torch"):
        create_model(run.config.model, run.load_weights(), run.vocabulary, "torch")
    with refused("unsupported"):
        create_learner(run.config.model, TrainConfig(), V)  # type: ignore[arg-type]


@pytest.mark.parametrize("what", ["words", "both directions", "contexts", "another shape"])
def test_what_it_does_not_read_is_refused(tmp_path: Path, what: str) -> None:
    layers = arrays()
    if what == "both directions":
        layers["rnn_1"] *= 2
    if what == "contexts":
        layers["context_output"] = layers["output"]
    if what == "another shape":
        layers["output"] = [layers["output"][0][:, 1:], layers["output"][1]]
    path = write(tmp_path / "a_weights.hdf5", layers)
    if what == "words":
        (tmp_path / "a_config.json").write_text('{"word_level": true}')
    with refused("damaged" if what == "another shape" else "unsupported"):
        import_run(path, tmp_path / "run")


SHIPPED = os.environ.get("CHARLOOM_TEXTGENRNN", "")


@pytest.mark.torture
@pytest.mark.skipif(not SHIPPED, reason="CHARLOOM_TEXTGENRNN names no textgenrnn_weights.hdf5")
def test_the_shipped_weights(tmp_path: Path) -> None:
    """Those of the package textgenrnn 2.0.0, which are CuDNNLSTM's, beside their vocabulary."""
    path, text = Path(SHIPPED), "What is the best way to learn a language?"
    run, _ = import_run(path, tmp_path / "run")
    vocabulary = json.loads(path.with_name("textgenrnn_vocab.json").read_bytes())
    ids = np.array([vocabulary[character] for character in text])
    with h5py.File(path) as file:
        layers = {
            name: [np.array(group[n]) for n in group.attrs["weight_names"]]
            for name, group in file.items()
            if len(group.attrs["weight_names"])
        }
    right = loss(by_hand(layers, ids, 40), ids - 1)
    assert ours(run, text) == pytest.approx(right, abs=1e-5)
    assert right < 2
