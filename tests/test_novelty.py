import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.analysis.novelty import chance_length, copied, novelty, verdict
from charloom.data.known_texts import load_corpus
from charloom.data.suffix_array import Continuations
from expect import refused

LETTERS = "abcdefghijklmnopqrstuvwxyz .,\n"


def scramble(seed, length, letters=LETTERS):
    places = np.random.default_rng(seed).integers(0, len(letters), length)
    return "".join(np.array(list(letters))[places])


@pytest.fixture(scope="module")
def constitution():
    text = load_corpus("us-constitution")
    return text[:40_000], text[40_000:]


def share_new(text, source, n):
    grams = [text[i : i + n] for i in range(len(text) - n + 1)]
    return sum(gram not in source for gram in grams) / len(grams) if grams else math.nan


@given(st.text("ab\n", min_size=1, max_size=70), st.text("abc\n", min_size=1, max_size=70))
def test_shares_of_new_ngrams_are_counted(text, source):
    found = novelty(text, source, source[::-1])
    expected = [share_new(text, source, n) for n in range(1, 51)]
    np.testing.assert_allclose(found.text.new, expected)
    human = source[::-1][: len(text)]
    np.testing.assert_allclose(found.human.new, [share_new(human, source, n) for n in range(1, 51)])
    assert found.human.characters == len(human)


@given(st.text("ab\n", min_size=1, max_size=70), st.text("abc\n", min_size=1, max_size=70))
def test_copies_are_in_both_where_they_say(text, source):
    copies = novelty(text, source).copies
    for copy in copies:
        assert len(copy.passage) == copy.length > chance_length(text, source)
        assert text[copy.start : copy.start + copy.length] == copy.passage
        assert source.find(copy.passage) == copy.offset
        assert source[: copy.offset].count("\n") == copy.line - 1
    assert [c.length for c in copies] == sorted((c.length for c in copies), reverse=True)
    ends = sorted((c.start, c.start + c.length) for c in copies)
    assert all(end <= start for (_, end), (start, _) in pairwise(ends))


def test_a_planted_copy_of_200_characters_is_found_in_a_long_text():
    source, text = scramble(0, 20_000), scramble(1, 100_000)
    start, offset = 65_432, 7_654
    text = text[:start] + source[offset : offset + 200] + text[start + 200 :]
    [copy] = novelty(text, source).copies  # and nothing else
    # A letter before or after may be the same by chance.
    assert copy.start <= start <= copy.start + 5
    assert start + 200 <= copy.start + copy.length <= start + 205
    assert copy.offset - copy.start == offset - start
    assert copy.line == source[: copy.offset].count("\n") + 1


def shuffled(seed, text):
    return "".join(np.random.default_rng(seed).permutation(list(text)))


def test_a_copy_between_shuffled_words_is_found_at_its_exact_place(constitution):
    source, _ = constitution
    text = shuffled(1, source)
    text = text[:12_345] + "#" + source[20_000:20_200] + "#" + text[12_345:]
    found = novelty(text, source, shuffled(2, source))
    [copy] = found.copies
    assert (copy.start, copy.length, copy.offset) == (12_346, 200, 20_000)
    assert copy.passage == source[20_000:20_200]
    assert found.copies_more


def test_no_copy_is_found_in_texts_without_one(constitution):
    source = constitution[0][:10_000]
    for seed in range(5):
        found = novelty(shuffled(seed, source), source, shuffled(seed + 100, source))
        assert found.copies == ()
        assert not found.copies_more


def test_the_length_that_chance_gives_is_near_the_longest_seen():
    """E[longest] is near log(mn) / log(1/p); once in a thousand it is log(1000) / log(1/p) more."""
    for seed in range(5):
        source, text = scramble(seed, 30_000, "abcd"), scramble(seed + 50, 20_000, "abcd")
        longest = novelty(text, source).text.longest
        assert chance_length(text, source) - 9 <= longest <= chance_length(text, source)


def test_where_letters_differ_or_are_all_the_same_chance_gives_none_or_all():
    assert chance_length("aaa", "bb") == 0
    assert chance_length("aaa", "aa") == 2
    assert novelty("aaa", "bb").copies == novelty("aaa", "aa").copies == ()


def test_a_copy_of_the_source_copies_more_than_people_do(constitution):
    source, human = constitution
    found = novelty(source[:8_000], source, human)
    assert found.copies_more
    assert set(found.text.new) == {0.0}
    assert (found.copies[0].start, found.copies[0].length, found.copies[0].line) == (0, 8_000, 1)
    assert found.more_at[0] == 10


def test_people_do_not_copy_more_than_they_do(constitution):
    source, human = constitution
    assert novelty(human, source, human).copies_more is False
    assert novelty(human, source[:20_000], source[20_000:25_000]).copies_more is False


def test_nothing_is_compared_with_human_text_that_is_in_the_source(constitution):
    source, human = constitution
    for people, known in (
        (source[:5_000], 1.0),
        (source[:2_000] + human[:2_000], 0.5),
        ("the President", 1.0),
    ):
        found = novelty(human, source, people)
        assert found.human_known == pytest.approx(known, abs=0.1)
        assert not found.is_comparable
        assert found.copies_more is None
        assert found.more_at == ()
        assert "no more" not in verdict(found)
        assert "of the text by people is in the source" in verdict(found)
    assert novelty(human, source, human).is_comparable
    assert "no more" in verdict(novelty(human, source, human))


def test_one_long_copy_is_enough(constitution):
    source, human = constitution
    text = "%".join(human) + source[9_000:9_600]
    found = novelty(text, source, human)
    assert found.compared < 10
    assert not found.more_at
    assert not found.copies_more  # it stands behind what is compared
    found = novelty(source[9_000:9_600] + "%".join(human * 4), source, human * 4)
    assert found.compared == 600
    assert not found.more_at
    assert found.copies_more


@given(st.text("ab\n", max_size=60), st.text("abc\n", max_size=60), st.integers(1, 9))
def test_what_is_marked_as_copied_is_as_long_as_it_can_be_and_nothing_is_missed(text, source, n):
    place = 0
    for copy in copied(text, source, n):
        before, end = text[place : copy.start], copy.start + copy.length
        assert copy.passage == text[copy.start : end] == source[copy.offset :][: copy.length]
        assert copy.length >= n
        assert end == len(text) or text[copy.start : end + 1] not in source
        assert not any(text[k : k + n] in source for k in range(place, copy.start)), before
        assert copy.line == source.count("\n", 0, copy.offset) + 1
        place = end
    assert not any(text[k : k + n] in source for k in range(place, len(text) - n + 1))
    if n > 1:
        index = Continuations(source, n - 1)
        assert [*copied(text, source, n, index)] == [*copied(text, source, n)]


def test_without_human_text_nothing_is_judged():
    found = novelty("to be or not", "not to be", None)
    assert found.copies_more is found.human is found.compared is None


@pytest.mark.parametrize(("text", "source", "which"), [("", "a", "text"), ("a", "", "source")])
def test_an_empty_text_is_refused(text, source, which):
    with refused("no-text", field=which):
        novelty(text, source)
