"""What is held out is neither another text than the rest nor the same: no false alarms."""

import random
import re
import string
from pathlib import Path

import numpy as np
import pytest

from charloom.config import DataConfig, NgramConfig, RunConfig
from charloom.data import likeness
from charloom.data.known_texts import load_corpus
from charloom.data.likeness import is_unlike, other_split, repeated
from charloom.data.overlap import code_points
from charloom.data.text import Layout, Text
from charloom.training.planning import prepare
from small_runs import new_run

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"
CONSTITUTION = load_corpus("us-constitution")
MANUAL = load_corpus("python-manual")


def judged(content: str, held_out: float = 0.1) -> tuple[bool, bool]:
    """Whether the end of a text is unlike the rest, and whether it is repeated from it."""
    different, ids = np.unique(code_points(content), return_inverse=True)
    cut = round(len(ids) * (1 - held_out))
    train, end = ids[:cut], ids[cut:]
    return is_unlike(train, end, len(different)), repeated(train, end) >= likeness.REPEATED


def words(seed: int, count: int, letters: str = "etaoinshrdlu") -> str:
    """Prose of a kind: 400 words, in lines."""
    draw = random.Random(seed)
    known = ["".join(draw.choices(letters, k=draw.randint(2, 8))) for _ in range(400)]
    lines = (" ".join(draw.choices(known, k=9)) + ".\n" for _ in range(count // 9))
    return "".join(lines)


ALIKE = {
    "constitution": CONSTITUTION,
    "its beginning": CONSTITUTION[:12_000],
    "manual": MANUAL,
    "prose": words(0, 9000),
    "short": "Half a league onward.\n" * 3,
    "empty": "",
}


@pytest.mark.parametrize("name", ALIKE)
@pytest.mark.parametrize("held_out", [0.1, 0.3])
def test_of_a_usual_text_nothing_is_said(name, held_out):
    assert judged(ALIKE[name], held_out) == (False, False)


@pytest.mark.parametrize("name", ["tiny-shakespeare", "war-and-peace", "us-constitution"])
def test_of_a_long_text_nothing_is_said(name):
    path = CORPORA / f"{name}.txt"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    content = path.read_text("utf-8")
    assert judged(content) == (False, False)
    draw = random.Random(0)
    for size in (3000, 10_000, 40_000):
        for _ in range(5):
            start = draw.randrange(len(content) - size)
            assert judged(content[start : start + size]) == (False, False)


NAMES = sorted({word.strip(string.punctuation).lower() for word in MANUAL.split()} - {""})
UNLIKE = {
    "another language": words(0, 2000) + words(1, 220, "aeiouéèçvq"),
    "capitals": CONSTITUTION + CONSTITUTION[:4000].upper(),
    "code behind prose": CONSTITUTION + Path(likeness.__file__).read_text("utf-8"),
    "a sorted list": "\n".join(NAMES) + "\n",
}


@pytest.mark.parametrize("name", UNLIKE)
def test_an_end_that_is_another_text_is_noticed(name):
    unlike, _ = judged(UNLIKE[name])
    assert unlike


def test_a_list_that_is_not_sorted_is_like_its_end():
    shuffled = random.Random(0).sample(NAMES, len(NAMES))
    assert judged("\n".join(shuffled) + "\n") == (False, False)


def test_many_different_ids_are_compared_by_the_frequent_ones():
    draw = np.random.default_rng(0)
    train = draw.zipf(1.3, 60_000) % 20_000
    assert not is_unlike(train, draw.zipf(1.3, 6000) % 20_000, 20_000)
    assert is_unlike(train, 20_000 - 1 - draw.zipf(1.3, 6000) % 20_000, 20_000)


def test_text_that_is_there_twice_is_noticed():
    assert judged(words(0, 3000) * 2) == (False, True)
    half = words(0, 2700)
    assert judged(half + half[:1000] + words(2, 150)[:900]) == (False, True)
    assert judged(half + half[:100] + words(2, 270)[:1700]) == (False, False)


def test_of_what_is_longer_than_memory_runs_from_all_over_are_looked_at(monkeypatch):
    monkeypatch.setattr(likeness, "MOST_READ", 2**13)
    monkeypatch.setattr(likeness, "MOST_LOOKED_FOR", 2**12)
    monkeypatch.setattr(likeness, "SEARCHED_AT_ONCE", 2**12)
    monkeypatch.setattr(likeness, "MOST_SEARCHED", 2**14)
    assert judged(UNLIKE["another language"]) == (True, False)
    assert judged(words(0, 9000)) == (False, False)
    part = words(0, 3000)
    train, held_out = code_points(part * 4), code_points(part)
    assert 0.3 < repeated(train, held_out) < 1.0
    ids = np.arange(10 * 2**13)
    sample = likeness._sample(ids, 2**13)
    assert len(sample) == 2**13
    assert (sample[0], sample[-1]) == (0, ids[-1])


def notes(tmp_path, content, name="run", **data):
    config = RunConfig(model=NgramConfig(order=2), data=DataConfig(sources=("-",), **data))
    return new_run(tmp_path / name, config, Text.from_string(content, "x")).dataset().notes


def test_a_run_is_told_what_to_do_about_its_end_and_is_told_nothing_once_it_is_done(tmp_path):
    found = notes(tmp_path, UNLIKE["a sorted list"])
    assert len(found) == 1
    assert "--split lines" in found[0]
    assert notes(tmp_path, UNLIKE["a sorted list"], "lines", split="lines") == ()


def test_the_notes_stay_with_the_ids(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(UNLIKE["a sorted list"])
    run = prepare([str(path)], {"model": "ngram", "order": 2}, tmp_path / "run").run
    found = run.dataset().notes
    assert len(found) == 1
    assert run.unlike
    for _ in range(2):
        path.touch()
        again = type(run).open(run.path)
        assert again.dataset().notes == found
        assert again.unlike


def test_what_is_in_the_training_part_too_is_known_of_the_run(tmp_path):
    content = "".join(f"{n} to the power of {n} is {n**n}\n" for n in range(40))
    shares = {}
    for name, text in (("once", content), ("twice", content * 2)):
        path = tmp_path / f"{name}.txt"
        path.write_text(text)
        run = prepare([str(path)], {"model": "ngram", "order": 2}, tmp_path / name).run
        assert len(run.dataset().notes) == (name == "twice")
        shares[name] = type(run).open(run.path).repeated
    assert shares == {"once": 0.0, "twice": 1.0}


def test_with_nothing_held_out_nothing_is_said(tmp_path):
    assert notes(tmp_path, UNLIKE["a sorted list"], validation=0.0) == ()


@pytest.mark.parametrize(
    ("split", "layout", "options"),
    [
        ("tail", None, ["--split documents", "--split lines"]),
        ("documents", None, ["--split lines"]),  # it is one document
        ("documents", Layout(9, 0, "documents", 3), ["--split lines"]),  # the end of each
        ("documents", Layout(9, 0, "documents", 90, 9), ["--split-seed 8"]),
        ("lines", Layout(9, 0, "lines", 90, 9), ["--split-seed 8"]),
        ("lines", None, []),  # they are few
    ],
)
def test_another_split_is_one_that_holds_out_something_else(split, layout, options):
    found = other_split(DataConfig(split=split, split_seed=7), layout)
    assert re.findall("--split[a-z-]* [a-z0-9]+", found) == options
