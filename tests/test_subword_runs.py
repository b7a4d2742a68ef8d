"""Runs that read a text by subwords of their own, and by words."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tokenizers")

from charloom.analysis.comparison import compare
from charloom.analysis.surprise import surprise
from charloom.config import SampleConfig, replace
from charloom.data.subwords import Subwords
from charloom.evaluation import evaluate
from charloom.formats.onnx.export import export_onnx
from charloom.generation.sampling import generate
from charloom.models.engines import create_model
from charloom.runs.open import open_model
from charloom.runs.run import Run
from charloom.training.planning import prepare
from expect import refused
from small_runs import STEPS, config_of, outcome, play, played, stopped

LINE = "The {} of the naïve sea, number {}, sang.\n"
POEM = "".join(LINE.format("wind" if n % 3 else "wave", n % 17) for n in range(200))
TINY = {"model": "lstm", "hidden": 6, "layers": 1, "batch": 2, "length": 12, "engine": "reference"}
UNITS = ["bpe", "word"]


def run_of(path: Path, source: Path, **given: Any) -> Run:
    run = prepare([str(source)], {**TINY, "iterations": 20, **given}, path).run
    play(run)
    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, a folder of texts and runs, which tests only read."""
    folder = tmp_path_factory.mktemp("subwords")
    (folder / "poem.txt").write_text(POEM)
    posts = folder / "posts"
    posts.mkdir()
    for number in range(8):
        (posts / f"{number}.txt").write_text(LINE.format("post", number) * (5 + number % 3))
    for unit in UNITS:
        run_of(folder / unit, folder / "poem.txt", unit=unit)
    run_of(folder / "several", posts, unit="bpe")
    run_of(folder / "character", folder / "poem.txt")
    return folder


@pytest.fixture(params=UNITS)
def run(place: Path, request: pytest.FixtureRequest) -> Run:
    return Run.open(place / request.param)


def test_a_run_keeps_its_tokens(run: Run) -> None:
    assert isinstance(run.vocabulary, Subwords)
    parts = run.parts()
    assert parts.validation is not None
    texts = [run.vocabulary.decode(part) for part in (parts.train, parts.validation)]
    assert "".join(texts) == POEM
    assert len(texts[1]) == len(POEM) // 10
    assert len(parts.train) < len(texts[0]) / 2


def test_the_training_loss_is_per_character(run: Run) -> None:
    told = [line.loss for line in run.metrics() if line.loss is not None]
    characters = [m.loss for m in Run.open(run.path.parent / "character").metrics() if m.loss]
    assert 0 < told[-1] < 3.5
    assert 0 < characters[-1] < 5
    score = evaluate(open_model(run), run.parts().train)
    assert score.characters == len(POEM) - len(POEM) // 10


@pytest.mark.parametrize("at", [0, STEPS - 1])
def test_a_stopped_run_goes_on_to_the_same_bits(place: Path, tmp_path: Path, at: int) -> None:
    config = config_of(place / "poem.txt")
    config = replace(config, data=replace(config.data, unit="bpe"))
    whole = played(tmp_path / "whole", config)
    run = stopped(tmp_path / "stopped", config, at)
    play(Run.open(run.path), resume=True)
    assert outcome(run) == outcome(whole)


def test_ids_that_are_lost_are_made_again(place: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", place / "poem.txt", unit="word")
    before = (run.path / "ids.npy").read_bytes()
    (run.path / "ids.npy").unlink()
    Run.open(run.path).dataset()
    assert (run.path / "ids.npy").read_bytes() == before


def test_a_sample_goes_on_from_characters_that_were_never_seen(run: Run) -> None:
    model, config = open_model(run), SampleConfig(seed=1)
    text = "".join(generate(model, config, "Ñandú \U0001f9a4", length=80))
    assert len(text) == 80


def test_documents_begin_and_end(place: Path) -> None:
    run = Run.open(place / "several")
    assert run.vocabulary.boundary is not None
    text = "".join(generate(open_model(run), SampleConfig(seed=2), "é", 300, document=True))
    assert "\0" not in text
    assert len(text) <= 300


def test_engines_agree(run: Run) -> None:
    weights, ids = run.load_weights(), run.parts().train[:200]
    nats = [
        evaluate(create_model(run.config.model, weights, run.vocabulary, engine), ids).nats
        for engine in ("reference", "compiled")
    ]
    assert nats[0] == pytest.approx(nats[1], rel=1e-4)


def test_runs_of_all_units_compare_on_one_text(place: Path) -> None:
    runs = [Run.open(place / name) for name in (*UNITS, "character")]
    found = compare(runs, sampling_seconds=0)
    assert sum(entry.kind == "run" for entry in found.entries) == 3
    assert found.characters == len(POEM) // 10


def test_a_token_shares_its_surprise_among_its_characters(run: Run) -> None:
    found = surprise(open_model(run), "The wind of the naïve sea")
    assert found.score.nats == pytest.approx(found.by_character().mean())


def test_a_run_begins_with_the_weights_of_another_and_its_tokens(
    place: Path, run: Run, tmp_path: Path
) -> None:
    given = {"start": str(run.path), "iterations": 2, "batch": 2, "length": 12}
    new = prepare([str(place / "posts")], given, tmp_path / "run").run
    play(new)
    assert new.vocabulary == run.vocabulary
    assert new.vocabulary.boundary is None
    assert not new.config.data.boundaries


def test_a_run_of_another_unit_has_no_weights_for_it(place: Path, run: Run) -> None:
    with refused("bad-setting", field="unit"):
        given = {"start": str(run.path), "unit": "character", "iterations": 1}
        prepare([str(place / "poem.txt")], given)


def test_onnx_is_of_characters(run: Run, tmp_path: Path) -> None:
    with refused("unsupported", unit="tokens"):
        export_onnx(run, tmp_path / "poem.onnx")


def test_an_n_gram_model_counts_tokens(place: Path, tmp_path: Path) -> None:
    given = {"model": "ngram", "unit": "word", "order": 3}
    run = prepare([str(place / "poem.txt")], given, tmp_path / "run").run
    play(run)
    final = run.final()
    assert final is not None
    assert final.score.nats < 1


def test_without_the_library_it_is_named(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with refused("missing-library", library="tokenizers"):
        prepare([str(place / "poem.txt")], TINY | {"unit": "bpe", "iterations": 1}, tmp_path / "r")
