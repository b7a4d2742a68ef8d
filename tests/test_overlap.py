"""What of a text stands in another, against a twin that searches for each passage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data import overlap as module
from charloom.data.overlap import WINDOW, code_points, rolling_hashes


def overlap(text: str, source: list[str]) -> float:
    return module.overlap(code_points(text), map(code_points, source))


def noise(count: int, seed: int) -> str:
    return "".join(map(chr, np.random.default_rng(seed).integers(97, 123, count)))


def test_other_text_does_not_overlap() -> None:
    assert overlap(noise(5000, 0), [noise(50_000, 1)]) == 0.0


def test_a_part_of_the_source_is_all_there_and_pieces_do_not_matter() -> None:
    source = noise(5000, 0)
    text = source[1000:2000]
    assert overlap(text, [source]) == 1.0
    assert overlap(text, [source[i : i + 7] for i in range(0, len(source), 7)]) == 1.0
    assert overlap(text, [source[:1500], source[1501:]]) < 1.0


def test_of_a_mixed_text_the_share_is_told() -> None:
    source = noise(5000, 0)
    text = source[:1000] + noise(1000 - WINDOW, 1) + noise(1, 2)
    passages = len(text) - WINDOW + 1
    assert overlap(text, [source]) == pytest.approx((1000 - WINDOW + 1) / passages)


def test_of_a_long_text_some_passages_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WINDOWS", 100)
    source = noise(5000, 0)
    assert overlap(source[:2500] + noise(2500, 1), [source]) == pytest.approx(0.5, abs=0.05)


def test_a_text_shorter_than_a_passage_is_one() -> None:
    assert overlap("the end", ["to the end of it"]) == 1.0
    assert overlap("the end", ["to a nd of it"]) == 0.0
    assert overlap("", ["abc"]) == 0.0
    assert overlap("abc", []) == 0.0


@given(
    st.text("ab\u20ac\U0001f600", max_size=300),
    st.lists(st.text("ab\u20ac\U0001f600", max_size=80), max_size=6),
)
def test_against_a_search_for_each_passage(text: str, pieces: list[str]) -> None:
    window = WINDOW
    while window > len(text):
        window //= 2
    passages = [text[i : i + window] for i in range(len(text) - window + 1)] if window else []
    found = [passage in "".join(pieces) for passage in passages]
    assert overlap(text, pieces) == pytest.approx(sum(found) / len(found) if found else 0.0)


@given(st.text(max_size=30), st.integers(1, 20))
def test_a_hash_of_a_window_is_a_polynomial(text, window):
    expected = [
        sum(
            (ord(c) + 1) * module._BASE ** (window - 1 - i)
            for i, c in enumerate(text[at : at + window])
        )
        for at in range(len(text) - window + 1)
    ]
    assert rolling_hashes(code_points(text), window).tolist() == [n % 2**64 for n in expected]
