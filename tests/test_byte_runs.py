"""Runs that read a text by the byte, and files that are no text."""

import json
import math
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import charloom
from charloom import cli
from charloom.analysis.comparison import compare
from charloom.analysis.neurons import neurons
from charloom.analysis.surprise import surprise
from charloom.config import DataConfig, ModelConfig, SampleConfig, TrainConfig, replace
from charloom.data.byte_vocabulary import ByteVocabulary
from charloom.data.raw_bytes import CHARACTERS, raw_bytes, raw_text
from charloom.data.vocabulary import Vocabulary
from charloom.evaluation import evaluate
from charloom.formats.onnx.export import export_onnx
from charloom.generation.sampling import generate
from charloom.models.engines import create_learner
from charloom.report.reproduction import command
from charloom.runs.open import open_model
from charloom.runs.run import Run
from charloom.training.loop import train
from charloom.training.planning import prepare
from expect import refused
from small_runs import STEPS, config_of, copied, outcome, play, played, stopped

POEM = "Grün, €5 a line,\nсоловей, 東京 and 😀.\n" * 40
BINARY = random.Random(0).randbytes(2000)
TINY = {"model": "lstm", "hidden": 6, "layers": 1, "batch": 2, "length": 12, "engine": "reference"}


def run_of(path: Path, source: Path, **given: Any) -> Run:
    settings = {**TINY, "iterations": 20, "unit": "byte", **given}
    run = prepare([str(source)], settings, path).run
    play(run)
    return run


