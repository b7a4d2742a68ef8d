"""Keras' .h5 files, written as each of its versions does, and what cannot be read of them."""

import io
import json
import zipfile
from itertools import chain, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import UNSET

import charloom
import old_files
from charloom.evaluation import evaluate
from charloom.formats.old.importing import import_run
from charloom.formats.old.recognition import recognise
from charloom.runs.open import open_model
from charloom.runs.run import Run
from expect import refused
from old_files import TEXT, TOKENS, H, V, gru, log_softmax, loss, lstm, numbers

h5py = pytest.importorskip("h5py")

GATES = {"activation": "tanh", "recurrent_activation": "sigmoid", "return_sequences": True}
SOFTMAX = {"activation": "softmax"}

Layer = tuple[str, dict[str, Any], dict[str, Any]]  # class, config, arrays by name


def write(
    path: Path, layers: list[Layer], listed: bool = False, nested: str = "", version: str = ""
) -> Path:
    """Write a model; Keras 1 and 2 `listed` the layers of a Sequential, later ones nest names."""
    configs = [
        {"class_name": kind, "config": {"name": f"{kind.lower()}_{n}"} | config}
        for n, (kind, config, _) in enumerate(layers)
    ]
    with h5py.File(path, "w") as file:
        config = configs if listed else {"name": "sequential", "layers": configs}
        if version:
            file.attrs["keras_version"] = version
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": config})
        for layer, (_, _, arrays) in zip(configs, layers, strict=True):
            group = file.create_group(f"model_weights/{layer['config']['name']}")
            names = [f"{nested}{layer['config']['name']}/{name}" for name in arrays]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, array in zip(names, arrays.values(), strict=True):
                group[name] = array
    return path


def names(*arrays: Any) -> dict[str, Any]:
    return {f"a{n}:0": array for n, array in enumerate(arrays)}


def ours(run: Run) -> float:
    model = open_model(run)
    return evaluate(model, model.vocabulary.whole(TEXT), lanes=1).nats


def imported(path: Path, folder: Path) -> Run:
    (folder / "v.json").write_text(json.dumps(TOKENS))
    return import_run(path, folder / "run", folder / "v.json")[0]


IDS = np.array([*map(TOKENS.index, TEXT)])
X = np.eye(V)[IDS]
Wx, Wh, b, Wx2, b2, W, bias = (
    a.astype(np.float64)
    for a in numbers((V, 4 * H), (H, 4 * H), (4 * H,), (H, 4 * H), (4 * H,), (H, V), (V,))
)
HEAD: Layer = ("Dense", SOFTMAX, names(W, bias))


def by_hand(*layers: tuple[Any, Any, Any], x: Any = X) -> float:
    for kernel, recurrent, biases in layers:
        x = lstm(x, np.concatenate([kernel, recurrent]), biases, "ifgo")
    return loss(log_softmax(x @ W + bias), IDS)


@pytest.mark.parametrize("version", ["2", "3"])
def test_two_layers_of_an_lstm(tmp_path: Path, version: str) -> None:
    layers: list[Layer] = [
        ("LSTM", GATES, names(Wx, Wh, b)),
        ("Dropout", {}, {}),
        ("LSTM", GATES, names(Wx2, Wh, b2)),
        HEAD,
    ]
    nested = "" if version == "2" else "sequential/"
    path = write(tmp_path / "a.h5", layers, listed=version == "2", nested=nested)
    wanted = by_hand((Wx, Wh, b), (Wx2, Wh, b2))
    assert ours(imported(path, tmp_path)) == pytest.approx(wanted, abs=1e-5)


def test_an_embedding_and_a_softmax_of_its_own(tmp_path: Path) -> None:
    (table,) = numbers((V, H), seed=3)
    layers: list[Layer] = [
        ("Embedding", {}, names(table)),
        ("LSTM", GATES, names(Wx2, Wh, b2)),
        ("TimeDistributed", {"layer": {"class_name": "Dense", "config": {}}}, names(W, bias)),
        ("Activation", SOFTMAX, {}),
    ]
    path = write(tmp_path / "a.h5", layers)
    wanted = by_hand((Wx2, Wh, b2), x=table[IDS])
    assert ours(imported(path, tmp_path)) == pytest.approx(wanted, abs=1e-5)


