import json
import pickle

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from charloom.data.boundary import visible
from charloom.data.vocabulary import UnknownCharacterError, Vocabulary
from charloom.errors import CharloomError
from expect import refused

texts = st.text(st.characters(exclude_categories=["Cs"]))


def vocabulary_of(text: str) -> Vocabulary:
    return Vocabulary(tuple(sorted(set(text))))


@given(texts)
def test_decoding_undoes_encoding(text):
    vocabulary = vocabulary_of(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int32
    assert ids.shape == (len(text),)
    assert vocabulary.utf8(ids).decode() == text
    assert vocabulary.decode(ids) == visible(text)


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
        assert vocabulary.decode(vocabulary.encode(text)) == visible(text)
        return
    position = unknown[0]
    with refused("unknown-character", character=text[position], position=position) as caught:
        vocabulary.encode(text)
    assert (caught.value.character, caught.value.position) == (text[position], position)


def test_ids_follow_code_points():
    vocabulary = Vocabulary.from_text("hello, \U0001f600 wörld\n")
    assert vocabulary.characters == tuple("\n ,dehlorwö\U0001f600")
    assert len(vocabulary) == 12
    np.testing.assert_array_equal(vocabulary.encode("\n\U0001f600"), [0, 11])


def test_every_unicode_scalar_makes_a_vocabulary():
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    vocabulary = Vocabulary(tuple(text))
    np.testing.assert_array_equal(vocabulary.encode(text), np.arange(1_112_064))
    assert vocabulary.utf8(np.arange(1_112_064)).decode() == text
    assert vocabulary.decode(np.arange(1_112_064)) == visible(text)


def test_long_text_is_encoded_across_chunks():
    text = (
        "abcdefg" * 40_000
    )  # 280,000 characters: several chunks, none of them a whole number of 7s
    np.testing.assert_array_equal(
        Vocabulary.from_text(text).encode(text), np.tile(np.arange(7), 40_000)
    )
    with refused("unknown-character", character="!", position=280_000):
        Vocabulary.from_text(text).encode(text + "!" + text + "?")


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
    with refused("unknown-character", position=2) as caught:
        Vocabulary.from_text("abc").encode("ab" + character)
    assert shown in str(caught.value)
    assert str(caught.value).isprintable()


def test_the_error_survives_pickling():
    error = pickle.loads(pickle.dumps(UnknownCharacterError("x", 7)))
    assert (error.character, error.position) == ("x", 7)
    assert str(error) == str(UnknownCharacterError("x", 7))


@pytest.mark.parametrize("text", ["", "a", "\n" * 1234])
def test_text_of_fewer_than_two_distinct_characters_is_refused(text):
    with refused("no-text", characters=len(text)):
        Vocabulary.from_text(text)


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
    with refused("damaged"):
        Vocabulary.from_json(document)


@given(st.text(max_size=40) | st.lists(st.text(max_size=2)).map(json.dumps))
def test_any_document_is_read_or_refused(document):
    try:
        vocabulary = Vocabulary.from_json(document)
    except CharloomError:
        return
    assert list(vocabulary.characters) == sorted(set(json.loads(document)))


@pytest.mark.parametrize("ids", [[-1], [3], [0, 1, 2, 2**40]])
def test_decoding_refuses_ids_outside_the_vocabulary(ids):
    with pytest.raises(IndexError):
        Vocabulary.from_text("abc").decode(ids)


def test_vocabularies_compare_and_hash_by_their_characters():
    assert Vocabulary.from_text("abc") == Vocabulary.from_text("ccbbaa")
    assert Vocabulary.from_text("abc") != Vocabulary.from_text("abd")
    assert hash(Vocabulary.from_text("abc")) == hash(Vocabulary.from_text("cba"))


@given(st.text(st.characters(max_codepoint=0x7F), min_size=2), st.text(max_size=50))
def test_ids_of_a_whole_text_are_those_of_its_characters(content, other):
    """Of ASCII they are looked up by byte."""
    assume(len(set(content)) > 1)
    vocabulary = Vocabulary.from_text(content)
    ids = vocabulary.whole(content)
    assert ids.tolist() == vocabulary.encode(content).tolist()
    assert vocabulary.utf8(ids) == vocabulary.utf8(ids.astype(np.int64)) == content.encode()
    if unknown := [place for place, c in enumerate(other) if c not in content]:
        with pytest.raises(UnknownCharacterError) as raised:
            vocabulary.whole(other)
        assert raised.value.position == unknown[0]


def test_an_id_that_is_too_large_is_refused_in_bytes_too():
    vocabulary = Vocabulary.from_text("abc")
    for dtype in (np.uint8, np.int64):
        with pytest.raises(IndexError):
            vocabulary.utf8(np.array([0, 3], dtype))
    assert vocabulary.utf8(np.array([], np.uint8)) == b""


def test_a_boundary_is_learned_and_shown_as_a_line_end():
    vocabulary = Vocabulary.from_text("one\n\0two\n\0")
    assert vocabulary.boundary == 0
    ids = vocabulary.encode("one\n\0two\n\0")
    assert vocabulary.utf8(ids) == b"one\n\0two\n\0"
    assert vocabulary.decode(ids) == "one\n\ntwo\n\n"
    assert vocabulary.prompt("").tolist() == [0]
    assert Vocabulary.from_text("one\n").boundary is None
