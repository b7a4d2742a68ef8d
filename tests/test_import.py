"""Models of older programs: what is read is what they predict, and the runs are ordinary runs."""

import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

import charloom
import old_files
from charloom import cli
from charloom.config import RunConfig
from charloom.evaluation import evaluate
from charloom.formats.old.importing import import_run
from charloom.formats.old.recognition import recognise
from charloom.runs.open import open_model
from charloom.runs.run import Run
from expect import error_of, refused
from old_files import (
    SHARED,
    T7,
    TEXT,
    TOKENS,
    Thing,
    bundle,
    char_rnn,
    loss,
    tensorflow,
    tensorflow_gru,
    torch_rnn,
)

PLACES = """Craighall
Llanfair
Upper Swell
Little Marlow
Newton Abbot
Kirkby Stephen
Ashby-de-la-Zouch
Stoke Newington
Great Yarmouth
Market Harborough
St Andrews
Bishop's Stortford
Aberystwyth
Weston-super-Mare
Nether Wallop
Chipping Norton
East Grinstead
Inverness
Burton upon Trent
Milton Keynes
"""


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def ours(run: Run, text: str = TEXT) -> float:
    model = open_model(run)
    return evaluate(model, model.vocabulary.whole(text), lanes=1).nats


def theirs(predict: Any, text: str = TEXT, tokens: Any = TOKENS) -> float:
    ids = np.array([tokens.index(character) for character in text])
    return loss(predict(ids), ids)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("old")


@pytest.mark.parametrize("batchnorm", [False, True], ids=["", "batchnorm"])
@pytest.mark.parametrize(("cell", "layers"), [("lstm", 2), ("lstm", 1), ("rnn", 2)])
def test_torch_rnn(tmp_path: Path, cell: str, layers: int, batchnorm: bool) -> None:
    root, predict = torch_rnn(cell, layers, batchnorm)
    run, found = import_run(write(tmp_path / "a.t7", T7().dump(root)), tmp_path / "run")
    assert ours(run) == pytest.approx(theirs(predict), abs=1e-5)
    assert found.program == run.config.imported == "torch-rnn"
    model = run.config.model
    assert (model.cell, model.layers, model.hidden) == (cell, layers, old_files.H)


@pytest.mark.parametrize("kind", ["Float", "Double", "Cuda"])
@pytest.mark.parametrize("long", [8, 4])
def test_tensors_of_each_kind_and_longs_of_32_bits(tmp_path: Path, kind: str, long: int) -> None:
    root, predict = char_rnn()
    path = write(tmp_path / "a.t7", T7(long, kind).dump(root))
    assert ours(import_run(path, tmp_path / "run")[0]) == pytest.approx(theirs(predict), abs=1e-5)


