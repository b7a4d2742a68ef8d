"""The Python door: examples of its docstrings are run, and what it takes and refuses is checked."""

import doctest
import re
import signal
from pathlib import Path

import pytest

import charloom
from charloom import api
from charloom.evaluation import evaluate
from charloom.training import adaptation
from charloom.training.events import Finished, Started
from expect import refused

TEXT = "It was a dark and stormy night; the rain fell in torrents, but not for long. " * 40


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with two texts and a run."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "novel.txt").write_text(TEXT)
    (folder / "other.txt").write_text(TEXT[40:400])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        charloom.train("novel.txt", iterations=5, hidden=16, out="runs/novel")
    return folder


@pytest.fixture
def model(home, monkeypatch):
    monkeypatch.chdir(home)
    return charloom.load("runs/novel")


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for test in finder.find(api) if test.examples]
    return sorted(found, key=lambda test: test.lineno)  # later ones use the runs of earlier ones


def test_the_examples_of_the_docstrings_run(model):
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    tests = examples()
    assert len(tests) == 7
    for test in tests:
        test.globs = {"charloom": charloom, "model": model}
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def test_names_are_listed_and_the_stub_has_the_same():
    names = {*charloom.__all__}
    assert names <= {*dir(charloom)}
    assert all(getattr(charloom, name) for name in names)
    stub = Path(charloom.__file__).with_suffix(".pyi").read_text()
    assert {*re.findall(r" as (\w+)$", stub, re.M)} == names


def test_training_is_quiet_and_events_go_to_the_callback(home, monkeypatch, capfd):
    monkeypatch.chdir(home)
    events = []
    settings = {"model": "gru", "iterations": 4, "hidden": 8, "engine": "reference"}
    run = charloom.train(["novel.txt", "other.txt"], on_event=events.append, **settings)
    assert capfd.readouterr() == ("", "")
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert run.path == Path("runs/novel-gru")
    assert run.corpus.characters > len(TEXT)
    again = charloom.train("other.txt", start=run, iterations=2, batch=1, out="runs/again")
    assert again.config.model == run.config.model


def test_a_stopped_run_is_resumed(home, monkeypatch):
    monkeypatch.chdir(home)

    class Stopped(Exception):  # noqa: N818 -- a user's own, from the callback
        pass

    def stop(event):
        if isinstance(event, Started):
            raise Stopped

    settings = {"iterations": 4, "hidden": 8, "engine": "reference", "out": "runs/stopped"}
    with pytest.raises(Stopped):
        charloom.train("novel.txt", on_event=stop, **settings)
    run = charloom.resume("runs/stopped")
    assert run.checkpoint("latest").meta.step == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_all_but_ctrl_c_are_passed_on(number, home, tmp_path, monkeypatch):
    monkeypatch.chdir(home)
    passed = []
    before = signal.signal(number, lambda number, _: passed.append(number))

    def send(event):
        if isinstance(event, Started):
            signal.raise_signal(number)

    settings = {"iterations": 4, "hidden": 8, "engine": "reference"}
    try:
        run = charloom.train("novel.txt", on_event=send, out=tmp_path / "run", **settings)
        assert passed == ([] if number == signal.SIGINT else [number])
        assert run.checkpoint("latest").meta.step < 4
        passed.clear()
        run = charloom.resume(run)
    finally:
        signal.signal(number, before)
    assert run.checkpoint("latest").meta.step == 4
    assert passed == []


def test_a_sample_is_its_prompt_and_what_is_streamed(model):
    settings = {"length": 500, "temperature": 0.5, "seed": 3, "stop": ["tttt"]}
    text = model.sample("It was", **settings)
    pieces = list(model.stream("It was", **settings))
    assert "".join(pieces) == text
    assert pieces[0] == "It was"
    assert len(pieces) > 2
    assert model.sample("It was", **settings) == text
    assert model.sample("It was", **(settings | {"seed": 4})) != text


def test_a_score_is_that_of_the_text(model):
    own = model.source.dataset().validation
    assert model.evaluate() == evaluate(model.language_model, own)
    ids = model.language_model.vocabulary.encode(TEXT[40:400])
    assert model.evaluate("other.txt") == evaluate(model.language_model, ids)
    learning = model.evaluate("other.txt", adapt=True)
    assert learning == adaptation.evaluate(model.source, ids).score
    assert learning.nats < model.evaluate("other.txt").nats


def test_what_is_wrong_is_refused(model, tmp_path):
    with refused("bad-setting", field="hiden"):
        charloom.train("novel.txt", hiden=3)
    with refused("not-found"):
        charloom.train("nothing.txt", iterations=1)
    with refused("not-found", path=tmp_path / "nothing"):
        charloom.load(tmp_path / "nothing")
    with refused("unknown-character"):
        model.stream("é")
    with refused("unknown-character"):
        Path("french.txt").write_text("Il était une nuit", "utf-8")
        model.evaluate("french.txt")
    with refused("bad-setting", field="unknown"):
        model.evaluate("french.txt", unknown="leave")
    with pytest.raises(TypeError):
        model.sample("It was", temprature=1)


def test_unknown_characters_can_be_left_out_and_it_is_told(model):
    Path("odd.txt").write_text(TEXT[:50] + "éü" + TEXT[50:200] + "é", "utf-8")
    Path("even.txt").write_text(TEXT[:200])
    with pytest.warns(UserWarning, match=r"odd\.txt: .*'é'.* 2 times.*'ü'"):
        score = model.evaluate("odd.txt", unknown="skip")
    assert score == model.evaluate("even.txt")
    with pytest.warns(UserWarning, match="'é'"):
        written = model.sample("\ufeffIté", 9, seed=1, unknown="skip")
    assert written == model.sample("It", 9, seed=1)


def test_what_reading_a_text_changed_is_told(model):
    Path("windows.txt").write_bytes(b"It was\r\n" * 9)
    Path("unix.txt").write_bytes(b"It was\n" * 9)
    with pytest.warns(UserWarning, match=r"windows\.txt: .*\b9\b"):
        score = model.evaluate("windows.txt", unknown="skip")
    with pytest.warns(UserWarning, match=r"skipped"):  # the line ends alone
        assert score == model.evaluate("unix.txt", unknown="skip")


def test_a_text_in_another_encoding_is_read_if_that_is_named(model):
    Path("plain.txt").write_text(TEXT[:300])
    Path("wide.txt").write_text(TEXT[:300], "utf-16")
    with refused("not-text", encoding="utf-16"):
        model.evaluate("wide.txt")
    assert model.evaluate("wide.txt", encoding="utf-16") == model.evaluate("plain.txt")
    with refused("bad-setting", field="errors"):
        model.evaluate("wide.txt", errors="ignore")


def test_without_a_validation_part_a_text_must_be_named(home, monkeypatch):
    monkeypatch.chdir(home)
    settings = {"model": "ngram", "order": 3, "validation": 0, "out": "runs/whole"}
    model = charloom.load(charloom.train("novel.txt", **settings))
    with refused("no-text"):
        model.evaluate()
    assert model.evaluate("other.txt").characters == 360


def test_reprs_are_short(model):
    assert repr(model) == "Model('runs/novel', lstm 1 x 16)"
    assert repr(model.source) == "Run('runs/novel', lstm 1 x 16, step 5)"
    assert re.fullmatch(r"Score\(nats=\S+, bits=\S+, characters=\d+\)", repr(model.evaluate()))
    assert repr(charloom.TrainConfig(minutes=3)) == "TrainConfig(minutes=3)"
    assert repr(charloom.ModelConfig()) == "ModelConfig()"
