import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data import duplicates
from charloom.data.duplicates import Documents, Pair, likeness, repeated_passages, sketch

WORDS = [a + b + c for a in "bdfglmnprst" for b in "aeiou" for c in ("n", "r", "st", "la", "")]


def document(rng: random.Random, words: int = 200) -> str:
    """Sentences of invented words, as frequent as words are."""
    weights = [1 / rank for rank in range(1, len(WORDS) + 1)]
    found = rng.choices(WORDS, weights, k=words)
    return " ".join(word + "." * (rng.random() < 0.1) for word in found)


def edited(rng: random.Random, text: str, share: float, unit: str) -> str:
    """Replace a share of the words, or of the characters, by others."""
    if unit == "words":
        return " ".join(rng.choice(WORDS) if rng.random() < share else w for w in text.split(" "))
    letters = "abcdefghijklmnopqrstuvwxyz"
    return "".join(rng.choice(letters) if rng.random() < share else c for c in text)


@pytest.mark.parametrize("unit", ["words", "characters"])
@pytest.mark.parametrize("seed", range(2))
def test_fifty_planted_pairs_among_a_thousand_documents_are_found(unit, seed):
    rng = random.Random(seed)
    texts = [document(rng, rng.randint(60, 400)) for _ in range(950)]
    planted = set()
    for original in rng.sample(range(950), 50):
        planted.add((original, len(texts)))
        texts.append(edited(rng, texts[original], 0.05, unit))
    documents = Documents()
    assert len({documents.add(text) for text in texts}) == len(texts)
    found = {(first, second) for first, second, _ in documents.near()}
    assert planted <= found
    assert len(found - planted) <= 1


def test_equal_documents_are_named_once_each():
    documents = Documents()
    said = [documents.add(text) for text in ("one", "two", "one\n", "", "two", "one")]
    assert [said.index(number) for number in said] == [0, 1, 0, 3, 1, 0]
    assert documents.equal() == [Pair(0, 2, 1.0), Pair(1, 4, 1.0), Pair(0, 5, 1.0)]
    assert documents.near() == []


def test_short_documents_are_only_compared_exactly():
    documents = Documents()
    for text in ("yes, that is so", "yes, that is so!"):
        documents.add(text)
    assert documents.near() == []


def test_documents_behind_the_first_are_only_compared_exactly(monkeypatch):
    monkeypatch.setattr(duplicates, "MOST_DOCUMENTS", 2)
    rng = random.Random(4)
    one, documents = document(rng), Documents()
    for text in (one, one, document(rng), one + "!", one + "!"):
        documents.add(text)
    assert documents.equal() == [Pair(0, 1, 1.0), Pair(3, 4, 1.0)]
    assert documents.near() == []
    assert documents.passed_over == 2


def test_a_sketch_has_the_smallest_hashes_however_the_text_is_cut(monkeypatch):
    text = document(random.Random(5), 1000)
    whole = sketch(text)
    assert len(whole) == duplicates.SKETCH
    for size in (1, 12, 100, 999):
        monkeypatch.setattr(duplicates, "SKETCHED_AT_ONCE", size)
        assert sketch(text).tolist() == whole.tolist()


@pytest.mark.parametrize("at_once", [1, 50])
def test_what_is_found_does_not_depend_on_how_many_pairs_are_counted_at_once(monkeypatch, at_once):
    rng = random.Random(6)
    texts = [document(rng, 40) for _ in range(30)]
    texts += [edited(rng, texts[n % 9], 0.05, "words") for n in range(9 * duplicates.CROWD)]
    found = []
    for most in (duplicates.PAIRS_AT_ONCE, at_once):
        monkeypatch.setattr(duplicates, "PAIRS_AT_ONCE", most)
        documents = Documents()
        for text in texts:
            documents.add(text)
        found.append(documents.near())
    assert len(found[0]) > 100
    assert found[0] == found[1]


def test_many_versions_of_one_document_are_all_found():
    rng = random.Random(0)
    one, documents = document(rng), Documents()
    for _ in range(3 * duplicates.CROWD):
        documents.add(edited(rng, one, 0.02, "words"))
    linked = {pair.first for pair in documents.near()} | {pair.second for pair in documents.near()}
    assert len(linked) > 2.9 * duplicates.CROWD


@given(st.text(max_size=400), st.text(max_size=400))
def test_likeness_of_small_texts_is_the_jaccard_index(one, two):
    sets = [{text[i : i + 12] for i in range(len(text) - 11)} for text in (one, two)]
    if all(len(found) <= 100 for found in sets):
        both = len(sets[0] | sets[1])
        expected = len(sets[0] & sets[1]) / max(1, both)
        assert likeness(sketch(one), sketch(two)) == pytest.approx(expected)
    assert likeness(sketch(one), sketch(two)) == likeness(sketch(two), sketch(one))


def test_likeness_of_long_texts_is_near_it():
    rng = random.Random(1)
    one = document(rng, 3000)
    for share in (0.01, 0.05, 0.2, 1.0):
        two = edited(rng, one, share, "words")
        sets = [{text[i : i + 12] for i in range(len(text) - 11)} for text in (one, two)]
        exact = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
        assert likeness(sketch(one), sketch(two)) == pytest.approx(exact, abs=0.12)


def test_a_long_passage_is_found_with_both_places_and_its_whole_length():
    rng = random.Random(2)
    passage, fill = document(rng, 300), [document(rng, 500) for _ in range(3)]
    text = "#".join([fill[0], passage, fill[1], passage + "!", fill[2]])
    first, again = text.index(passage), text.rindex(passage)
    assert repeated_passages(text) == [(first - 1, again - 1, len(passage) + 1)]


def test_short_passages_and_none():
    rng = random.Random(3)
    short = document(rng, 20)
    assert len(short) < duplicates.PASSAGE
    text = f"{document(rng, 500)}#{short}#{document(rng, 500)}@{short}@{document(rng, 400)}"
    assert repeated_passages(text) == []
    assert repeated_passages("") == repeated_passages("a" * 499) == []


@given(st.integers(0, 2**32), st.integers(0, 3), st.integers(0, 1500))
def test_what_is_found_is_repeated_and_as_long_as_can_be(seed, copies, length):
    rng = random.Random(seed)
    piece = "".join(rng.choices("abcd \n", k=length))
    parts = ["".join(rng.choices("abcd \n", k=rng.randint(0, 300))) for _ in range(copies + 1)]
    text = piece.join(parts)
    end = 0
    for place, again, size in repeated_passages(text):
        assert place < again
        assert again >= end
        assert size >= duplicates.PASSAGE
        assert text[place : place + size] == text[again : again + size]
        assert again + size == len(text) or text[place + size] != text[again + size]
        end = again + size


@given(st.lists(st.text(max_size=100), max_size=20))
def test_any_documents_can_be_compared(texts):
    documents = Documents()
    for text in texts:
        documents.add(text)
    for first, second, alike in [*documents.equal(), *documents.near()]:
        assert 0 <= first < second < len(texts)
        assert duplicates.LIKE <= alike <= 1
