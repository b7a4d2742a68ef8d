import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data.vocabulary import UnknownCharacterError, Vocabulary
from charloom.errors import CharloomError

texts = st.text(st.characters(exclude_categories=["Cs"]))


def vocabulary_of(text: str) -> Vocabulary:
    return Vocabulary(tuple(sorted(set(text))))


@given(texts)
def test_decoding_undoes_encoding(text):
    vocabulary = vocabulary_of(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int32
    assert ids.shape == (len(text),)
    assert vocabulary.decode(ids) == text


@given(texts)
def test_json_keeps_every_character(text):
    vocabulary = vocabulary_of(text)
    document = vocabulary.to_json()
    assert document.isascii()
    assert Vocabulary.from_json(document) == vocabulary


@given(texts, texts)
def test_encoding_finds_the_first_unknown_character(known, text):
    vocabulary = vocabulary_of(known)
    unknown = [place for place, character in enumerate(text) if character not in known]
    if not unknown:
        assert vocabulary.decode(vocabulary.encode(text)) == text
        return
    with pytest.raises(UnknownCharacterError) as caught:
        vocabulary.encode(text)
    assert caught.value.position == unknown[0]
    assert caught.value.character == text[unknown[0]]


def test_ids_follow_code_points():
    vocabulary = Vocabulary.from_text("hello, \U0001f600 wörld\n")
    assert vocabulary.characters == tuple("\n ,dehlorwö\U0001f600")
    assert len(vocabulary) == 12
    np.testing.assert_array_equal(vocabulary.encode("\n\U0001f600"), [0, 11])


def test_every_unicode_scalar_makes_a_vocabulary():
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    vocabulary = Vocabulary.from_text(text)
    assert len(vocabulary) == 1_112_064
    assert vocabulary.decode(vocabulary.encode(text[::-1])) == text[::-1]


def test_long_text_is_encoded_across_chunks():
    text = (
        "abcdefg" * 40_000
    )  # 280,000 characters: several chunks, none of them a whole number of 7s
    np.testing.assert_array_equal(
        Vocabulary.from_text(text).encode(text), np.tile(np.arange(7), 40_000)
    )
    with pytest.raises(UnknownCharacterError) as caught:
        Vocabulary.from_text(text).encode(text + "!" + text + "?")
    assert (caught.value.character, caught.value.position) == ("!", 280_000)


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        ("é", "'é' (U+00E9 LATIN SMALL LETTER E WITH ACUTE)"),
        ("\x1b", r"'\x1b' (U+001B)"),
        ("\u202e", r"'\u202e' (U+202E RIGHT-TO-LEFT OVERRIDE)"),
        ("\ud83d", r"'\ud83d' (U+D83D)"),
        ("\U0010ffff", r"'\U0010ffff' (U+10FFFF)"),
    ],
)
def test_the_error_for_an_unknown_character_shows_it_and_is_one_line(character, shown):
    with pytest.raises(UnknownCharacterError) as caught:
        Vocabulary.from_text("abc").encode("ab" + character)
    message = str(caught.value)
    assert shown in message
    assert "character 3 of the text" in message
    assert message.isprintable()


def test_the_error_survives_pickling():
    error = pickle.loads(pickle.dumps(UnknownCharacterError("x", 7)))
    assert (error.character, error.position) == ("x", 7)
    assert str(error) == str(UnknownCharacterError("x", 7))


@pytest.mark.parametrize(
    ("text", "names"), [("", "empty"), ("a", "1 characters"), ("\n" * 1234, "1,234 characters")]
)
def test_text_of_fewer_than_two_distinct_characters_is_refused(text, names):
    with pytest.raises(CharloomError, match="nothing to learn") as caught:
        Vocabulary.from_text(text)
    assert names in str(caught.value)


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[",
        '["a", "b"',
        "[" * 100_000,
        '{"a": 1}',
        "null",
        '"ab"',
        '["ab"]',
        '["a", ""]',
        '["a", 1]',
        '["a", null]',
        '["b", "a"]',
        '["a", "a"]',
        r'["\ud83d"]',
        f"[{'1' * 5000}]",
    ],
)
def test_a_document_that_is_no_vocabulary_is_refused(document):
    with pytest.raises(CharloomError, match="vocabulary"):
        Vocabulary.from_json(document)


@given(st.text(max_size=40) | st.recursive(st.text(max_size=2), st.lists).map(json.dumps))
def test_any_document_is_read_or_refused(document):
    try:
        vocabulary = Vocabulary.from_json(document)
    except CharloomError:
        return
    assert list(vocabulary.characters) == sorted(set(json.loads(document)))


@pytest.mark.parametrize("ids", [[-1], [3], [0, 1, 2, 2**40]])
def test_decoding_refuses_ids_outside_the_vocabulary(ids):
    with pytest.raises(IndexError, match="V is 3"):
        Vocabulary.from_text("abc").decode(ids)


def test_vocabularies_compare_and_hash_by_their_characters():
    assert Vocabulary.from_text("abc") == Vocabulary.from_text("ccbbaa")
    assert Vocabulary.from_text("abc") != Vocabulary.from_text("abd")
    assert hash(Vocabulary.from_text("abc")) == hash(Vocabulary.from_text("cba"))
