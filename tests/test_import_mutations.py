"""Files of older programs with something changed: refused or read, never with another shape.

A file is changed in a few bytes or words, cut, or has a piece taken out or put in twice. What is
read must be the model that was saved, if with other numbers, and take little memory.
"""

import json
import pickle
import signal
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import UNSET

import old_files
from charloom.config import ModelConfig, replace
from charloom.errors import CharloomError
from charloom.formats.old import keras_files
from charloom.formats.old.importing import arranged, with_tokens
from charloom.formats.old.recognition import recognise
from charloom.models.weights import check_weights
from old_files import T7, TOKENS, bundle, char_rnn, tensorflow, torch_rnn

USUAL, FULL = 50, 1000  # of each kind
MOST_BYTES = 2**26  # of memory beyond the file's size
SOME = [0, 1, 2, 3, 4, 5, 8, 127, 128, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1]


def mutated(content: bytes, rng: np.random.Generator, kinds: int) -> bytes:
    found = bytearray(content)
    for _ in range(int(rng.integers(1, 3))):
        at = int(rng.integers(max(1, len(found))))
        match int(rng.integers(kinds)) if found else None:
            case 0:
                found[at] ^= 1 << int(rng.integers(8))
            case 1:
                found[at] = int(rng.integers(256))
            case 2:
                size = int(rng.choice([4, 8]))
                found[at : at + size] = SOME[int(rng.integers(len(SOME)))].to_bytes(size, "little")
            case 3:
                del found[at:]
            case 4:
                del found[at : at + int(rng.integers(1, 64))]
            case 5:
                found[at:at] = found[at : at + int(rng.integers(1, 64))]
    return bytes(found)


def small_t7(kind: str) -> bytes:
    """Keep the history short, so that changes fall on the model."""
    short = {"train_loss_history": [3.0, 2.5], "val_loss_history_it": [1, 2]}
    match kind:
        case "torch-rnn":
            return T7().dump(torch_rnn(**short)[0])
        case "torch-rnn with batchnorm":
            return T7(8, "Double").dump(torch_rnn("rnn", 1, True, **short)[0])
        case "char-rnn":
            return T7().dump(char_rnn()[0])
        case "char-rnn's GRU":
            return T7().dump(char_rnn("gru")[0])
        case _:
            return T7(4).dump(char_rnn("rnn", False)[0])


def npz(folder: Path, pickled: bool = False) -> bytes:
    V, H = old_files.V, old_files.H
    names = ("Wxh", "Whh", "Why", "bh", "by")
    arrays = old_files.numbers((H, V), (H, H), (V, H), (H, 1), (V, 1))
    if pickled:
        return pickle.dumps(dict(zip(names, arrays, strict=True)) | {"chars": TOKENS}, 4)
    np.savez(folder / "a.npz", **dict(zip(names, arrays, strict=True)), chars=np.array(TOKENS))
    return (folder / "a.npz").read_bytes()


def pytorch(path: Path, zipped: bool) -> bytes:
    torch = pytest.importorskip("torch")
    V, H = old_files.V, old_files.H
    parts = {"lstm": torch.nn.LSTM(V, H, 2), "fc": torch.nn.Linear(H, V)}
    what = {"state_dict": torch.nn.ModuleDict(parts).state_dict(), "tokens": tuple(TOKENS)}
    torch.save(what, path, _use_new_zipfile_serialization=zipped)
    return path.read_bytes()


def textgenrnn(path: Path) -> bytes:
    pytest.importorskip("h5py")
    import test_import_textgenrnn

    own = test_import_textgenrnn
    return own.write(path, own.arrays()).read_bytes()


def keras(path: Path) -> bytes:
    pytest.importorskip("h5py")
    from test_import_keras import HEAD, LSTM
    from test_import_keras import write as write_keras

    return write_keras(path, [LSTM, HEAD]).read_bytes()


KINDS = [
    *("torch-rnn", "torch-rnn with batchnorm", "char-rnn", "char-rnn of 32 bits"),
    *("TensorFlow's index", "TensorFlow's data", "npz", "a vocabulary"),
    *("PyTorch's archive", "PyTorch's earlier layout", "Keras' .h5"),
    *("char-rnn's GRU", "a pickle of arrays", "textgenrnn's weights"),
]
OWN = {  # written by the programs themselves
    "makemore's GRU": "makemore_gru.pt",
    "Keras 3's .keras": "keras3_gru.keras",
    "Keras 3's weights alone": "keras3.weights.h5",
    "Keras 2's weights alone": "keras2_weights.h5",
}
KINDS += OWN


