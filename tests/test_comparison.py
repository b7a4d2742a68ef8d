"""One yardstick: figures against a recomputation of their own, and what is said about the text."""

import json
import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace as changed
from functools import partial
from itertools import count, permutations
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from charloom.analysis import comparison as module
from charloom.analysis.comparison import Comparison, Entry, compare, sampling_speed, verdict
from charloom.config import DataConfig, NgramConfig, replace
from charloom.data.known_texts import load_corpus
from charloom.data.text import Text
from charloom.data.vocabulary import Vocabulary
from charloom.models.protocols import LanguageModel
from charloom.runs.open import open_model
from charloom.runs.run import Run
from charloom.training.adaptation import Adaptation
from expect import refused
from small_runs import NEVER, TRAIN, config_of, played

CONTENT = load_corpus("us-constitution")[:4000]
HELD_OUT = CONTENT[3600:]
OTHER = "No man is free, of whom it is said, that he must not do this.\n" * 3


open_reference = partial(open_model, engine="reference")  # which has nothing to compile


@pytest.fixture(scope="module", autouse=True)
def _reference() -> Iterator[None]:
    with mock.patch.object(module, "open_model", open_reference):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts, and runs of some kinds on the first of them."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "law.txt").write_text(CONTENT)
    (folder / "more.txt").write_text(CONTENT[2000:] * 2)
    settings = config_of(folder / "law.txt", watch=NEVER)
    for cell in ("lstm", "gru"):
        played(folder / cell, config_of(folder / "law.txt", cell, watch=NEVER))
    played(folder / "ngram", replace(settings, model=NgramConfig(order=8)))
    return folder


def opened(home: Path, *names: str) -> list[Run]:
    return [Run.open(home / name) for name in names]


def entry(found: Comparison, name: str) -> Entry:
    (row,) = (row for row in found.entries if Path(row.name).name == name)
    return row


def bits(model: LanguageModel, text: str, folder: Path) -> float:
    """Bits per character from log-probabilities that were exported: read from a file again."""
    ids = np.array([model.vocabulary.characters.index(c) for c in text])  # type: ignore[union-attr]
    log_p, _ = model.log_probs(ids[None, :-1], model.start(1))
    np.save(folder / "log_probs.npy", log_p[0])
    exported = np.load(folder / "log_probs.npy")
    lost = [-math.log2(math.exp(exported[t, ids[t + 1]])) for t in range(len(ids) - 1)]
    return math.fsum(lost) / len(lost)


@pytest.mark.parametrize("name", ["lstm", "gru", "ngram"])
def test_bits_equal_those_of_exported_log_probabilities(home: Path, name: str) -> None:
    found = compare(opened(home, name), sampling_seconds=0)
    assert (found.text, found.part, found.characters) == ("law.txt", "validation", 400)
    row = entry(found, name)
    assert row.bits == pytest.approx(bits(open_reference(home / name), HELD_OUT, home), abs=1e-6)
    assert row.nats == pytest.approx(row.bits * math.log(2), rel=1e-12)
    assert row.perplexity == pytest.approx(2**row.bits, rel=1e-12)