@pytest.mark.parametrize("named", [True, False], ids=["named", "by what they read"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_char_rnn(tmp_path: Path, cell: str, named: bool) -> None:
    root, predict = char_rnn(cell, named)
    run, found = import_run(write(tmp_path / "a.t7", T7().dump(root)), tmp_path / "run")
    assert ours(run) == pytest.approx(theirs(predict), abs=1e-5)
    assert found.data.validation == 0.05


def test_char_rnn_knows_bytes(tmp_path: Path) -> None:
    text = "é, è: naïveté\n" * 9
    tokens = sorted({bytes([byte]) for byte in text.encode()})[::-1]
    root, predict = char_rnn(tokens=tokens)
    run, _ = import_run(write(tmp_path / "a.t7", T7().dump(root)), tmp_path / "run")
    assert run.vocabulary.unit == "bytes"
    raw = [bytes([byte]) for byte in text.encode()]
    per_byte = theirs(predict, raw, tokens)
    assert ours(run, text) * (len(text) - 1) == pytest.approx(per_byte * (len(raw) - 1), abs=1e-3)


def test_what_cannot_be_bytes_of_utf_8_are_characters(tmp_path: Path) -> None:
    """As of a text that a program read byte by byte, or that Python 3 prepared for torch-rnn."""
    root, predict = char_rnn(tokens=[b" ", b"a", b"\xfc", b"\x93", b"\x81"])
    run, _ = import_run(write(tmp_path / "a.t7", T7().dump(root)), tmp_path / "run")
    assert run.vocabulary.unit == "characters"
    text = "a “ü aü “\x81 "
    assert ours(run, text) == pytest.approx(theirs(predict, text, [*" aü“\x81"]), abs=1e-5)
    names = {"[233]": "é", "[8220]": "“", "[128512]": "😀", "[195]": "Ã", "[169]": "©"}
    tokens = [*TOKENS[: -len(names)], *names]
    root, predict = torch_rnn(tokens=tokens)
    run, _ = import_run(write(tmp_path / "b.t7", T7().dump(root)), tmp_path / "other")
    text, tokens = "".join(TOKENS[:4]) + "😀Ã©", [names.get(token, token) for token in tokens]
    assert ours(run, text) == pytest.approx(theirs(predict, text, tokens), abs=1e-5)


@pytest.mark.parametrize("number", [55296, 1114112])
def test_a_number_that_is_no_character_is_refused(tmp_path: Path, number: int) -> None:
    root, _ = torch_rnn(tokens=[*TOKENS[1:], f"[{number}]"])
    with refused("damaged"):
        recognise(write(tmp_path / "a.t7", T7().dump(root)))


def test_a_decoder_beside_the_graph(tmp_path: Path) -> None:
    """As in char-rnn's first two weeks."""
    root, predict = char_rnn(named=False)
    nodes = root["protos"]["rnn"].fields["forwardnodes"]
    linear = nodes.pop().fields["data"]["module"]
    root["protos"]["softmax"] = Thing("nn.Sequential", modules=[linear, Thing("nn.LogSoftMax")])
    run, _ = import_run(write(tmp_path / "a.t7", T7().dump(root)), tmp_path / "run")
    assert ours(run) == pytest.approx(theirs(predict), abs=1e-5)


def test_what_says_it_is_a_gru_and_is_none_is_refused(tmp_path: Path) -> None:
    root, _ = char_rnn()
    root["opt"]["model"] = "gru"
    with refused("unsupported"):
        recognise(write(tmp_path / "a.t7", T7().dump(root)))


@pytest.mark.parametrize("embedding", [True, False], ids=["embedding", "one-hot"])
def test_tensorflow(tmp_path: Path, embedding: bool) -> None:
    arrays, predict = tensorflow(embedding)
    index = bundle(tmp_path / "model.ckpt-70", arrays)
    tokens = TOKENS if embedding else sorted(TOKENS)
    vocabulary = write(tmp_path / "chars_vocab.pkl", pickle.dumps((tuple(tokens), {"a": 0})))
    run, found = import_run(index, tmp_path / "run", vocabulary)
    assert ours(run) == pytest.approx(theirs(predict, TEXT, tokens), abs=1e-5)
    assert found.step == 70


def test_a_gru_of_tensorflow(tmp_path: Path) -> None:
    arrays, predict = tensorflow_gru()
    index = bundle(tmp_path / "model.ckpt-70", arrays)
    write(tmp_path / "chars_vocab.pkl", pickle.dumps((tuple(TOKENS), {})))
    run, _ = import_run(index, tmp_path / "run")
    assert ours(run) == pytest.approx(theirs(predict), abs=1e-5)


def test_tensorflow_by_its_parts_and_with_what_is_beside_it(tmp_path: Path) -> None:
    arrays, _ = tensorflow()
    bundle(tmp_path / "model.ckpt-70", arrays)
    write(tmp_path / "chars_vocab.pkl", pickle.dumps((tuple(TOKENS), {}), protocol=2))
    for n, name in enumerate(("", "model.ckpt-70", "model.ckpt-70.data-00000-of-00001")):
        run, _ = import_run(tmp_path / name, tmp_path / f"run-{n}" / "run")
        assert run.vocabulary.characters == tuple(sorted(TOKENS))
        (tmp_path / f"run-{n}" / "run").rename(tmp_path / f"run-{n}" / "done")


def test_the_text_of_rnn_text_generation_gives_its_characters(tmp_path: Path) -> None:
    arrays, predict = tensorflow(embedding=False)
    index = bundle(tmp_path / "model.ckpt", arrays)
    with refused("unsupported", characters=old_files.V):
        import_run(index, tmp_path / "run")
    text = write(tmp_path / "text.txt", TEXT.replace("the", "The").encode())
    run, _ = import_run(index, tmp_path / "run", text=str(text))
    assert ours(run) == pytest.approx(theirs(predict, TEXT, sorted(TOKENS)), abs=1e-5)
    assert run.read_text().content == TEXT.lower()
    assert run.parts().validation is None


def test_min_char_rnn(tmp_path: Path) -> None:
    V, H = old_files.V, old_files.H
    shapes = ((H, V), (H, H), (V, H), (H, 1), (V, 1))
    Wxh, Whh, Why, bh, by = old_files.numbers(*shapes)
    arrays = {"Wxh": Wxh, "Whh": Whh, "Why": Why, "bh": bh, "by": by}
    np.savez(tmp_path / "a.npz", **arrays, chars=np.array(TOKENS))
    run, _ = import_run(tmp_path / "a.npz", tmp_path / "run")
    h, rows = np.zeros((H, 1)), []
    for character in TEXT:
        h = np.tanh(Wxh[:, [TOKENS.index(character)]] + Whh @ h + bh)
        rows.append((Why @ h + by).ravel())
    nats = loss(old_files.log_softmax(np.array(rows)), np.array([*map(TOKENS.index, TEXT)]))
    assert ours(run) == pytest.approx(nats, abs=1e-5)
    for protocol in (2, 4, 5):
        content = pickle.dumps(arrays | {"chars": TOKENS, "hprev": Wxh}, protocol)
        path = write(tmp_path / f"{protocol}.pkl", content)
        pickled, _ = import_run(path, tmp_path / f"run{protocol}")
        assert ours(pickled) == pytest.approx(nats, abs=1e-5)
    with refused("unsupported"):
        recognise(write(tmp_path / "hostile.pkl", pickle.dumps(arrays | {"Why": Executed()})))
    with refused("unsupported"):
        recognise(write(tmp_path / "list.pkl", pickle.dumps([1, 2])))
    np.savez_compressed(tmp_path / "b.npz", **arrays)
    with refused("unsupported", characters=V):
        import_run(tmp_path / "b.npz", tmp_path / "other")
    write(tmp_path / "v.json", json.dumps({t: n for n, t in enumerate(TOKENS)}).encode())
    again, _ = import_run(tmp_path / "b.npz", tmp_path / "other", tmp_path / "v.json")
    assert ours(again) == pytest.approx(nats, abs=1e-5)


# The real files: read by hand here, with nothing of charloom.


@pytest.fixture(scope="module")
def towns() -> Path:
    path = SHARED / "torch-rnn-british-placenames.t7"
    if not path.exists():
        pytest.skip(f"{path.name} is not in ../shared/checkpoints")
    return path


@pytest.fixture(scope="module")
def shakespeare() -> Path:
    path = SHARED / "tf1-tinyshakespeare.index"
    if not path.exists():
        pytest.skip(f"{path.name} is not in ../shared/checkpoints")
    return path


def towns_by_hand(path: Path, order: str) -> float:
    """All weights stand in one storage, in the order of the layers."""
    content, V, D, H = path.read_bytes(), 84, 64, 128
    size = V * D + (D + H) * 4 * H + 4 * H + 2 * H * 4 * H + 4 * H + V * H + V
    mark = b"torch.FloatStorage" + size.to_bytes(8, "little")
    start = content.rindex(mark) + len(mark)  # the first one holds gradients
    left = np.frombuffer(content, "<f4", size, start).astype(np.float64)

    def take(*shape: int) -> Any:
        nonlocal left
        n = int(np.prod(shape))
        found, left = left[:n].reshape(shape), left[n:]
        return found

    E = take(V, D)
    layers = [(take(D + H, 4 * H), take(4 * H)), (take(2 * H, 4 * H), take(4 * H))]
    W, b = take(V, H), take(V)
    found = recognise(path)  # for the characters alone: their order is checked by the loss
    ids = np.array([found.tokens.index(character) for character in PLACES])
    x = E[ids]
    for matrix, bias in layers:
        x = old_files.lstm(x, matrix, bias, order)
    return loss(old_files.log_softmax(x @ W.T + b), ids)


def test_a_real_checkpoint_of_torch_rnn(towns: Path, tmp_path: Path) -> None:
    run, found = import_run(towns, tmp_path / "run")
    right = towns_by_hand(towns, "ifog")
    assert ours(run, PLACES) == pytest.approx(right, abs=1e-5)
    assert right < 2.5
    for order in itertools.permutations("ifo"):
        if order != ("i", "f", "o"):
            assert towns_by_hand(towns, "".join((*order, "g"))) > right + 1
    assert found.step == 8450
    assert len(found.losses) == 8450
    assert found.validation[8000] == pytest.approx(2.0054880)


def shakespeare_by_hand(index: Path, text: str, order: str, forget: float) -> float:
    """Offsets as the index has them, one read after the other: Adam's slots stand between."""
    data = index.with_name(index.stem + ".data-00000-of-00001").read_bytes()

    def take(offset: int, *shape: int) -> Any:
        n = int(np.prod(shape))
        return np.frombuffer(data, "<f4", n, offset).reshape(shape).astype(np.float64)

    V, H = 65, 128
    tokens = pickle.loads((index.with_name(index.stem + "-vocab.pkl")).read_bytes())
    ids = np.array([tokens.index(character) for character in text])
    x = take(OFFSETS["embedding"], V, H)[ids]
    for layer in (0, 1):
        W = take(OFFSETS[f"weights{layer}"], 2 * H, 4 * H)
        x = old_files.lstm(x, W, take(OFFSETS[f"biases{layer}"], 4 * H), order, forget)
    logits = x @ take(OFFSETS["softmax_w"], H, V) + take(OFFSETS["softmax_b"], V)
    return loss(old_files.log_softmax(logits), ids)


# bytes: a slot of Adam's has the size of its array, and two of them follow each
OFFSETS = {"embedding": 12}
_at = 12
for _name, _size in (
    *(("embedding", 65 * 128), ("biases0", 512), ("weights0", 256 * 512)),
    *(("biases1", 512), ("weights1", 256 * 512), ("softmax_b", 65), ("softmax_w", 128 * 65)),
):
    OFFSETS[_name] = _at
    _at += 3 * 4 * _size


def test_a_real_checkpoint_of_tensorflow(shakespeare: Path, tmp_path: Path) -> None:
    text = (SHARED.parent / "corpora" / "tiny-shakespeare.txt").read_text()[-3_000:]
    vocabulary = shakespeare.with_name(shakespeare.stem + "-vocab.pkl")
    run, _ = import_run(shakespeare, tmp_path / "run", vocabulary)
    right = shakespeare_by_hand(shakespeare, text, "igfo", 1.0)
    assert ours(run, text) == pytest.approx(right, abs=1e-5)
    assert right < 1.4 < 1.1 * right
    assert shakespeare_by_hand(shakespeare, text, "igfo", 0.0) > right + 0.05
    for order in itertools.permutations("ifo"):
        if order != ("i", "f", "o"):
            wrong = "".join((order[0], "g", *order[1:]))
            assert shakespeare_by_hand(shakespeare, text, wrong, 1.0) > right + 0.5


# The run is an ordinary run.


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    root, _ = torch_rnn()
    return import_run(write(folder / "a.t7", T7().dump(root)), folder / "run")[0]


@pytest.fixture(scope="module")
def with_text(folder: Path) -> Run:
    root, _ = torch_rnn()
    text = write(folder / "text.txt", (TEXT * 4).encode())
    return import_run(write(folder / "b.t7", T7().dump(root)), folder / "own", text=str(text))[0]


def test_its_history_becomes_metrics_without_anybody_s_paths(run: Run) -> None:
    lines = run.metrics()
    assert [line.step for line in lines if line.validation_loss is not None] == [1000, 2500]
    assert [line.validation_loss for line in lines if line.step in (1000, 2500)] == [2.5, 2.25]
    means = [(line.step, line.loss) for line in lines]
    assert means[0] == (3, pytest.approx(3.0 - 0.001))
    assert sum(line.characters == line.step * 40 for line in lines) == len(lines)
    assert run.config.train.iterations == 2500
    for path in run.path.rglob("*"):
        assert path.is_dir() or b"alice" not in path.read_bytes()


COMMANDS = {
    "sample": (["sample", "{run}", "--length", "40", "--seed", "1"], None),
    "evaluate": (["evaluate", "{run}"], "no-text"),
    "evaluate a text": (["evaluate", "{run}", "{text}"], None),
    "compare": (["compare", "{run}"], "no-text"),
    "compare on a text": (["compare", "{run}", "--text", "{text}"], None),
    "novelty": (["study", "novelty", "{run}"], "no-text"),
    "surprise": (["study", "surprise", "{run}", "{text}"], None),
    "neurons": (["study", "neurons", "{run}", "{text}"], None),
    "runs show": (["runs", "show", "{run}"], None),
    "runs show as JSON": (["runs", "show", "{run}", "--json"], None),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_take_it_or_say_what_is_missing(name: str, run: Run, with_text: Run) -> None:
    words, code = COMMANDS[name]
    names = {"run": str(run.path), "text": str(with_text.path.parent / "text.txt")}
    result = CliRunner().invoke(cli.charloom, [word.format(**names) for word in words])
    error = error_of(result)
    assert (None if error is None else error.code) == code, result.output


def test_with_its_text_it_holds_out_what_torch_rnn_did(with_text: Run) -> None:
    parts = with_text.parts()
    n = len(TEXT) * 4
    assert (len(parts.validation), len(parts.test)) == (n // 10, n // 10)
    result = CliRunner().invoke(cli.charloom, ["evaluate", str(with_text.path)])
    assert result.exit_code == 0, result.output


def test_training_goes_on_from_it(run: Run, with_text: Run, tmp_path: Path) -> None:
    text = with_text.path.parent / "text.txt"
    more = charloom.train(
        text, start=run.path, iterations=3, batch=2, length=8, out=tmp_path / "more"
    )
    assert more.config.imported is None
    assert ours(more) < ours(run)
    with refused("unsupported"):
        run.check_resumable()
    with refused("unsupported"):
        run.checkpoint("latest")


def test_a_report_and_a_plot_show_its_history(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for words in (["plot", str(run.path)], ["report", str(run.path)]):
        out = tmp_path / f"{words[0]}.{'svg' if words[0] == 'plot' else 'html'}"
        result = CliRunner().invoke(cli.charloom, [*words, "--out", str(out)])
        assert result.exit_code == 0, result.output
    assert "charloom import FILE" in (tmp_path / "report.html").read_text()


def test_what_the_command_says(tmp_path: Path) -> None:
    root, _ = torch_rnn()
    path = write(tmp_path / "a.t7", T7().dump(root))
    result = CliRunner().invoke(cli.charloom, ["import", str(path), "-o", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert "torch-rnn" in result.output
    assert "2,500 steps" in result.output
    again = CliRunner().invoke(cli.charloom, ["import", str(path), "-o", str(tmp_path / "run")])
    assert error_of(again).code == "taken"


# What is no such file.


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "unsupported"),
        (b"once upon a time", "unsupported"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "unsupported"),
        (b"\x03\0\0\0\x01\0\0\0\xff\xff\xff\x7f", "damaged"),
        (T7().dump({"a": 1}), "unsupported"),
        (T7().dump({"a": 1})[:-3], "damaged"),
        (b"PK\x03\x04" + bytes(40), "damaged"),
    ],
)
def test_what_is_none_is_refused(tmp_path: Path, content: bytes, code: Any) -> None:
    with refused(code):
        recognise(write(tmp_path / "x", content))


def test_a_folder_with_several_names_them(tmp_path: Path) -> None:
    with refused("not-found"):
        recognise(tmp_path)
    root, _ = torch_rnn()
    for name in "ab":
        write(tmp_path / name, T7().dump(root))
    with refused("unsupported"):
        recognise(tmp_path)


class Executed:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize("protocol", range(5))
def test_a_vocabulary_executes_nothing(
    tmp_path: Path, protocol: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    index = bundle(tmp_path / "model.ckpt", tensorflow()[0])
    hostile = write(tmp_path / "v.pkl", pickle.dumps([Executed()], protocol))
    with refused("unsupported"):
        import_run(index, tmp_path / "run", hostile)
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    "vocabulary",
    [
        pickle.dumps(TOKENS, 0),
        pickle.dumps({t: n for n, t in enumerate(TOKENS)}, 2),
        pickle.dumps(dict(enumerate(TOKENS)), 4),
        json.dumps({"idx_to_token": {str(n): t for n, t in enumerate(TOKENS, 1)}}).encode(),
        json.dumps(TOKENS).encode(),
    ],
    ids=["list", "ids of characters", "characters of ids", "torch-rnn's JSON", "JSON list"],
)
def test_a_vocabulary_in_each_form(tmp_path: Path, vocabulary: bytes) -> None:
    arrays, predict = tensorflow()
    index = bundle(tmp_path / "model.ckpt", arrays)
    run, _ = import_run(index, tmp_path / "run", write(tmp_path / "v", vocabulary))
    assert ours(run) == pytest.approx(theirs(predict), abs=1e-5)


def test_a_vocabulary_of_another_model_is_refused(tmp_path: Path) -> None:
    index = bundle(tmp_path / "model.ckpt", tensorflow()[0])
    with refused("unsupported", characters=old_files.V):
        import_run(index, tmp_path / "run", write(tmp_path / "v", json.dumps(TOKENS[1:]).encode()))


def test_a_run_of_an_earlier_version_says_nothing_of_programs() -> None:
    config = msgspec.json.decode(msgspec.json.encode(RunConfig()), type=dict[str, Any])
    del config["imported"]
    assert msgspec.convert(config, RunConfig).imported is None