def reader(kind: str, folder: Path) -> tuple[bytes, Callable[[bytes], Any]]:
    """Return what a file holds, and what reads another in its place."""

    def read_file(path: Path, then: Path) -> Callable[[bytes], Any]:
        def read(content: bytes) -> Any:
            path.write_bytes(content)
            return with_tokens(recognise(then), then, None, None)[0]

        return read

    if kind == "a vocabulary":
        model = recognise(bundle(folder / "model.ckpt-7", tensorflow()[0]))

        def read_tokens(content: bytes) -> Any:
            (folder / "vocabulary").write_bytes(content)
            return with_tokens(model, folder, folder / "vocabulary", None)[0]

        return pickle.dumps((tuple(TOKENS), {t: n for n, t in enumerate(TOKENS)}), 2), read_tokens
    if kind.startswith("TensorFlow"):
        index = bundle(folder / "model.ckpt-7", tensorflow()[0])
        (folder / "chars_vocab.pkl").write_bytes(pickle.dumps((TOKENS, {})))
        data = index.with_name("model.ckpt-7.data-00000-of-00001")
        path = index if kind.endswith("index") else data
        return path.read_bytes(), read_file(path, index)
    path = folder / "file"
    if kind in OWN:
        data = Path(__file__).parent / "data" / "old"
        tokens = [*json.loads((data / "losses.json").read_bytes())[OWN[kind]]["characters"]]
        (folder / "chars_vocab.pkl").write_bytes(pickle.dumps((tokens, {})))
        return (data / OWN[kind]).read_bytes(), read_file(path, path)
    if kind.startswith("Keras"):
        (folder / "chars_vocab.pkl").write_bytes(pickle.dumps((TOKENS, {})))
        return keras(path), read_file(path, path)
    if kind.startswith("textgenrnn"):
        path = folder / "a_weights.hdf5"
        return textgenrnn(path), read_file(path, path)
    if kind.startswith("PyTorch"):
        return pytorch(path, "archive" in kind), read_file(path, path)
    content = small_t7(kind) if "rnn" in kind else npz(folder, kind != "npz")
    return content, read_file(path, path)


def shape_of(found: Any, kind: str) -> Any:
    _, weights = arranged(found)
    V = 256 if isinstance(found.tokens, bytes) else found.size  # of a character, a byte was made
    check_weights(weights, found.model, V)
    model = found.model
    if isinstance(model, ModelConfig) and kind == "Keras 2's weights alone":
        model = replace(model, gate=UNSET)  # these are told by the version of Keras
    return found.program, model, found.size


def outcomes(kind: str, folder: Path, count: int) -> Iterator[str]:
    content, read = reader(kind, folder)
    right = shape_of(read(content), kind)
    rng = np.random.default_rng(KINDS.index(kind))
    tracemalloc.start()
    try:
        for number in range(count):
            changed = mutated(content, rng, 3 if number % 2 else 6)  # of the same length, or not
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            try:
                found = shape_of(read(changed), kind)
            except CharloomError as error:
                yield error.code
            except Exception as error:
                pytest.fail(f"{kind}, change {number}: {error!r}")
            else:
                assert found == right, f"{kind}, change {number}: {found}"
                yield "the same shape"
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < len(changed) + MOST_BYTES, f"{kind}, change {number}"
    finally:
        tracemalloc.stop()


FORKING = """
import os, signal, sys
import h5py
from charloom.formats.old import keras_files
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        path = line.removesuffix("\\n")
        sys.argv, sys.stdout = ["", path], open(path + ".out", "w")
        sys.stderr = open(os.devnull, "w")
        keras_files.main()
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Read files of Keras in forks of a process that has loaded HDF5: 0.2 s less for each."""

    def run(command: list[str], timeout: float, **_: Any) -> subprocess.CompletedProcess[bytes]:
        assert server.stdin is not None
        assert server.stdout is not None
        print(command[-1], file=server.stdin, flush=True)
        status = int(server.stdout.readline())
        if status == -signal.SIGALRM:
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(
            command, status, Path(command[-1] + ".out").read_bytes(), b""
        )

    command = [sys.executable, "-c", FORKING]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        monkeypatch.setattr(keras_files.subprocess, "run", run)
        yield
        server.communicate()


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_file_is_refused_or_the_same_model(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    full = request.config.getoption("--full")
    count = FULL if full else USUAL
    if kind.startswith(("Keras", "textgenrnn")):  # each is read in a process of its own
        if full:
            request.getfixturevalue("forked")
        else:
            count //= 10
    found = Counter(outcomes(kind, tmp_path, count))
    print(kind, dict(found))
    assert sum(found.values()) == count
    assert count > found["the same shape"]