def test_bits_equal_those_of_the_onnx_file(home: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from charloom.formats.onnx.contents import contents
    from charloom.formats.onnx.session import OnnxModel

    (run,) = opened(home, "gru")
    assert isinstance(run.vocabulary, Vocabulary)
    model = OnnxModel(contents(run.config, run.load_weights(), run.vocabulary))
    row = entry(compare([run], sampling_seconds=0), "gru")
    assert row.bits == pytest.approx(bits(model, HELD_OUT, home), abs=1e-6)


def test_runs_and_baselines_stand_in_one_list_from_the_best_down(home: Path) -> None:
    found = compare(opened(home, "lstm", "ngram", "gru"), sampling_seconds=0.01)
    losses = [row.nats for row in found.entries]
    assert losses == sorted(losses)
    assert sum(row.kind == "baseline" for row in found.static) == 2 + 8
    assert {row.name for row in found.learning} >= {"context mixing", "gzip", "bz2", "xz"}
    assert {*found.entries} == {*found.static, *found.learning}
    lstm, counts = entry(found, "lstm"), entry(found, "ngram")
    V = len({*CONTENT})
    # Two layers of 4: 4 gates of 4 from V one-hot inputs or 4 units, 4 units and a bias; the head.
    assert lstm.parameters == 16 * (V + 4 + 1) + 16 * (4 + 4 + 1) + 5 * V
    assert lstm.network
    assert not counts.network
    assert lstm.speed
    assert lstm.speed > 0
    seconds = json.loads((home / "lstm" / "metrics.jsonl").read_text().splitlines()[-1])["seconds"]
    assert lstm.seconds == seconds
    same = entry(found, "n-gram, order 8")
    assert (counts.nats, counts.parameters) == (same.nats, same.parameters)
    assert entry(found, "uniform").nats == pytest.approx(math.log(V), rel=1e-12)


def test_networks_are_scored_while_they_learn_apart_from_static_losses(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charloom.analysis.baselines.shutil.which", lambda _: None)
    monkeypatch.setattr(module.adaptation, "LOOKS", 20)
    monkeypatch.setattr(
        module.adaptation, "Adaptation", lambda run, _: Adaptation(run, "reference")
    )
    plain = compare(opened(home, "lstm", "ngram"), sampling_seconds=0)
    both = compare(opened(home, "lstm", "ngram"), sampling_seconds=0, adapt=True)
    assert both.static == plain.static
    (row,) = (row for row in both.learning if row.kind == "run")
    assert {*both.learning} == {*plain.learning, row}
    (run,) = opened(home, "lstm")
    alone = module.adaptation.evaluate(run, run.parts().validation)
    assert row.nats == alone.score.nats
    static = entry(plain, "lstm")
    assert row == changed(static, nats=row.nats, learns=True)
    assert row.nats < static.nats


def test_where_there_is_a_test_part_it_is_that(home: Path, tmp_path: Path) -> None:
    settings = config_of(home / "law.txt", watch=NEVER)
    data = replace(settings.data, test=0.05)
    run = played(tmp_path / "run", replace(settings, model=NgramConfig(order=3), data=data))
    found = compare([run], sampling_seconds=0)
    assert (found.part, found.characters) == ("test", 200)
    row = entry(found, "run")
    assert row.bits == pytest.approx(bits(open_reference(run), CONTENT[3800:], tmp_path), abs=1e-6)


def test_runs_with_other_held_out_text_are_refused_and_what_differs_is_said(
    home: Path, tmp_path: Path
) -> None:
    settings = replace(config_of(home / "law.txt", watch=NEVER), model=NgramConfig(order=2))
    data = replace(settings.data, validation=0.2)
    cut = played(tmp_path / "cut", replace(settings, data=data))
    other = DataConfig(sources=(str(home / "more.txt"),))
    text = played(tmp_path / "text", replace(settings, data=other))
    none = played(tmp_path / "none", replace(settings, data=replace(data, validation=0)))
    (first,) = opened(home, "ngram")
    with refused("changed-text", field="split", paths=(str(first.path), str(cut.path))) as caught:
        compare([first, cut])
    assert "3,600" in str(caught.value)
    assert "3,200" in str(caught.value)
    lines = played(tmp_path / "lines", replace(settings, data=replace(data, split="lines")))
    with refused("changed-text", field="split", paths=(str(cut.path), str(lines.path))):
        compare([cut, lines])
    with refused("changed-text", field="text", paths=(str(first.path), str(text.path))) as caught:
        compare([first, text])
    assert "law.txt" in str(caught.value)
    assert "more.txt" in str(caught.value)
    with refused("no-text", path=str(none.path)):
        compare([none])
    found = compare([first, cut, text, none], Text.from_string(OTHER, "other"), sampling_seconds=0)
    assert found.part is None
    assert str(first.path) in found.notes[-1]  # the one whose text the baselines are fitted to


def test_a_text_that_was_learned_is_noticed_and_said(home: Path) -> None:
    (run,) = opened(home, "ngram")
    found = compare([run], Text.from_string(CONTENT[1000:2000], "part"), sampling_seconds=0)
    assert str(run.path) in found.notes[0]
    assert "%" not in found.notes[0]  # it is all of it
    assert entry(found, "ngram").seen == entry(found, "unigram").seen == 1.0
    assert not entry(found, "ngram").is_fair
    mixed = Text.from_string(CONTENT[:300] + "\n" + OTHER * 3, "mixed")
    # Of 301 + 9 x 62 characters there are 796 passages of 64; 237 of them lie in the first 300.
    assert "30%" in compare([run], mixed, sampling_seconds=0).notes[0]
    new = compare([run], Text.from_string(OTHER, "new"), sampling_seconds=0)
    assert new.notes == ()
    assert entry(new, "ngram").is_fair
    told = changed(Text.from_string(OTHER, "new"), notes=("removed a byte-order mark",))
    assert compare([run], told, sampling_seconds=0).notes == told.notes


def test_what_the_run_before_learned_counts_too(home: Path, tmp_path: Path) -> None:
    """What the second run held out is the end of what the first had learned."""
    settings = config_of(home / "law.txt", train=replace(TRAIN, iterations=2), watch=NEVER)
    everything = replace(settings, data=replace(settings.data, validation=0))
    first = played(tmp_path / "first", everything)
    (tmp_path / "tail.txt").write_text(OTHER * 20 + CONTENT[-600:])
    data = DataConfig(sources=(str(tmp_path / "tail.txt"),))
    start = str(first.path)
    second = played(tmp_path / "second", replace(settings, data=data, start=start))
    found = compare([second], sampling_seconds=0)
    assert entry(found, "second").seen == pytest.approx(1.0)
    assert str(second.path) in found.notes[0]
    third = played(tmp_path / "third", replace(settings, data=data, start=str(second.path)))
    assert str(third.path) in compare([third], sampling_seconds=0).notes[0]


def test_a_run_that_cannot_read_the_text_does_not_stop_the_table(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "small.txt").write_text("abc abd " * 40)
    settings = replace(config_of(tmp_path / "small.txt", watch=NEVER), model=NgramConfig(order=2))
    small = played(tmp_path / "small", settings)
    (run,) = opened(home, "ngram")
    text = Text.from_string("abd and no more", "text")
    found = compare([small, run], text, sampling_seconds=0)
    (unread,) = found.unread
    assert (unread.name, unread.model) == (str(small.path), "ngram 2")
    assert "'n' (U+006E" in unread.why
    assert [row.name for row in found.entries if row.kind == "run"] == [str(run.path)]
    assert entry(found, "n-gram, order 8").nats < math.inf
    with refused("unknown-character", character="n", position=5):
        compare([small], text)
    with refused("no-text", characters=1):
        compare([run], Text.from_string("a", "short"))
    with refused("bad-setting", field="runs"):
        compare([])


def test_a_text_that_is_gone_leaves_out_what_needs_it(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home, tmp_path / "home")
    where = tmp_path / "home" / "ngram"
    document = json.loads((where / "corpus.json").read_bytes())
    document["sources"] = [str(tmp_path / "gone.txt")]
    (where / "corpus.json").write_text(json.dumps(document))
    (where / "ids.npy").unlink()
    found = compare([Run.open(where)], Text.from_string(OTHER, "other"), sampling_seconds=0)
    assert [row.name for row in found.entries if row.kind == "baseline"] == ["uniform"]
    assert "gone.txt" in found.notes[0]
    assert len(found.notes) == 2  # why, and that baselines are missing


def test_of_a_long_training_text_baselines_count_the_end(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BASELINE_IDS", 100)
    found = compare(opened(home, "ngram"), sampling_seconds=0)
    assert any("100" in note for note in found.notes)
    tail, V = CONTENT[3500:3600], len({*CONTENT})
    lost = [-math.log((tail.count(c) + 1) / (100 + V)) for c in HELD_OUT[1:]]
    assert entry(found, "unigram").nats == pytest.approx(math.fsum(lost) / len(lost), rel=1e-12)


def test_speed_is_the_median_of_five_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only writing moves: a piece of 10 characters takes as long as its turn says."""
    now, turns = 0.0, count()
    paces = [1.0, 0.1, 0.2, 5.0, 0.1, 0.4]  # the first is to get warm

    def generate(*_: Any, **__: Any) -> Any:
        nonlocal now
        pace = paces[next(turns)]
        for _ in range(2 if pace == 1.0 else 1000):
            now += pace
            yield "0123456789"

    monkeypatch.setattr(module, "generate", generate)
    monkeypatch.setattr(module, "perf_counter", lambda: now)
    speed = sampling_speed(None, seconds=10)  # type: ignore[arg-type]
    assert speed == pytest.approx(10 / 0.2)
    assert next(turns) == 6


def test_a_model_that_writes_nothing_has_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "generate", lambda *_, **__: iter(()))
    assert sampling_speed(None) is None  # type: ignore[arg-type]


def rows(*found: Entry) -> Comparison:
    return Comparison("text", None, 9, found, (), ())


def test_the_verdict_says_which_run_is_best_by_how_much_and_whether_it_beats_counting() -> None:
    def nats(*found: Entry) -> list[str]:
        return re.findall(
            r"lstm|gru|bz2|markov|order 8|no network|does not|\d\.\d{3}", verdict(rows(*found))
        )

    lstm = Entry("lstm", "run", "lstm 1 x 8", 1.0, network=True)
    gru = Entry("gru", "run", "gru 1 x 8", 1.0625, network=True)
    ngram = Entry("order 8", "baseline", "", 1.25)
    markov = Entry("markov", "run", "ngram 8", 0.75)
    assert nats(lstm, ngram) == ["lstm", "1.000", "1.443", "order 8", "0.250", "0.361"]
    lead = ["lstm", "1.000", "1.443", "gru", "0.062", "0.090"]
    assert nats(lstm, gru, ngram) == [*lead, "order 8", "0.250", "0.361"]
    worse = ["lstm", "1.500", "2.164", "order 8", "1.250", "1.803", "0.250", "0.361", "lstm"]
    worse += ["does not"]
    assert nats(ngram, changed(lstm, nats=1.5)) == worse
    led = ["markov", "0.750", "1.082", "lstm", "0.250", "0.361", "no network"]
    assert nats(markov, lstm, ngram) == led
    assert nats(markov, ngram) == ["markov", "0.750", "1.082"]
    assert nats(lstm) == ["lstm", "1.000", "1.443"]
    assert nats(changed(lstm, seen=0.5), ngram) == ["lstm", "1.000", "1.443"]
    assert nats(changed(lstm, seen=0.07), ngram) == nats(lstm, ngram)
    assert nats(lstm, changed(gru, nats=1.0004), ngram) == [*lead[:4], *nats(lstm, ngram)[3:]]
    behind = changed(markov, nats=1.125)
    assert nats(lstm, behind, ngram) == [*lead[:3], "markov", "0.125", "0.180"]
    bz2 = Entry("bz2", "baseline", "", 0.5, learns=True)
    assert nats(bz2, lstm, ngram) == nats(lstm, ngram)  # static losses and its do not compare
    learned = changed(lstm, nats=0.75, learns=True)
    assert nats(bz2, learned, lstm) == [
        *lead[:3],
        "lstm",
        "0.750",
        "1.082",
        "bz2",
        "0.250",
        "0.361",
    ]
    behind = [*lead[:3], "lstm", "0.750", "1.082", "bz2", "0.125", "0.180"]
    assert nats(learned, changed(bz2, nats=0.875), lstm) == behind
    assert nats(learned, lstm) == [*lead[:3], "lstm", "0.750", "1.082"]
    memorised = (changed(entry, seen=0.5) for entry in (learned, lstm))
    assert nats(*memorised) == lead[:3]
    level = changed(ngram, nats=1.0001)
    assert nats(lstm, level) == [*lead[:3], "does not", "order 8"]
    assert nats(changed(ngram, nats=0.9999), lstm) == [*lead[:3], "order 8", "lstm"]
    ruled_out = changed(gru, nats=math.inf)
    assert nats(lstm, ngram, ruled_out) == [*lead[:4], "order 8", "0.250", "0.361"]


RANKED = {
    "lstm": Entry("lstm", "run", "lstm 1 x 8", 0.0, network=True),
    "gru": Entry("gru", "run", "gru 1 x 8", 0.0, network=True),
    "markov": Entry("markov", "run", "ngram 8", 0.0),
    "n-gram": Entry("n-gram", "baseline", "", 0.0),
    "bz2": Entry("bz2", "baseline", "", 0.0, learns=True),
    "uniform": Entry("uniform", "baseline", "", 0.0),
}


@pytest.mark.parametrize("seen", [0.0, 1.0])
@pytest.mark.parametrize("gap", [0.25, 0.0001, math.inf])
def test_the_verdict_names_what_is_first_whatever_it_is(seen: float, gap: float) -> None:
    for names in permutations(RANKED, 4):
        if not {"lstm", "gru", "markov"} & {*names}:
            continue
        losses = [1 + (gap * i if i else 0.0) for i in range(4)]
        ranked = zip(names, losses, strict=True)
        found = rows(*(changed(RANKED[name], nats=nats, seen=seen) for name, nats in ranked))
        said, first = verdict(found), found.static[0]
        assert re.search(rf"(?<!than ){first.name}\b", said)
        assert not re.search(r"\b(inf|nan)\b", said)
        best = next(entry for entry in found.entries if entry.kind == "run")
        assert ("First is" in said) is (first.nats < best.nats and gap > 0.01)
        assert ("beat" in said) is (said_of_counting(found, best) and not seen), said
        if "n-gram" in names and best.network and not seen and gap == 0.25:
            beaten = names.index("n-gram") < names.index(best.name)
            assert ("does not beat" in said) is beaten


def said_of_counting(found: Comparison, best: Entry) -> bool:
    """Whether there is a network, and something that counts, to compare in words."""
    counted = next((entry for entry in found.entries if entry.name == "n-gram"), None)
    if not best.network:
        return any(entry.network for entry in found.entries)
    if counted is None:
        return False
    return counted is not found.static[0] or best.nats - counted.nats >= module.LEVEL


def test_the_verdict_names_the_part() -> None:
    lstm = RANKED["lstm"]
    for part, told in (("validation", "the validation part"), ("test", "the test part")):
        for entries in ((lstm,), (lstm, changed(RANKED["gru"], nats=1.0))):
            for seen in (0.0, 1.0):
                found = tuple(changed(entry, seen=seen) for entry in entries)
                assert told in verdict(Comparison("text", part, 9, found, (), ()))


@pytest.mark.torch
def test_pretrained_models_stand_beside_runs(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from pretrained_folders import write_gpt2

    model = write_gpt2(tmp_path / "gpt2")
    with refused("no-text"):
        compare([tmp_path / "gpt2"])
    found = compare([*opened(home, "ngram"), tmp_path / "gpt2"], sampling_seconds=0.01)
    row = entry(found, "gpt2")
    assert (row.model, row.network, row.seconds) == ("gpt2", True, None)
    assert row.parameters == sum(parameter.numel() for parameter in model.parameters())
    opened_model = open_model(tmp_path / "gpt2")
    ids = opened_model.vocabulary.whole(HELD_OUT)
    log_p, _ = opened_model.log_probs(ids[None, :-1], opened_model.start(1))
    lost = -sum(float(log_p[0, t, ids[t + 1]]) for t in range(len(ids) - 1))
    assert row.bits == pytest.approx(lost / 400 / math.log(2), abs=1e-6)
    assert any("gpt2" in note for note in found.notes)  # what it was pretrained on is unknown
    alone = compare([tmp_path / "gpt2"], Text.from_string(OTHER, "other"), sampling_seconds=0)
    assert [r.name for r in alone.entries if r.kind == "baseline"] == ["uniform"]
