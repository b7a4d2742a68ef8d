"""What is told of a run that has ended: one loss, of which text, and what counting alone has."""

import math
import signal
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from charloom import load
from charloom.analysis.comparison import compare
from charloom.analysis.curves import curve
from charloom.cli import charloom
from charloom.config import NgramConfig, SampleConfig, TransformerConfig, replace
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError
from charloom.evaluation import Score, evaluate
from charloom.generation.sampling import generate
from charloom.models.engines import create_model
from charloom.models.ngram import NgramModel
from charloom.runs.final import Counted, Final
from charloom.runs.meta import Best
from charloom.runs.run import Run
from charloom.training import cadence, monitor, scoring
from charloom.training.events import Evaluated, Finished, Scoring, Started, Warned
from charloom.training.scoring import Counts, Time, score_best, suggested
from expect import refused
from small_runs import (
    NEVER,
    OFTEN,
    STEPS,
    TEXT,
    config_of,
    copied,
    new_run,
    play,
    stopped,
    write_text,
)


@pytest.fixture
def source(tmp_path):
    return write_text(tmp_path)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A run that nothing has stopped, and its events."""
    folder = tmp_path_factory.mktemp("ended")
    run = new_run(folder / "run", config_of(write_text(folder)))
    return run, play(run)


MODELS = {
    "reference": {"engine": "reference"},
    "compiled": {"engine": "compiled"},
    "ngram": {},
    "transformer": {"engine": "torch"},
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.torch] * (n == "transformer")) for n in MODELS]
)
def test_one_figure_everywhere(tmp_path, source, name):
    if name == "transformer":
        pytest.importorskip("torch")
    config = config_of(source, **MODELS[name])
    if name == "ngram":
        config = replace(config, model=NgramConfig(order=3))
    elif name == "transformer":
        model = TransformerConfig(layers=1, width=8, heads=2, context=20)
        config = replace(config, model=model)
    run = new_run(tmp_path / "run", config)
    finished = play(run)[-1]
    found = Run.open(run.path).final()
    assert finished.final == found
    assert found.step == finished.step
    assert found.held_out
    assert found.score == load(run.path).evaluate()
    assert (found.score.characters, found.score.whole) == (len(TEXT) // 10, None)
    assert (found.counted is None) == (name == "ngram")


def test_it_is_of_the_best_checkpoint_on_all_of_what_was_held_out(tmp_path, source, monkeypatch):
    source.write_text(TEXT * 20)
    monkeypatch.setattr(cadence, "ENOUGH_CHARACTERS", 100)
    nats = iter([3.0, 1.0, 2.0, 2.0, 2.0])
    part = lambda _, ids, most: Score(next(nats), most, len(ids), 0.1)  # noqa: E731
    monkeypatch.setattr(monitor, "evaluate_part", part)
    run = new_run(tmp_path / "run", config_of(source))
    events = play(run)
    seen = [e for e in events if isinstance(e, Evaluated)]
    held_out, final = run.dataset().validation, events[-1].final
    assert {(e.score.characters, e.score.whole) for e in seen} == {(192, 780)}
    assert (final.step, final.best, events[-1].best) == (STEPS, 10, Best(10, 1.0))
    weights = run.checkpoint(final.best).weights
    model = create_model(run.config.model, weights, run.vocabulary, "auto", run.config.dtype)
    assert final.score == evaluate(model, held_out)
    assert (final.score.characters, final.score.whole) == (780, None)


def test_of_a_long_text_a_part_is_scored_and_counted_and_it_says_so(tmp_path, source, monkeypatch):
    source.write_text(TEXT * 200)
    monkeypatch.setattr(cadence, "MOST_CHARACTERS", 2048)
    monkeypatch.setattr(scoring, "TELLING", 1000)
    run = new_run(tmp_path / "run", config_of(source, engine="compiled", watch=NEVER))
    monkeypatch.setattr(cadence, "ENOUGH_CHARACTERS", 10**6)
    monkeypatch.setattr(cadence, "COUNTED_CHARACTERS", 5000)
    final = play(run)[-1].final
    assert (final.score.characters, final.score.whole) == (2048, 7800)
    whole = load(run.path).evaluate()
    assert abs(final.score.nats - whole.nats) <= 2 * final.score.margin
    counted = final.counted
    assert (counted.score.characters, counted.score.whole) == (2048, 7800)
    assert (counted.learned, counted.whole) == (5000, 70_200)
    again = Run.open(run.path).final()
    assert again == final


def test_whether_all_is_scored_depends_on_no_clock_unless_minutes_end_the_run(ended, monkeypatch):
    run, _ = ended
    exact = score_best(run, STEPS)
    for seconds, pace in ((0.0, None), (0.0, 1.0), (1e9, None)):
        assert score_best(run, STEPS, Time(seconds, pace)) == exact  # 39 characters: always
    assert score_best(run, STEPS) == exact


def test_a_run_with_minutes_scores_what_there_is_time_for(tmp_path, source):
    source.write_text(TEXT * 200)
    run = new_run(tmp_path / "run", config_of(source, engine="compiled", watch=NEVER))
    play(run)
    for seconds, pace, expected in (
        (10.0, 300.0, 3000),
        (0.0, 200.0, 2000),
        (10.0, 10**6, 7800),
        (0.0, None, 2000),
    ):
        score = score_best(run, 10**6, Time(seconds, pace)).score
        assert score.characters == pytest.approx(expected, abs=11)
        assert score.whole == (None if score.characters == 7800 else 7800)


def test_it_is_told_alike_by_every_command(tmp_path, source, monkeypatch, capfd):
    source.write_text(TEXT * 20)
    monkeypatch.setattr(cadence, "ENOUGH_CHARACTERS", 100)  # of a part while it trains
    path = str(tmp_path / "run")
    options = (
        "--iterations",
        "20",
        "--batch",
        "2",
        "--length",
        "20",
        "--hidden",
        "4",
        "--seed",
        "1",
    )
    said("train", str(source), "--out", path, *options)
    trained = capfd.readouterr().out
    score = Run.open(path).final().score
    nats, bits, characters = f"{score.nats:.4f}", f"{score.bits:.4f}", f"{score.characters:,}"
    short = f"{score.nats:.3f} nats, {score.bits:.3f} bits per character"
    assert f"Validation loss: {short}, all {characters} characters." in trained
    assert f" {characters} for validation" in trained
    assert said("evaluate", path).splitlines()[1].split()[1:] == [
        *(nats, bits, f"{score.perplexity:.3f}", characters)
    ]
    (row,) = (line for line in said("runs", path).splitlines() if line.startswith(path))
    assert f" {nats} (memory)  {bits} " in row  # its text is one verse again and again
    assert f"{short}, all {characters} characters" in said("runs", "show", path)
    (entry,) = (e for e in compare([Run.open(path)], sampling_seconds=0).entries if e.kind == "run")
    assert entry.nats == score.nats
    assert f": {characters} characters" in said("compare", path).splitlines()[0]
    assert curve(Run.open(path)).best.held_out == score.nats
    assert load(path).evaluate() == score
    last = [line.validation for line in Run.open(path).metrics() if line.step == 20]
    assert last != [pytest.approx(score.nats, abs=1e-4)]  # which was of a part


def said(*arguments):
    result = CliRunner(capture="fd").invoke(charloom, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_runs_does_not_compare_what_does_not_compare(tmp_path, source):
    config = config_of(source)
    play(new_run(tmp_path / "runs" / "ended", config))
    stopped(tmp_path / "runs" / "stopped", config, 13)
    home = str(tmp_path / "runs")
    rows = {Path(line.split()[0]).name: line for line in said("runs", home).splitlines()[1:3]}
    final = Run.open(tmp_path / "runs" / "ended").final().score
    assert f" {final.nats:.4f} " in rows["ended"]
    lowest = min(
        nats
        for line in Run.open(tmp_path / "runs" / "stopped").metrics()
        if (nats := line.validation_loss) is not None
    )
    assert f" {lowest:.4f} * " in rows["stopped"]
    assert source.name not in rows["ended"]  # it is the same text
    other = replace(config, data=replace(config.data, validation=0.2))
    play(new_run(tmp_path / "runs" / "third", other))
    whole = replace(config, data=replace(config.data, validation=0))
    play(new_run(tmp_path / "runs" / "unmeasured", whole))
    rows = [line.split()[1:3] for line in said("runs", home).splitlines()[1:5]]
    assert rows == [
        [source.name, "lstm"],
        [source.name, "lstm"],
        [source.name, "(2)"],
        [source.name, "lstm"],  # on training text: it compares with none
    ]


def test_a_loss_on_a_part_is_shown_with_its_margin(ended, tmp_path, capfd):
    run = copied(ended[0], tmp_path / "run")
    found = run.final()
    score = Score(1.25, 2000, whole=39_000, margin=0.0125)
    counted = replace(found.counted, score=Score(1.5, 2000, 39_000, 0.01), whole=10**6)
    run.write_final(Final(found.step, found.best, True, score, counted))
    (row,) = (line for line in said("runs", str(run.path)).splitlines()[1:])
    assert " 1.2500 ±0.0125 " in row
    part = "±0.013 nats, on 2,000 of 39,000 characters"
    assert part in said("runs", "show", str(run.path))
    said("resume", str(run.path))
    resumed = capfd.readouterr().out
    assert part in resumed
    assert "counts the last 351 characters of training text, has 1.500 nats" in resumed


def test_what_the_best_checkpoint_writes_is_shorter_if_time_is_short(ended, monkeypatch):
    run, _ = ended
    watch = replace(run.config.watch, sample_length=200)
    run = Run(run.path, replace(run.config, watch=watch), run.vocabulary, run.corpus)
    model, clock = load(run.path).language_model, iter(range(10**6))
    monkeypatch.setattr(scoring, "perf_counter", lambda: next(clock))  # a tick for each piece
    whole = scoring.sample(run, model)
    assert len(whole) == 400
    pieces = len(list(scoring.generate(model, scoring.suggested(watch.sample), "", 400)))
    now = next(clock)
    for ticks in range(pieces + 2):
        text = scoring.sample(run, model, now + ticks)
        now = next(clock)
        assert whole.startswith(text)
        assert not text or len(text) >= 100
    assert text == whole
    assert scoring.sample(run, model, now - 9) == ""


# ---- nothing held out, nothing evaluated


def test_with_nothing_held_out_it_is_the_loss_on_the_training_text(tmp_path, source):
    config = config_of(source)
    config = replace(config, data=replace(config.data, validation=0))
    run = new_run(tmp_path / "run", config)
    final = play(run)[-1].final
    assert (final.held_out, final.counted) == (False, None)
    model = load(run.path).language_model
    assert final.score == evaluate(model, run.dataset().train)
    assert final.score.characters == len(TEXT)


def test_the_loss_is_scored_at_the_end_even_if_it_is_never_evaluated(tmp_path, source):
    run = new_run(tmp_path / "run", config_of(source, watch=NEVER))
    events = play(run)
    assert not any(isinstance(event, Evaluated) for event in events)
    assert events[-1].final.held_out
    assert events[-1].final.score == load(run.path).evaluate()


# ---- the n-gram model beside it


def test_the_model_that_counts_is_of_the_best_order_and_of_the_training_part(ended):
    run, events = ended
    parts, counted = run.dataset(), events[-1].final.counted
    scores = {
        order: evaluate(
            NgramModel.fit(parts.train, run.vocabulary, NgramConfig(order=order)), parts.validation
        )
        for order in range(1, 9)
    }
    best = min(scores, key=lambda order: (scores[order].nats, -order))
    assert (counted.order, counted.learned, counted.whole) == (best, len(parts.train), None)
    assert counted.score == scores[best]


def test_a_lower_order_is_found_where_a_higher_one_is_worse():
    vocabulary = Vocabulary.from_text("ab")
    noise = np.random.default_rng(0).integers(0, 2, 4000).astype(np.int32)
    counts = Counts.of(noise[:3000], noise[3000:], vocabulary, 10**6)
    found = counts.beside(evaluate(counts._model, noise[3000:]), 1000)
    assert found.order < 8
    assert found.score.nats == pytest.approx(math.log(2), abs=0.02)


def test_the_end_of_a_long_training_text_is_counted():
    vocabulary = Vocabulary.from_text("ab\n")
    train = vocabulary.encode("a" * 500 + "b" * 100)
    counts = Counts.of(train, vocabulary.encode("bbbb"), vocabulary, 100)
    found = counts.beside(evaluate(counts._model, vocabulary.encode("bbbb")), 4)
    assert (found.learned, found.whole) == (100, 600)
    assert found.score.nats < 0.1


def test_the_shortest_texts_are_counted_too():
    vocabulary = Vocabulary.from_text("ab")
    for train in ("a", "ab"):
        counts = Counts.of(vocabulary.encode(train), vocabulary.encode("ab"), vocabulary, 9)
        found = counts.beside(evaluate(counts._model, vocabulary.encode("ab")), 2)
        assert found.score.characters == 2


# ---- recorded once, and only for what it is


def test_a_run_that_ends_again_is_not_scored_again(ended, monkeypatch):
    run, events = ended
    kinds = [type(event) for event in events]
    assert kinds[-2:] == [Scoring, Finished]
    monkeypatch.setattr(scoring, "score_best", None)
    again = play(Run.open(run.path), resume=True)
    assert [type(event) for event in again] == [Started, Finished]
    assert again[-1].final == events[-1].final


def test_a_run_that_was_interrupted_has_no_loss_until_it_has_ended(tmp_path, source, ended):
    run = stopped(tmp_path / "run", config_of(source), 13)
    assert run.final() is None
    finished = play(Run.open(run.path), resume=True)[-1]
    assert finished.final == run.final() == ended[0].final()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_is_scored_loses_nothing(tmp_path, source, monkeypatch, number):
    config = config_of(source)
    score = scoring.evaluate_part

    def interrupted(*arguments):
        signal.raise_signal(number)
        return score(*arguments)

    run = new_run(tmp_path / "run", config)
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "evaluate_part", interrupted)
        finished = play(run)[-1]
    assert (finished.reason, finished.signal, finished.final) == ("done", number, None)
    assert run.final() is None
    assert play(Run.open(run.path), resume=True)[-1].final == run.final() is not None


def test_what_was_trained_on_since_has_no_loss(tmp_path, source):
    run = new_run(tmp_path / "run", config_of(source))
    play(run)
    assert run.final() is not None
    saved = run.checkpoint("latest")
    meta = type(saved.meta)(
        **{n: getattr(saved.meta, n) for n in saved.meta.__struct_fields__} | {"step": STEPS + 1}
    )
    run.save(saved.weights | saved.state, meta)
    assert run.final() is None


def test_a_record_that_is_damaged_is_said_and_is_written_anew(tmp_path, source):
    run = new_run(tmp_path / "run", config_of(source))
    play(run)
    path = run.path / "final.json"
    whole = path.read_bytes()
    for content in (b"", b"{}", whole[:-9], whole.replace(b'"best"', b'"beast"'), b"[1]"):
        path.write_bytes(content)
        with refused("damaged", path=path):
            run.final()
        play(Run.open(run.path), resume=True)
        assert path.read_bytes() == whole
    path.unlink()
    path.symlink_to("/dev/zero")
    with refused("damaged", path=path):
        run.final()


@pytest.mark.parametrize("nats", [math.inf, 1.25])
def test_what_is_recorded_is_read_back(ended, tmp_path, nats):
    run, events = ended
    score = replace_score(events[-1].final.score, nats)
    final = Final(STEPS, 5, True, score, Counted(6, score, 10, 20))
    other = new_run(tmp_path / "run", run.config)
    other.write_final(final)
    assert other.final() is None  # nothing is trained
    run_saved = run.checkpoint("latest")
    other.save(run_saved.weights | run_saved.state, run_saved.meta)
    assert other.final() == final


def replace_score(score, nats):
    return type(score)(nats, score.characters, 4 * score.characters, 0.01)


def test_a_record_that_cannot_be_written_is_none_of_the_runs(tmp_path, source, monkeypatch):
    run = new_run(tmp_path / "run", config_of(source))

    def full(self, final):
        raise CharloomError("cannot write it: solve that", "unwritable")

    monkeypatch.setattr(Run, "write_final", full)
    events = play(run)
    assert [type(event) for event in events[-3:]] == [Scoring, Warned, Finished]
    assert events[-1].reason == "done"
    assert events[-1].final is not None


def test_looking_less_often_changes_nothing_at_the_end(tmp_path, source, ended):
    watch = replace(OFTEN, evaluate_every=1, checkpoint_every=1)
    other = new_run(tmp_path / "run", config_of(source, watch=watch))
    final = play(other)[-1].final
    assert final.counted == ended[1][-1].final.counted
    assert final.score.nats <= ended[1][-1].final.score.nats


@pytest.mark.parametrize("prompt", ["", "\n\n"])
def test_a_sample_of_the_best_checkpoint_begins_a_paragraph_if_there_are_any(
    tmp_path, source, prompt
):
    source.write_text((TEXT[:78] + prompt) * 5)
    watch = replace(OFTEN, sample_length=40)
    config = config_of(source, watch=watch)
    run = new_run(tmp_path / "run", config)
    finished = play(run)[-1]
    model = load(run.path).language_model
    asked = replace(config.watch.sample, temperature=scoring.TEMPERATURE)
    assert finished.sample == "".join(generate(model, asked, prompt, 80))
    assert finished.sample == run.best_sample()
    again = play(Run.open(run.path), resume=True)[-1]
    assert again.sample == finished.sample


def test_the_suggested_temperature_is_that_which_was_given(tmp_path, source):
    for given, expected in ((1.0, scoring.TEMPERATURE), (0.0, 0.0), (1.3, 1.3)):
        assert suggested(SampleConfig(temperature=given, top_k=3)).temperature == expected
    none = replace(OFTEN, sample_length=0)
    run = new_run(tmp_path / "run", config_of(source, watch=none))
    assert play(run)[-1].sample is None
