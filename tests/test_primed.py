"""Files that are compressed with what a run knows, or with a network that they bring."""

import dataclasses
import hashlib
import os
import random
import shutil
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from charloom import cli
from charloom.compression import Prior, compress, decompress, primed
from charloom.compression.container import MAGIC, open_file
from charloom.compression.primed import Header
from charloom.config import ModelConfig, replace
from charloom.data.dataset import NO_TEXT
from charloom.errors import CharloomError
from charloom.files import encode_json
from charloom.models.weights import weight_shapes
from charloom.runs.run import Run
from charloom.training.planning import prepare
from expect import error_of, refused
from small_runs import play

VERSE = "The wind blew cold; the wind blew long.\nAnd cold and long the night was: O! 1,000 ♥\n"
START = struct.Struct("<4sBI")
TINY = {"layers": 2, "hidden": 6, "batch": 2, "length": 12, "iterations": 20, "engine": "reference"}
CELLS = ("lstm", "gru", "rnn")
RUNS = (*CELLS, "several", "byte", "raw", "ngram", "transformer")


def run_of(path: Path, source: Path, model: str = "lstm", **given: Any) -> None:
    play(prepare([str(source)], {**TINY, "model": model, **given}, path).run)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of each kind, which tests only read."""
    folder = tmp_path_factory.mktemp("primed")
    (folder / "verse.txt").write_text(VERSE * 30)
    (folder / "picture").write_bytes(random.Random(0).randbytes(1500))
    (folder / "posts").mkdir()
    for number in range(8):
        (folder / "posts" / f"{number}.txt").write_text(f"Post {number}.\n{VERSE}")
    for cell in CELLS:
        run_of(folder / cell, folder / "verse.txt", cell)
    run_of(folder / "several", folder / "posts")
    run_of(folder / "byte", folder / "verse.txt", unit="byte")
    run_of(folder / "raw", folder / "picture", unit="byte")
    play(prepare([str(folder / "verse.txt")], {"model": "ngram"}, folder / "ngram").run)
    small = {"layers": 1, "batch": 2, "length": 12, "iterations": 1, "width": 8, "heads": 2}
    settings = {**small, "model": "transformer"}
    play(prepare([str(folder / "verse.txt")], settings, folder / "transformer").run)
    return folder


def packed_by(run: Path, content: bytes, embed: bool = False) -> bytes:
    return compress(content, prior=Prior.of_run(run), embed=embed).packed


CONTENTS = [
    b"",
    b"a",
    b"\0",
    b"\xff",
    VERSE.encode(),
    VERSE.encode() * 30,
    VERSE.encode("utf-16"),
    b"\0 between \0 two\r\n\0",
    "日本語 and 👩‍👩‍👧‍👦 e\u0301 \U0010ffff".encode(),
    b"cut in a character \xe2\x82",
    random.Random(1).randbytes(1000),
]


@pytest.mark.parametrize("name", RUNS)
def test_every_byte_comes_back(place: Path, name: str) -> None:
    prior = Prior.of_run(place / name)
    for content in CONTENTS:
        packed = compress(content, prior=prior).packed
        assert decompress(packed, "it.clm", run=str(place / name)) == content


@pytest.mark.parametrize("name", [*CELLS, "several", "byte", "raw"])
def test_a_file_that_brings_its_network_needs_no_run(place: Path, name: str) -> None:
    prior = Prior.of_run(place / name)
    for content in CONTENTS:
        done = compress(content, prior=prior, embed=True)
        assert 0 < done.brought < len(done.packed)
        assert decompress(done.packed, "it.clm") == content


def test_what_both_sides_have_need_not_be_sent(place: Path) -> None:
    content = VERSE.encode() * 3
    alone = len(compress(content).packed)
    for name in ("lstm", "ngram", "byte"):
        assert len(packed_by(place / name, content)) < 0.8 * alone


def test_an_imported_run_without_a_text_has_its_network(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "lstm", tmp_path / "run")
    (tmp_path / "run" / "corpus.json").write_bytes(encode_json(NO_TEXT))
    for name in ("ids.npy", "ids.json"):
        (tmp_path / "run" / name).unlink()
    packed = packed_by(tmp_path / "run", VERSE.encode())
    assert decompress(packed, "it.clm", run=str(tmp_path / "run")) == VERSE.encode()


def test_a_loss_is_per_character_even_if_bytes_are_read(place: Path) -> None:
    done = compress(VERSE.encode(), prior=Prior.of_run(place / "byte"))
    assert (done.symbols, done.is_text) == (len(VERSE), True)


def fixed_prior() -> Prior:
    """Weights, characters and a text that no version of a library changes."""
    config, symbols = ModelConfig(cell="gru", layers=2, hidden=5, embedding=3), sorted({*VERSE})
    weights, k = {}, 0
    for name, shape in weight_shapes(config, len(symbols)).items():
        numbers = [(7919 * n) % 1009 / 1009 - 0.5 for n in range(k, k + int(np.prod(shape)))]
        weights[name], k = np.array(numbers, np.float32).reshape(shape), k + len(numbers)
    text = np.array([symbols.index(c) for c in VERSE * 4], np.int32)
    counts = (np.bincount(text) + 1).tolist()
    return Prior("".join(symbols), False, 0, counts, text, 99, (config, weights))


@given(st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
def test_any_bytes_come_back(content: bytes) -> None:
    packed = compress(content, prior=fixed_prior(), embed=True).packed
    assert decompress(packed, "it.clm") == content


def test_the_same_file_is_written_on_every_machine() -> None:
    """It is what another processor wrote, and so that one decodes this."""
    content = (VERSE + "Another line.\n").encode() * 4
    digests = [
        hashlib.sha256(compress(content, prior=fixed_prior(), embed=embed).packed).hexdigest()[:16]
        for embed in (False, True)
    ]
    assert digests == ["412ac74c671ac570", "e011437764a591fc"]


@pytest.mark.torture
def test_a_processor_without_vector_instructions_writes_the_same_file(tmp_path: Path) -> None:
    """numba compiles for the least of them: SSE2, without AVX and fused multiplication."""
    least = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": ""}
    environment = {**os.environ, **least, "XDG_CACHE_HOME": str(tmp_path)}
    test = f"{__file__}::test_the_same_file_is_written_on_every_machine"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_without_its_run_a_file_is_refused_by_its_name(place: Path) -> None:
    packed = packed_by(place / "lstm", VERSE.encode())
    with refused("bad-setting", field="model", run="lstm"):
        decompress(packed, "it.clm")


def test_another_run_is_refused_and_what_differs_is_named(place: Path, tmp_path: Path) -> None:
    packed = packed_by(place / "lstm", VERSE.encode())
    with refused("other-settings", path="it.clm", differ=["weights"]):
        decompress(packed, "it.clm", run=str(place / "gru"))
    with refused("other-settings", differ=["characters", "text", "weights"]):
        decompress(packed, "it.clm", run=str(place / "several"))
    (tmp_path / "verse.txt").write_text(VERSE * 29 + VERSE[::-1])  # only what is held out
    run_of(tmp_path / "lstm", tmp_path / "verse.txt")
    with refused("other-settings", differ=["text"]):
        decompress(packed, "it.clm", run=str(tmp_path / "lstm"))


def test_a_checkpoint_that_is_gone_is_named(place: Path, tmp_path: Path) -> None:
    run_of(tmp_path / "run", place / "verse.txt", iterations=30)
    packed = packed_by(tmp_path / "run", VERSE.encode())
    with refused("not-found", step=30):
        decompress(packed, "it.clm", run=str(place / "lstm"))


def test_of_tokens_no_file_is_made(place: Path) -> None:
    folder = place / "pretrained"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    with refused("unsupported", path=str(folder)):
        Prior.of_run(folder)


@pytest.mark.parametrize("name", ["ngram", "transformer"])
def test_only_a_recurrent_network_can_be_brought(place: Path, name: str) -> None:
    with refused("unsupported"):
        packed_by(place / name, b"it", embed=True)


def test_a_rounded_network_is_nearly_as_good(place: Path) -> None:
    prior = Prior.of_run(place / "lstm")
    rounded = prior.embedded()[0]
    for name, array in prior.network[1].items():
        step = np.abs(array).max() / 31
        assert np.abs(rounded.network[1][name] - array).max() <= 0.501 * step


def test_few_bytes_do_not_become_a_large_network(monkeypatch: pytest.MonkeyPatch) -> None:
    prior = fixed_prior()
    config, weights = replace(prior.network[0], hidden=40), {}
    for name, shape in weight_shapes(config, len(prior.symbols)).items():
        weights[name] = np.zeros(shape, np.float32)
    nothing = dataclasses.replace(prior, network=(config, weights), name="nothing")
    with refused("unsupported", path="nothing"):
        compress(b"it", prior=nothing, embed=True)
    monkeypatch.setattr(primed, "MOST_WEIGHTS", 10**9)
    packed = compress(b"it", prior=nothing, embed=True).packed
    assert decompress(packed, "it.clm") == b"it"
    monkeypatch.undo()
    with refused("damaged", path="it.clm"):
        decompress(packed, "it.clm")


def trials(request: pytest.FixtureRequest, usual: int, full: int) -> int:
    return full if request.config.getoption("--full") else usual


@pytest.mark.reliability
@pytest.mark.parametrize("embed", [False, True], ids=["of a run", "with a network"])
def test_no_damaged_file_is_decoded_wrongly(
    place: Path, request: pytest.FixtureRequest, embed: bool
) -> None:
    rng, content = random.Random(0), VERSE.encode() * 2
    packed = packed_by(place / "lstm", content, embed)
    count = trials(request, 60, 2000)
    survived = 0
    for number in range(count):
        other = bytearray(packed)
        if number % 5:
            for _ in range(rng.choice((1, 2, 20))):
                other[rng.randrange(len(other))] ^= 1 << rng.randrange(8)
        else:
            del other[rng.randrange(len(other)) :]
        if number % 2 and len(other) > START.size:
            other[:9] = START.pack(MAGIC, 2, zlib.crc32(other[9:]))
        found = None
        with suppress(CharloomError):
            found = decompress(bytes(other), "it.clm", run=str(place / "lstm"))
        assert found in (None, content)
        survived += found is not None
    assert survived < count / 4


@pytest.mark.reliability
def test_random_files_come_back(place: Path, request: pytest.FixtureRequest) -> None:
    rng = random.Random(0)
    for number in range(trials(request, 16, 320)):
        run = place / RUNS[number % len(RUNS)]
        embed = number % 3 == 0 and run.name not in ("ngram", "transformer")
        V = rng.choice((1, 2, 3, 30, 256, 2000))
        text = "".join(chr(0x20 + rng.randrange(V)) for _ in range(rng.randrange(1000)))
        content = text.encode(rng.choice(("utf-8", "utf-16-le")), "surrogatepass")
        packed = packed_by(run, content, embed)
        assert decompress(packed, "it.clm", run=None if embed else str(run)) == content


@pytest.mark.parametrize(
    "changes",
    [
        {"extra": "T"},
        {"extra": "♣♣"},
        {"embedded": None},
        {"count": 2**31 - 1},
        {"run": "\x1b[31m"},
        {"digest": b""},
        {"is_text": False},
    ],
    ids=str,
)
def test_a_header_that_cannot_be_is_refused(place: Path, changes: dict[str, object]) -> None:
    refuse(packed_by(place / "lstm", VERSE.encode(), embed=True), changes, {})


@pytest.mark.parametrize(
    "changes",
    [
        {"config": ModelConfig(hidden=65536, layers=200)},
        {"config": ModelConfig(cell="rnn", layers=2, hidden=6)},
        {"symbols": "ab"},
        {"symbols": "a" * 40},
        {"first": 2**31 - 1},
        {"lengths": [1, 1]},
        {"lengths": [62] * 33},
        {"scales": []},
        {"scales": [1e30] * 8},
        {"scales": [float("nan")] * 8},
        {"size": 0},
        {"size": 2**31 - 1},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_a_network_that_cannot_be_is_refused(place: Path, changes: dict[str, object]) -> None:
    """Before memory is taken for it."""
    refuse(packed_by(place / "lstm", VERSE.encode(), embed=True), {}, changes)


def refuse(packed: bytes, changes: dict[str, object], inner: dict[str, object]) -> None:
    """Expect a file to be refused if fields of its header, or of its network, are others."""
    content = open_file(packed, "it.clm")
    header = msgspec.msgpack.decode(content.header, type=Header)
    embedded = msgspec.structs.replace(header.embedded, **inner)
    header = msgspec.structs.replace(header, **({"embedded": embedded} | changes))
    head = msgspec.msgpack.encode(header)
    rest = struct.pack("<I", len(head)) + head + content.code
    with refused("damaged", path="it.clm"):
        decompress(START.pack(MAGIC, 2, zlib.crc32(rest)) + rest, "it.clm")


@pytest.fixture
def here(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "novel.txt").write_bytes(VERSE.encode() * 3)
    return place


def charloom(*arguments: str, status: int = 0):
    result = CliRunner().invoke(cli.charloom, arguments)
    assert result.exit_code == status, result.output
    return result


def test_commands_take_a_run(here: Path) -> None:
    run = str(here / "gru")
    said = charloom("compress", "novel.txt", "--model", run, "-o", "novel.clm").stdout
    size = Path("novel.clm").stat().st_size
    assert run in said
    assert f"{8 * size / (3 * len(VERSE)):.3f} bits per character" in said
    result = charloom("decompress", "novel.clm", "-o", "again.txt", status=2)
    assert error_of(result).facts["field"] == "model"
    assert not Path("again.txt").exists()
    charloom("decompress", "novel.clm", "--model", run, "-o", "again.txt")
    assert Path("again.txt").read_bytes() == Path("novel.txt").read_bytes()


def test_commands_take_a_network_along(here: Path) -> None:
    options = "--model", str(here / "rnn"), "--embed"
    said = charloom("compress", "novel.txt", *options, "-o", "novel.clm").stdout
    assert f"{Path('novel.clm').stat().st_size:,} bytes for" in said
    charloom("decompress", "novel.clm", "-o", "again.txt")
    assert Path("again.txt").read_bytes() == Path("novel.txt").read_bytes()


def test_embed_needs_a_model(here: Path) -> None:
    result = charloom("compress", "novel.txt", "--embed", "-o", "it", status=2)
    assert error_of(result).facts["field"] == "embed"


def test_that_a_transformer_does_not_predict_is_said(here: Path) -> None:
    options = "--model", str(here / "transformer"), "-o", "novel.clm"
    assert "transformer" in charloom("compress", "novel.txt", *options).stderr
    assert (
        "transformer"
        not in charloom(
            "compress", "novel.txt", "--model", str(here / "lstm"), "-o", "novel.clm"
        ).stderr
    )


def test_a_run_that_was_trained_on_still_reads_its_files(place: Path, tmp_path: Path) -> None:
    """As long as the checkpoint is there that was the best."""
    run_of(tmp_path / "run", place / "verse.txt")
    packed = packed_by(tmp_path / "run", VERSE.encode())
    run = Run.open(tmp_path / "run")
    found = run.checkpoint("latest")
    step = found.meta.step + 1
    meta = msgspec.structs.replace(found.meta, step=step, best=None)
    run.save(found.weights | found.state, meta)
    assert decompress(packed, "it.clm", run=str(tmp_path / "run")) == VERSE.encode()
