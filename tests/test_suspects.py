import random
import re

import pytest

from charloom.config import DataConfig, RunConfig, TrainConfig
from charloom.data.reading import Reading
from charloom.data.split import arrange
from charloom.data.text import Text, read_text
from charloom.training import suspects as module
from charloom.training.suspects import suspects
from test_duplicates import document, edited


def config(minutes, split="tail"):
    return RunConfig(
        data=DataConfig(sources=("my text",), split=split), train=TrainConfig(minutes=minutes)
    )


@pytest.fixture
def posts(tmp_path):
    rng = random.Random(0)
    texts = [f"{document(rng, 60)}\nShare this post\n" for _ in range(10)]
    for number, post in enumerate([*texts, texts[3]]):
        (tmp_path / f"{number}.txt").write_text(post)
    return read_text([str(tmp_path)], reading=Reading(boundaries=True))


def test_what_may_spoil_a_training_is_told_before_it(posts):
    copies, lines, more = suspects(posts, posts, config(1))
    assert "10.txt" in copies
    assert "Share this post" in lines
    assert "check 'my text'" in more


def test_copies_that_the_split_tells_of_are_not_told_twice(posts):
    lines, _ = suspects(posts, posts, config(1, "documents"))
    assert "Share this post" in lines


@pytest.mark.parametrize("minutes", [None, 0.5])
def test_a_try_is_not_held_up(posts, minutes):
    assert suspects(posts, posts, config(minutes)) == ()


def test_a_plain_text_is_not_suspected():
    rng = random.Random(1)
    text = Text.from_string("\n".join(document(rng, 50) for _ in range(50)), "it")
    assert suspects(text, text, config(3)) == ()


def test_only_the_beginning_of_a_long_text_is_looked_at(monkeypatch):
    text = Text.from_string("plain\n" * 40 + "\x07", "it")
    assert len(suspects(text, text, config(1))) == 2
    monkeypatch.setattr(module, "PER_MINUTE", 200)
    assert suspects(text, text, config(1)) == ()


def test_documents_that_are_alike_and_on_both_sides_of_the_split_are_named(tmp_path):
    rng = random.Random(2)
    texts = [document(rng, 60) for _ in range(40)]
    for number, post in enumerate([*texts, *(edited(rng, text, 0.02, "words") for text in texts)]):
        (tmp_path / f"{number}.txt").write_text(post)
    found = read_text([str(tmp_path)], reading=Reading(boundaries=True))
    settings = config(1, "documents")
    arranged = arrange(found, settings.data)
    apart, *_ = suspects(found, arranged, settings)
    one, two = re.findall(r"\b(\d+)\.txt", apart)
    assert abs(int(one) - int(two)) == 40
    held = "".join(arranged.pieces())[-arranged.layout.validation :]
    said = [(tmp_path / f"{number}.txt").read_text() in held for number in (one, two)]
    assert sorted(said) == [False, True]
