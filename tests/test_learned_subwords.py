from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tokenizers")

from charloom.data.learned_subwords import FEWEST, MOST, learn_subwords, vocabulary_size
from charloom.data.subwords import Subwords

TEXT = "Half a league, half a league,\nHalf a league onward, Dämmerung and 東京.\n" * 20
UNITS = ["bpe", "word"]
PLAIN = {unit: learn_subwords([TEXT], len(TEXT), unit, False) for unit in UNITS}
BOUND = {unit: learn_subwords([TEXT], len(TEXT), unit, True) for unit in UNITS}
ANY = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize("unit", UNITS)
@given(ANY)
def test_any_text_comes_back(unit, text):
    for tokens in (PLAIN[unit], BOUND[unit]):
        ids = tokens.encode(text)
        assert tokens.utf8(ids) == text.encode()
        assert tokens.count(ids) == len(text)


@pytest.mark.parametrize("unit", UNITS)
@given(ANY, st.lists(st.integers(0, 40)))
def test_a_text_in_pieces_is_that_of_the_whole(unit, text, cuts):
    ids = BOUND[unit].encode(text)
    bounds = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
    decoder = BOUND[unit].decoder()
    pieces = [decoder.add(ids[a:b]) for a, b in pairwise(bounds)]
    assert "".join(pieces) == BOUND[unit].decode(ids) == text.replace("\0", "\n")


@pytest.mark.parametrize("unit", UNITS)
def test_what_is_frequent_is_one_token(unit):
    ids = PLAIN[unit].encode(" league league league")
    assert len(ids) == 3
    assert len(set(ids.tolist())) == 1


@pytest.mark.parametrize("unit", UNITS)
def test_what_was_never_seen_is_spelled_in_bytes(unit):
    assert len(PLAIN[unit].encode("\U0001f9a4")) == 4


@pytest.mark.parametrize("unit", UNITS)
def test_the_boundary_is_a_token_and_joined_to_nothing(unit):
    assert PLAIN[unit].boundary is None
    end = BOUND[unit].boundary
    assert BOUND[unit].encode("league\0\0 league.\0").tolist().count(end) == 3
    assert BOUND[unit].prompt("").tolist() == [end]
    assert BOUND[unit].decode([end]) == "\n"


@pytest.mark.parametrize("unit", UNITS)
def test_the_same_text_gives_the_same_tokens_however_it_is_cut(unit):
    lines = TEXT.splitlines(keepends=True)
    assert learn_subwords(lines, len(TEXT), unit, False) == PLAIN[unit]
    assert Subwords.from_json(PLAIN[unit].to_json()) == PLAIN[unit]
    assert PLAIN[unit].to_json().isascii()


@pytest.mark.parametrize("unit", UNITS)
def test_nothing_is_learned_of_what_is_held_out(unit):
    held_out = ["Cannon to right of them, " * 500, "Cannon to left of them. " * 500]
    assert learn_subwords([TEXT + held_out[0], held_out[1]], len(TEXT), unit, False) == PLAIN[unit]


def test_a_longer_text_has_more_of_them_within_bounds():
    sizes = [vocabulary_size(10**power) for power in range(10)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (FEWEST, MOST)


@pytest.mark.parametrize("unit", UNITS)
def test_what_is_rare_in_the_training_text_is_spelled_so_that_bytes_are_learned(unit):
    tokens = learn_subwords(["a league and Ozymandias ", TEXT], len(TEXT), unit, False)
    assert len(tokens.encode(" Ozymandias")) >= 6
    assert len(tokens.encode(" league")) == 1


@pytest.mark.parametrize("unit", UNITS)
def test_a_text_of_few_words_has_only_those(unit):
    assert len(learn_subwords(["a b"], 3, unit, True)) < FEWEST
