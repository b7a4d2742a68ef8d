import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data import suffix_array as suffixes
from charloom.data.suffix_array import Continuations, double, match, suffix_array
from expect import refused

FEW = st.text("ab", max_size=60) | st.text("ab\n€𝄞", max_size=40)
REPEATED = st.builds(lambda part, n: part * n, st.text("abc", max_size=5), st.integers(0, 40))
TEXTS = FEW | REPEATED | st.text(max_size=30)


def ours(text, depth=None):
    return double(*suffixes._ids(text), depth)


@pytest.fixture
def alone(monkeypatch):
    """As where pydivsufsort is not installed."""
    monkeypatch.setattr(suffixes, "_divsufsort", lambda: None)


@given(TEXTS)
def test_places_are_in_the_order_of_their_suffixes(text):
    assert ours(text).tolist() == sorted(range(len(text)), key=lambda i: text[i:])


@given(TEXTS, st.integers(1, 12))
def test_with_a_depth_so_many_characters_are_in_order(text, depth):
    heads = [text[i : i + depth] for i in ours(text, depth)]
    assert heads == sorted(heads)
    assert len(heads) == len(text)


@pytest.mark.parametrize("V", [1, 2, 90, 255, 3000])
def test_long_texts_agree_with_pydivsufsort(V):
    pytest.importorskip("pydivsufsort")
    from pydivsufsort import divsufsort

    rng = np.random.default_rng(V)
    ids = rng.integers(1, V + 1, 20_000, np.int32)
    ids[5_000:9_000] = ids[:4_000]  # a long repetition
    oracle = divsufsort(ids.astype(np.uint8 if V < 256 else np.uint16))
    np.testing.assert_array_equal(double(ids, V), oracle)


def test_pydivsufsort_is_used_where_it_can_be():
    pytest.importorskip("pydivsufsort")
    assert suffixes._divsufsort()
    for text in ("mississippi", "".join(map(chr, range(300))) * 3, "ß", ""):
        np.testing.assert_array_equal(suffix_array(text), ours(text))


def check_matches(text, source):
    length, place = match(text, source)
    assert len(length) == len(place) == len(text)
    for i, (n, p) in enumerate(zip(length.tolist(), place.tolist(), strict=True)):
        assert text[i : i + n] in source
        assert i + n == len(text) or text[i : i + n + 1] not in source
        assert source[p : p + n] == text[i : i + n] if n else p == -1


@given(TEXTS, TEXTS)
def test_matches_are_the_longest(text, source):
    check_matches(text, source)


@given(FEW, st.data())
def test_matches_of_a_text_with_itself_and_its_parts(source, data):
    part = source[data.draw(st.integers(0, len(source))) :]
    check_matches(part, source)
    assert match(part, source).length.tolist() == [*range(len(part), 0, -1)]


def test_matches_without_pydivsufsort(alone):
    check_matches("she sells sea shells", "sea shells on the sea shore")
    check_matches("\0é\uffff𝄞z", "z𝄞\uffffé\0")


def test_too_long_a_text_is_refused(monkeypatch):
    monkeypatch.setattr(suffixes, "LARGEST", 10)
    suffix_array("0123456789")
    with refused("unsupported", characters=11, limit=10):
        match("01234", "56789")


@given(TEXTS, st.integers(1, 6), st.data())
def test_continuations_are_all_that_follow(source, depth, data):
    start = data.draw(st.integers(0, max(0, len(source) - depth)))
    passage = source[start : start + depth].ljust(depth, "?")
    expected = {
        source[i + depth] for i in range(len(source) - depth) if source[i : i + depth] == passage
    }
    found = Continuations(source, depth)
    assert found.after(passage) == expected
    for longer in (passage + "a", source[start : start + depth + 1]):
        assert found.holds(longer) == (longer in source) or len(longer) <= depth