def test_twelve_arrays_of_keras_1(tmp_path: Path) -> None:
    blocks = [np.split(a, 4, axis=-1) for a in (Wx, Wh, b)]  # i f c o
    twelve = [blocks[part][gate] for gate in (0, 2, 1, 3) for part in range(3)]
    config = {"activation": "tanh", "inner_activation": "sigmoid"}
    layers: list[Layer] = [("LSTM", config, names(*twelve)), HEAD]
    path = write(tmp_path / "a.h5", layers, listed=True)
    assert ours(imported(path, tmp_path)) == pytest.approx(by_hand((Wx, Wh, b)), abs=1e-5)


def test_cudnn_s_layout(tmp_path: Path) -> None:
    (second,) = numbers((4 * H,), seed=5)
    seen = [k.T.reshape(V, H) for k in np.split(Wx, 4, axis=1)]
    across = [k.T for k in np.split(Wh, 4, axis=1)]
    arrays = (np.concatenate(seen, 1), np.concatenate(across, 1), np.concatenate([b, second]))
    layers: list[Layer] = [("CuDNNLSTM", {"return_sequences": True}, names(*arrays)), HEAD]
    path = write(tmp_path / "a.h5", layers)
    wanted = by_hand((Wx, Wh, b + second))
    assert ours(imported(path, tmp_path)) == pytest.approx(wanted, abs=1e-5)


def test_a_simple_rnn(tmp_path: Path) -> None:
    kernel, recurrent, biases = numbers((V, H), (H, H), (H,), seed=4)
    config = {"activation": "tanh", "return_sequences": True}
    path = write(tmp_path / "a.h5", [("SimpleRNN", config, names(kernel, recurrent, biases)), HEAD])
    wanted = loss(log_softmax(simple_rnn(kernel, recurrent, biases) @ W + bias), IDS)
    assert ours(imported(path, tmp_path)) == pytest.approx(wanted, abs=1e-5)


def simple_rnn(kernel: Any, recurrent: Any, biases: Any) -> Any:
    h, outputs = np.zeros(H), []
    for token in IDS:
        h = np.tanh(kernel[token] + h @ recurrent + biases)
        outputs.append(h)
    return np.array(outputs)


Ux, U, u, u2 = (
    a.astype(np.float64) for a in numbers((V, 3 * H), (H, 3 * H), (3 * H,), (3 * H,), seed=6)
)


def of_a_gru(order: str = "zrh", kept: str = "z", second: Any = None) -> float:
    return loss(log_softmax(gru(X, Ux, U, u, second, order, kept) @ W + bias), IDS)


@pytest.mark.parametrize("kind", ["after", "before", "Keras 1", "CuDNN"])
def test_a_gru(tmp_path: Path, kind: str) -> None:
    """Its gates are z r h, and z is what is kept of the state: other readings are far from ours."""
    second = u2 if kind in ("after", "CuDNN") else None
    config: dict[str, Any] = GATES | {"reset_after": kind == "after"}
    layer: Layer = ("GRU", config, names(Ux, U, u if second is None else np.stack([u, u2])))
    if kind == "Keras 1":
        gates = [[np.split(a, 3, axis=-1)[k] for a in (Ux, U, u)] for k in range(3)]
        config = {"activation": "tanh", "inner_activation": "sigmoid"}
        layer = ("GRU", config, names(*chain(*gates)))
    if kind == "CuDNN":
        seen = np.concatenate([k.T.reshape(V, H) for k in np.split(Ux, 3, axis=1)], 1)
        across = np.concatenate([k.T for k in np.split(U, 3, axis=1)], 1)
        arrays = names(seen, across, np.concatenate([u, u2]))
        layer = ("CuDNNGRU", {"return_sequences": True}, arrays)
    path = write(tmp_path / "a.h5", [layer, HEAD], listed=kind == "Keras 1")
    found = ours(imported(path, tmp_path))
    assert found == pytest.approx(of_a_gru(second=second), abs=1e-5)
    others = {of_a_gru("".join(order), second=second) for order in permutations("zrh")}
    others |= {
        of_a_gru(kept="1-z", second=second),
        of_a_gru(second=None if second is u2 else 0 * u),
    }
    assert sum(abs(other - found) > 1e-3 for other in others) == 7


