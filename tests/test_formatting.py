"""How pieces of a text are cut for display."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.formatting import LONGEST_PIECE, harmless, in_a_line, whole_words

TEXT = "We the People of the United-States\n\nin Order"


@pytest.mark.parametrize(
    ("start", "end", "shown"),
    [
        (0, len(TEXT), TEXT),
        (1, 10, "the"),
        (2, 13, " the People"),
        (3, 13, "the People"),
        (8, 20, "of the"),
        (15, 37, "the United-States\n"),
        (22, 40, "\nin"),
        (22, 30, "nited-St"),  # there is nothing else
    ],
)
def test_a_stretch_keeps_whole_words(start, end, shown):
    first, last = whole_words(TEXT, start, end)
    assert TEXT[first:last] == shown


@given(st.text("ab \n", max_size=60), st.data())
def test_no_word_is_cut_in_two_but_a_long_one(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    first, last = whole_words(text, start, end)
    assert start <= first <= last <= end
    if max(map(len, text.split()), default=0) < min(LONGEST_PIECE, end - start):
        assert {*text[first:last].split()} <= {*text.split()}


@given(st.text(max_size=60) | st.text("\x1b\x07\x9b\u202e\u2066\u2028\x00\r ab", max_size=60))
def test_a_harmless_text_is_as_long_and_is_left_as_it_is(text):
    shown = harmless(text)
    assert len(shown) == len(text)
    assert harmless(shown) == shown
    assert not {*shown} & {*"\x1b\x07\x9b\u202e\u2066\u2028\x00\r\x7f\x85\ud800"}
    assert not {*in_a_line(text)} & {"\n", "\t"}


@pytest.mark.parametrize(
    "text", ["a\tb\nc", "1\u00a0000", "東\u3000京", "می\u200cخواهم", "👩\u200d🚀", "é↵·"]
)
def test_what_is_harmless_stays(text):
    assert harmless(text) == text
