from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data.byte_vocabulary import ByteVocabulary
from charloom.data.raw_bytes import CHARACTERS, raw_bytes, raw_text
from charloom.data.tokenizer import Tokenizer
from charloom.data.vocabulary import UnknownCharacterError, Vocabulary
from expect import refused

BYTES = ByteVocabulary()
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
DATA = st.binary(max_size=64)


def ids_of(data):
    return np.frombuffer(data, np.uint8)


@given(TEXTS)
def test_any_text_is_its_utf8_and_comes_back(text):
    ids = BYTES.encode(text)
    assert ids.tolist() == list(text.encode())
    assert (BYTES.decode(ids), BYTES.utf8(ids)) == (text, text.encode())
    assert BYTES.unknown(set(text)) == ()


@given(TEXTS)
def test_a_byte_stands_for_the_character_that_begins_in_it(text):
    ids = BYTES.whole(text)
    assert BYTES.count(ids) == BYTES.lengths[ids].sum() == len(text)


@given(TEXTS, st.data())
def test_a_place_between_characters_is_found_among_bytes(text, data):
    cuts = sorted(data.draw(st.sets(st.integers(0, max(0, len(text) - 1))))) if text else []
    assert BYTES.find(BYTES.whole(text), cuts) == tuple(len(text[:cut].encode()) for cut in cuts)


@given(DATA)
def test_any_bytes_decode_to_what_is_shown_of_them(data):
    assert BYTES.utf8(ids_of(data)) == data
    assert BYTES.decode(ids_of(data)) == data.decode(errors="replace").replace("\0", "\n")


@given(DATA, st.lists(st.integers(0, 64)))
def test_a_text_in_pieces_is_that_of_the_whole_but_for_a_character_that_is_not_complete(data, cuts):
    decoder, bounds = BYTES.decoder(), [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [decoder.add(ids_of(data)[a:b]) for a, b in pairwise(bounds)]
    whole = BYTES.decode(ids_of(data))
    assert "".join(pieces) in (whole, whole.removesuffix("\ufffd"))
    assert "".join(pieces) + decoder.add(ids_of(b"\n")) == BYTES.decode(ids_of(data + b"\n"))


def test_a_character_is_shown_with_its_last_byte():
    decoder = BYTES.decoder()
    shown = [decoder.add(np.array([byte])) for byte in "a€😀".encode()]
    assert shown == ["a", "", "", "€", "", "", "", "😀"]
    assert not decoder.ended


def test_an_empty_prompt_is_a_new_document_or_line():
    assert ByteVocabulary(has_boundary=True).prompt("").tolist() == [0]
    assert BYTES.prompt("").tolist() == [ord("\n")]
    assert BYTES.prompt("é").tolist() == list("é".encode())


def test_only_half_a_character_is_unknown():
    assert BYTES.unknown(["a", "\ud83d", "😀"]) == ("\ud83d",)
    with pytest.raises(UnknownCharacterError) as caught:
        BYTES.encode("a\ud83d")
    assert (caught.value.character, caught.value.position) == ("\ud83d", 1)


def test_its_document_comes_back():
    for vocabulary in (BYTES, ByteVocabulary(has_boundary=True)):
        assert ByteVocabulary.from_json(vocabulary.to_json()) == vocabulary
    assert (BYTES.boundary, ByteVocabulary(has_boundary=True).boundary) == (None, 0)
    assert len(BYTES) == 256


@pytest.mark.parametrize("document", ["", "[]", '["a", "b"]', '{"unit": "byte"}', "[" * 10_000])
def test_what_is_not_its_document_is_refused(document):
    with refused("damaged"):
        ByteVocabulary.from_json(document)


@pytest.mark.parametrize("ids", [[256], [-1]])
def test_an_id_beyond_the_bytes_is_refused(ids):
    with pytest.raises(IndexError):
        BYTES.decode(ids)


def test_it_is_a_tokenizer():
    vocabulary: Tokenizer = BYTES
    assert (vocabulary.unit, vocabulary.characters) == ("bytes", ())


@given(DATA)
def test_each_byte_of_a_file_that_is_no_text_is_a_character_and_comes_back(data):
    text = raw_text(data)
    assert len(text) == len(data)
    assert raw_bytes(text) == data
    vocabulary = Vocabulary(CHARACTERS)
    assert vocabulary.decode(vocabulary.whole(text)) == text
    assert (len(vocabulary), vocabulary.boundary) == (256, None)