@pytest.mark.parametrize(("version", "slope"), [("", 5), ("2.2.4", 5), ("3.15.1", 6)])
def test_hard_sigmoids(tmp_path: Path, version: str, slope: int, monkeypatch: Any) -> None:
    """The default before Keras 2.3; its slope is another in Keras 3."""
    name = "recurrent_activation" if version else "inner_activation"
    config = {"activation": "tanh", "return_sequences": True, name: "hard_sigmoid"}
    monkeypatch.setattr(old_files, "_sigmoid", lambda x: np.clip(x / slope + 0.5, 0, 1))
    for kind, arrays in (("LSTM", (Wx, Wh, b)), ("GRU", (Ux, U, u))):
        layer: Layer = (kind, config, names(*arrays))
        path = write(tmp_path / kind, [layer, HEAD], version=version)
        (tmp_path / "v.json").write_text(json.dumps(TOKENS))
        run, found = import_run(path, tmp_path / f"run-{kind}", tmp_path / "v.json")
        wanted = by_hand((Wx, Wh, b)) if kind == "LSTM" else of_a_gru()
        assert ours(run) == pytest.approx(wanted, abs=1e-5)
        assert found.model.gate == f"hard-sigmoid-1/{slope}"
        (tmp_path / "t.txt").write_text(TEXT)
        more = charloom.train(
            str(tmp_path / "t.txt"),
            start=run.path,
            iterations=2,
            batch=2,
            length=8,
            out=tmp_path / f"more-{kind}",
        )
        assert more.config.model.gate == found.model.gate


LSTM: Layer = ("LSTM", GATES, names(Wx, Wh, b))


@pytest.mark.parametrize(
    "layers",
    [
        [("LSTM", GATES | {"recurrent_activation": "relu"}, names(Wx, Wh, b)), HEAD],
        [("LSTM", GATES | {"go_backwards": True}, names(Wx, Wh, b)), HEAD],
        [("GRU", GATES | {"activation": "relu"}, names(Ux, U, u)), HEAD],
        [LSTM, ("AttentionWeightedAverage", {}, names(W)), HEAD],
        [LSTM, ("BatchNormalization", {}, names(bias)), HEAD],
        [LSTM, ("Dense", {"activation": "relu"}, names(W, bias))],
        [LSTM, ("LSTM", GATES, names(Wx[:H, :4], Wh[:1, :4], b[:4])), HEAD],
        [LSTM],
        [HEAD],
    ],
    ids=[
        *("gates", "backwards", "GRU", "attention", "normalization", "relu", "two sizes"),
        *("no head", "no cell"),
    ],
)
def test_what_charloom_would_predict_otherwise_is_refused(
    tmp_path: Path, layers: list[Layer]
) -> None:
    with refused("unsupported"):
        recognise(write(tmp_path / "a.h5", layers))


