import random

import pytest

from charloom.config import DataConfig, RunConfig, TrainConfig
from charloom.data.reading import Reading
from charloom.data.text import Text, read_text
from charloom.training import suspects as module
from charloom.training.suspects import suspects
from test_duplicates import document


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
    copies, lines, more = suspects(posts, config(1))
    assert "10.txt" in copies
    assert "Share this post" in lines
    assert "check 'my text'" in more


def test_copies_that_the_split_tells_of_are_not_told_twice(posts):
    lines, _ = suspects(posts, config(1, "documents"))
    assert "Share this post" in lines


@pytest.mark.parametrize("minutes", [None, 0.5])
def test_a_try_is_not_held_up(posts, minutes):
    assert suspects(posts, config(minutes)) == ()


def test_a_plain_text_is_not_suspected():
    rng = random.Random(1)
    text = Text.from_string("\n".join(document(rng, 50) for _ in range(50)), "it")
    assert suspects(text, config(3)) == ()


def test_only_the_beginning_of_a_long_text_is_looked_at(monkeypatch):
    text = Text.from_string("plain\n" * 40 + "\x07", "it")
    assert len(suspects(text, config(1))) == 2
    monkeypatch.setattr(module, "PER_MINUTE", 200)
    assert suspects(text, config(1)) == ()