def invoke(*arguments: str, status: int = 0) -> Result:
    result = CliRunner(capture="fd").invoke(cli.charloom, arguments)
    assert result.exit_code == status, result.output
    return result


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files and runs, which tests only read."""
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "poem.txt").write_text(POEM)
    (folder / "picture.png").write_bytes(BINARY)
    posts = folder / "posts"
    posts.mkdir()
    for number in range(8):
        (posts / f"{number}.txt").write_text(f"Post {number}: naïve.\n" * (5 + number % 3))
    run_of(folder / "poem", folder / "poem.txt")
    run_of(folder / "picture", folder / "picture.png")
    run_of(folder / "several", posts)
    return folder


@pytest.fixture(scope="module")
def poem(place: Path) -> Run:
    return Run.open(place / "poem")


@pytest.fixture(scope="module")
def picture(place: Path) -> Run:
    return Run.open(place / "picture")


def test_a_text_is_its_bytes_cut_between_characters(poem: Run) -> None:
    parts = poem.parts()
    assert poem.vocabulary == ByteVocabulary()
    assert parts.validation is not None
    texts = [bytes(part.astype(np.uint8)).decode() for part in (parts.train, parts.validation)]
    assert "".join(texts) == POEM
    assert len(texts[1]) == len(POEM) // 10


def test_losses_are_per_character(poem: Run) -> None:
    model, ids = open_model(poem), poem.parts().train
    log_probs, _ = model.log_probs(ids[None, :-1], model.start(1))
    nats = -np.take_along_axis(log_probs[0], ids[1:, None].astype(int), 1).sum()
    characters = len(poem.vocabulary.decode(ids)) - 1
    assert evaluate(model, ids, lanes=1).nats == pytest.approx(float(nats) / characters, rel=1e-6)


@pytest.mark.parametrize("engine", ["reference", "compiled", "torch"])
def test_an_update_tells_the_loss_per_character(engine: Any) -> None:
    if engine == "torch":
        pytest.importorskip("torch")
    config = ModelConfig(cell="gru", hidden=4), TrainConfig(batch=2, length=9, optimizer="sgd")
    data = np.frombuffer("東京 and é, соловей.".encode(), np.uint8)[:20].reshape(2, 10)
    told = []
    for lengths in (None, ByteVocabulary().lengths):
        learner = create_learner(*config, 256, engine, "float64", 0, lengths)
        losses = [learner.loss(data[:, :-1], data[:, 1:])]
        losses.append(float(learner.update(data[:, :-1], data[:, 1:], 0.5)))
        losses.append(learner.loss(data[:, :-1], data[:, 1:]))
        told.append(losses)
    characters = ByteVocabulary().lengths[data[:, 1:]].sum()
    assert told[1] == pytest.approx([loss * 18 / characters for loss in told[0]])


def test_a_step_in_which_no_character_begins_has_a_finite_loss() -> None:
    for engine in ("reference", "compiled"):
        config = ModelConfig(hidden=2), TrainConfig(batch=1, length=1)
        learner = create_learner(*config, 256, engine, "float64", 0, ByteVocabulary().lengths)  # type: ignore[arg-type]
        ids = np.frombuffer("é".encode(), np.uint8)[None]
        assert math.isfinite(learner.update(ids[:, :1], ids[:, 1:], 0.1))


def test_a_run_begins_with_how_often_each_byte_is_there(place: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", place / "poem.txt", iterations=1, learning_rate=0.0)
    shares = np.exp(run.load_weights()["head.b"])
    counts = np.bincount(run.parts().train, minlength=256) + 1
    np.testing.assert_allclose(shares, counts / counts.sum(), rtol=1e-5)


@pytest.mark.parametrize("at", [0, 7, STEPS - 1])
def test_a_stopped_run_goes_on_to_the_same_bits(place: Path, tmp_path: Path, at: int) -> None:
    config = config_of(place / "poem.txt")
    config = replace(config, data=replace(config.data, unit="byte"))
    whole = played(tmp_path / "whole", config)
    run = stopped(tmp_path / "stopped", config, at)
    play(Run.open(run.path), resume=True)
    assert outcome(run) == outcome(whole)


def test_ids_that_are_lost_are_made_again(place: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", place / "poem.txt")
    before = (run.path / "ids.npy").read_bytes()
    (run.path / "ids.npy").unlink()
    (run.path / "ids.json").unlink()
    Run.open(run.path).dataset()
    assert (run.path / "ids.npy").read_bytes() == before


def test_a_sample_is_text_and_goes_on_from_characters_that_were_never_seen(poem: Run) -> None:
    model, config = open_model(poem), SampleConfig(seed=1)
    pieces = [*generate(model, config, "Ñandú \U0001f9a4", length=80)]
    assert len("".join(pieces)) == 80
    assert "".join(pieces) == "".join(generate(model, config, "Ñandú \U0001f9a4", length=80))
    assert all(piece.encode() for piece in pieces)


def test_documents_begin_and_end(place: Path) -> None:
    run = Run.open(place / "several")
    assert (run.vocabulary.boundary, run.config.data.boundaries) == (0, True)
    text = "".join(generate(open_model(run), SampleConfig(seed=2), "é", 500, document=True))
    assert "\0" not in text
    assert len(text) <= 500


def test_without_documents_there_is_no_boundary(poem: Run) -> None:
    with refused("unsupported", field="document"):
        generate(open_model(poem), SampleConfig(seed=2), document=True)


def test_the_command_line_trains_on_any_file(place: Path, tmp_path: Path) -> None:
    options = [f"--{n}={v}" for n, v in TINY.items()]
    source, out = str(place / "picture.png"), str(tmp_path / "run")
    invoke("train", source, "--unit", "byte", "--iterations=5", *options, "-o", out)
    run = Run.open(out)
    assert (run.vocabulary, run.config.data.raw) == (Vocabulary(CHARACTERS), True)
    assert raw_bytes(run.read_text().content) == BINARY
    scores = json.loads(invoke("evaluate", out, "--json").output)["scores"]
    assert scores[0]["characters"] == len(BINARY) // 10
    assert json.loads(invoke("evaluate", out, source, "--json").output)["scores"][0]["nats"] > 0
    for words in (["runs", "show", out], ["study", "surprise", out], ["compare", out]):
        invoke(*words)


def test_a_file_that_is_no_text_is_refused_by_the_character(place: Path, tmp_path: Path) -> None:
    with refused("not-text"):
        prepare([str(place / "picture.png")], TINY | {"iterations": 5}, tmp_path / "run")


def test_what_a_run_of_bytes_writes_is_bytes(place: Path, picture: Run) -> None:
    command = [sys.executable, "-m", "charloom", "sample", str(picture.path), "--length", "300"]
    command += ["--seed", "1", "--prompt"]
    done = subprocess.run([*command, b"\x89PNG\xff"], capture_output=True, check=True)
    assert done.stdout.startswith(b"\x89PNG\xff")
    assert len(done.stdout) == 5 + 300
    model = open_model(picture)
    prompt = raw_text(b"\x89PNG\xff")
    text = "".join(generate(model, SampleConfig(seed=1), prompt, length=300))
    assert done.stdout == raw_bytes(prompt + text)


def test_bytes_can_be_piped_in(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "charloom", "train", "-", "--unit", "byte", "--out", "run"]
    options = [f"--{n}={v}" for n, v in TINY.items()] + ["--iterations", "3"]
    subprocess.run([*command, *options], input=BINARY, cwd=tmp_path, check=True)
    run = Run.open(tmp_path / "run")
    assert raw_bytes(run.read_text().content) == BINARY


def test_in_a_folder_what_is_no_text_is_left_out(place: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("é\n" * 100)
    (tmp_path / "b.png").write_bytes(BINARY)
    run = prepare([str(tmp_path)], {**TINY, "unit": "byte", "iterations": 2}, place / "folder").run
    assert (run.config.data.raw, run.corpus.characters) == (False, 200)


@pytest.mark.parametrize("name", ["poem", "picture"])
def test_a_run_begins_with_the_weights_of_another(place: Path, tmp_path: Path, name: str) -> None:
    source = next(place.glob(f"{name}.*"))
    given: Mapping[str, Any] = {"iterations": 2, "batch": 2, "learning_rate": 0.0}
    run = prepare([str(source)], {**given, "start": str(place / name)}, tmp_path / "run").run
    play(run)
    then, now = Run.open(place / name), run.load_weights("latest")
    assert run.vocabulary == then.vocabulary
    for array, old in then.load_weights().items():
        assert np.array_equal(now[array], old)


def test_a_run_of_another_unit_has_no_weights_for_it(place: Path) -> None:
    source = str(place / "poem.txt")
    with refused("bad-setting", field="unit"):
        prepare([source], {"start": str(place / "poem"), "unit": "character", "iterations": 1})


def test_text_does_not_go_on_with_a_file_that_is_none(place: Path) -> None:
    with refused("not-text"):
        prepare([str(place / "picture.png")], {"start": str(place / "poem"), "iterations": 1})


def test_runs_of_two_units_compare_on_one_text(place: Path, poem: Run, tmp_path: Path) -> None:
    characters = run_of(tmp_path / "characters", place / "poem.txt", unit="character")
    found = compare([characters, poem], sampling_seconds=0)
    assert {e.name for e in found.entries if e.kind == "run"} == {
        str(characters.path),
        str(poem.path),
    }
    assert found.characters == len(POEM) // 10


def test_each_character_has_the_surprise_of_its_bytes(poem: Run) -> None:
    found = surprise(open_model(poem), "a 東京 😀")
    assert len(found.by_character()) == len("a 東京 😀") - 1
    assert found.score.nats == pytest.approx(evaluate(open_model(poem), found_ids(poem)).nats)


def found_ids(run: Run) -> Any:
    return run.vocabulary.whole("a 東京 😀")


def test_a_cell_is_looked_at_after_each_character(poem: Run) -> None:
    text = 'He said "é €" and Went.\n' * 30
    found = neurons(poem, text)
    assert len(found.states.values) == len(text)


def test_onnx_is_of_characters(poem: Run, tmp_path: Path) -> None:
    with refused("unsupported", unit="bytes"):
        export_onnx(poem, tmp_path / "poem.onnx")


def test_an_n_gram_model_counts_bytes(place: Path, tmp_path: Path) -> None:
    given = {"model": "ngram", "unit": "byte", "order": 5}
    run = prepare([str(place / "poem.txt")], given, tmp_path / "run").run
    assert [*train(run)]
    final = run.final()
    assert final is not None
    assert final.score.nats < 1


def test_a_report_tells_the_command_of_the_run(poem: Run, picture: Run) -> None:
    for run in (poem, picture):
        words = command(run).split()
        assert words[words.index("--unit") + 1] == "byte"
        values = parsed(words[2:])
        assert values["unit"] == "byte"


def parsed(words: list[str]) -> dict[str, Any]:
    """Return what the options of a command line give; raises if there is none of that name."""
    with cli.train.train.make_context("train", words) as context:
        return context.params


def test_from_python(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = charloom.train(place / "poem.txt", out=out, unit="byte", iterations=3, hidden=4, layers=1)
    model = charloom.load(run)
    assert model.sample("\U0001f9a4", length=5, seed=0).startswith("\U0001f9a4")
    assert model.evaluate(place / "poem.txt").characters == len(POEM)


@pytest.mark.parametrize("document", ['["a", "b"]', '{"unit": "byte", "boundary": false}'])
def test_a_vocabulary_of_something_else_is_damaged(
    picture: Run, tmp_path: Path, document: str
) -> None:
    run = copied(picture, tmp_path / "run")
    (run.path / "vocabulary.json").write_text(document)
    with refused("damaged"):
        Run.open(run.path)


def test_settings_say_what_was_learned(poem: Run, picture: Run) -> None:
    data = [run.config.data for run in (poem, picture)]
    assert [(d.unit, d.raw) for d in data] == [("byte", False), ("byte", True)]
    assert (DataConfig().unit, DataConfig().raw) == ("character", False)