def write_weights(path: Path, layers: dict[str, dict[str, Any]], version: str = "2.9.0") -> Path:
    """Write what Keras 1 and 2 save of weights alone: arrays by the names of layers."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for name, arrays in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{part}".encode() for part in arrays]
            for part, array in arrays.items():
                group[f"{name}/{part}"] = array
    return path


def write_numbered(path: Any, layers: dict[str, list[Any]], top: str = "layers") -> Path:
    """Write what Keras 3 saves of weights alone: arrays by their numbers, and what is no weight."""
    with h5py.File(path, "w") as file:
        file.create_group(f"{top}/dropout/seed_generator/vars")["0"] = np.zeros(2, np.uint32)
        for name, arrays in layers.items():
            file.create_group(f"{top}/{name.partition('/')[0]}/vars")
            for n, array in enumerate(arrays):
                file[f"{top}/{name}/vars/{n}"] = array
        file.create_group("optimizer/vars")["0"] = np.zeros((3, 4), np.float32)
    return path


(E2,) = numbers((V, H), seed=3)
TWO = {"z": names(Wx2, Wh, b2), "a": names(Wx2, Wh, b)}  # not in the order of the alphabet
ALONE = {"table": names(E2), **TWO, "dropout_1": {}, "head": names(W, bias)}


def test_weights_alone_say_by_their_shapes_of_which_layers_they_are(tmp_path: Path) -> None:
    path = write_weights(tmp_path / "a.h5", ALONE)
    wanted = by_hand((Wx2, Wh, b2), (Wx2, Wh, b), x=E2[IDS])
    assert ours(imported(path, tmp_path)) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("top", ["layers", "_layer_checkpoint_dependencies"])
def test_weights_alone_of_keras_3(tmp_path: Path, top: str) -> None:
    more = {f"lstm_{n}/cell": [Wx2, Wh, b] for n in range(1, 11)}  # 10 comes behind 2
    more["lstm_10/cell"] = [Wx2, Wh, b2]
    layers = {"dense": [W, bias], "embedding": [E2], "lstm/cell": [Wx2, Wh, b2], **more}
    path = write_numbered(tmp_path / "a.weights.h5", layers, top)
    wanted = by_hand((Wx2, Wh, b2), *[(Wx2, Wh, b)] * 9, (Wx2, Wh, b2), x=E2[IDS])
    assert ours(imported(path, tmp_path)) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(("version", "slope"), [("2.2.4", 5), ("2.3.0", 0), ("2.2.4-tf", 0)])
def test_weights_alone_have_the_gates_that_were_usual_then(
    tmp_path: Path, version: str, slope: int
) -> None:
    layers = {"gru_1": names(Ux, U, u), "dense_1": names(W, bias)}
    found = recognise(write_weights(tmp_path / "a.h5", layers, version))
    assert found.model.gate == (f"hard-sigmoid-1/{slope}" if slope else UNSET)
    assert ("hard_sigmoid" in found.notes[0]) == bool(slope)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN", "TimeDistributed"])
def test_a_keras_archive(tmp_path: Path, kind: str) -> None:
    """Its config says which layers there are, and the classes which arrays they have."""
    arrays, config, cell = [Wx, Wh, b], GATES, "lstm/cell"
    if kind == "GRU":
        arrays, config, cell = [Ux, U, np.stack([u, u2])], GATES | {"reset_after": True}, "gru/cell"
    if kind == "SimpleRNN":
        arrays, cell = [Wx[:, :H], Wh[:, :H], b[:H]], "simple_rnn/cell"
    head, inside = "dense", ("Dense", SOFTMAX)
    if kind == "TimeDistributed":
        dense = {"class_name": "Dense", "config": SOFTMAX}
        head, inside = "time_distributed/layer", ("TimeDistributed", {"layer": dense})
    kinds = [("InputLayer", {}), ("Dropout", {}), inside]
    kinds.insert(1, (kind if kind != "TimeDistributed" else "LSTM", config))
    listed = [{"class_name": name, "config": settings} for name, settings in kinds]
    write_numbered(weights := io.BytesIO(), {cell: arrays, head: [W, bias]})
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps({"config": {"layers": listed}}))
        archive.writestr("model.weights.h5", weights.getvalue())
    x = {
        "GRU": lambda: gru(X, Ux, U, u, u2),
        "SimpleRNN": lambda: simple_rnn(Wx[:, :H], Wh[:, :H], b[:H]),
    }.get(kind, lambda: lstm(X, np.concatenate([Wx, Wh]), b, "ifgo"))()
    wanted = loss(log_softmax(x @ W + bias), IDS)
    assert ours(imported(tmp_path / "a.keras", tmp_path)) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(
    "layers",
    [
        {},
        {"lstm": {}},
        {"lstm": names(Wx, Wh, b)},
        {"bidirectional": names(Wx, Wh, b, Wx, Wh, b), "dense": names(W, bias)},
        {"lstm": names(Wx, Wh[:, 1:], b), "dense": names(W, bias)},
        {"lstm": names(Wx, Wh, b), "norm": names(bias, bias, bias, bias), "dense": names(W, bias)},
        {"lstm": names(Wx, Wh, b), "dense": names(W, bias), "dense_1": names(W, bias)},
    ],
    ids=["nothing", "no arrays", "no head", "both directions", "widths", "normalization", "heads"],
)
def test_weights_alone_of_other_layers_are_refused(tmp_path: Path, layers: Any) -> None:
    with refused("unsupported"):
        recognise(write_weights(tmp_path / "a.h5", layers))


def test_attention_alone_is_no_textgenrnn(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("attention")
    with refused("unsupported"):
        recognise(tmp_path / "a.h5")


def test_links_out_of_the_file_are_not_followed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", [LSTM, HEAD])
    write(tmp_path / "b.h5", [LSTM, HEAD])
    with h5py.File(path, "a") as file:
        del file["model_weights/lstm_0"]
        link = h5py.ExternalLink(str(tmp_path / "b.h5"), "/model_weights/lstm_0")
        file["model_weights/lstm_0"] = link
    with refused("damaged"):
        recognise(path)


def test_a_file_that_says_more_than_it_has_takes_no_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", [LSTM, HEAD])
    with h5py.File(path, "a") as file:
        del file["model_weights/lstm_0/lstm_0/a0:0"]
        group = file["model_weights/lstm_0/lstm_0"]
        group.create_dataset("a0:0", shape=(2**20, 2**20), dtype="f4", chunks=(64, 64))
    with refused("damaged"):
        recognise(path)


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.h5", [LSTM, HEAD])
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with refused("missing-library", library="h5py"):
        recognise(path)
