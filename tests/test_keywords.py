import math
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.analysis.keywords import keywords
from charloom.analysis.word_counts import (
    Frequencies,
    cohesion_g2,
    common_english,
    frequencies,
    keyness,
    phrases,
    stretches,
    words,
)
from charloom.data.known_texts import load_corpus
from expect import refused

COUNTS = st.integers(0, 50)


def test_words_are_letters_in_lower_case_with_apostrophes_and_hyphens_inside():
    assert words("Don\u2019t: the WELL-known 42 'Été', x_y it's'") == [
        *("don't", "the", "well-known", "été", "x", "y", "it's")
    ]


def test_phrases_do_not_reach_over_punctuation_or_empty_lines():
    text = "the old man\nsat. The sea,  old\tman!\n\nThe end"
    assert [*stretches(text)] == [
        ["the", "old", "man", "sat"],
        ["the", "sea"],
        ["old", "man"],
        ["the", "end"],
    ]
    counts = phrases(text)
    assert counts["old", "man"] == 2
    assert counts["the", "old", "man"] == 1
    assert counts["man", "the"] == 0
    assert counts[("the",)] == 3


@given(st.text("ab ,\n'-", max_size=80))
def test_stretches_have_the_words(text):
    assert [word for stretch in stretches(text) for word in stretch] == words(text)


def g2_of_table(a, c, b, d):
    """The sum over both texts of 2 O ln(O / E), as in Rayson & Garside's table."""
    expected = c * (a + b) / (c + d), d * (a + b) / (c + d)
    return 2 * sum(o * math.log(o / e) for o, e in zip((a, b), expected, strict=True) if o)


@given(COUNTS, COUNTS, st.integers(50, 999), st.integers(50, 999))
def test_keyness_is_the_log_likelihood_with_the_sign_of_the_difference(a, b, c, d):
    if a + b:
        assert abs(keyness(a, c, b, d)) == pytest.approx(g2_of_table(a, c, b, d), abs=1e-9)
        assert (keyness(a, c, b, d) >= -1e-12) == (a * d >= b * c)
    assert keyness(a, c, b, d) == pytest.approx(-keyness(b, d, a, c), abs=1e-9)


def test_keyness_by_hand():
    # 10 of 100 against 10 of 300: expected 5 and 15
    assert keyness(10, 100, 10, 300) == pytest.approx(20 * math.log(2) + 20 * math.log(2 / 3))
    assert keyness(0, 0, 3, 10) == keyness(0, 10, 0, 10) == 0


def test_cohesion_g2_by_hand():
    counts = Counter({("a",): 4, ("b",): 2, ("a", "b"): 2})
    # of 8 words expected 4 * 2 / 8 = 1, seen 2
    expected = 2 * (2 * math.log(2) + 6 * math.log(6 / 7))
    assert cohesion_g2(("a", "b"), counts, 8) == pytest.approx(expected)
    assert cohesion_g2(("a", "b"), Counter({("a",): 4, ("b",): 4, ("a", "b"): 2}), 8) == 0


def test_the_list_of_common_english_is_what_it_says():
    english = common_english()
    assert len(english.counts) == 3_000
    rates = list(english.counts.values())
    assert rates == sorted(rates, reverse=True)
    assert list(english.counts)[:5] == ["the", "and", "of", "to", "a"]
    assert english.least == rates[-1] == english.count("charloom")
    assert 0.6 < sum(rates) / english.total < 1
    assert all(words(word) == [word] for word in english.counts)


SOURCE = "the president of the united states shall govern the united states. " * 30
SOURCE += "the congress shall tax whales. " * 20
TEXT = "the president of the united states shall sing the united states shell. " * 20


def test_words_are_kept_lost_and_invented():
    found = keywords(TEXT, SOURCE)
    kept, lost = ({row.word: row for row in rows} for rows in (found.kept, found.lost))
    assert {"president", "united", "states", "shall"} <= kept.keys()
    assert {"congress", "tax", "whales", "govern"} <= lost.keys()
    assert not kept.keys() & lost.keys()
    assert (lost["congress"].text, lost["congress"].source) == (0, 20)
    assert lost["congress"].change == keyness(0, len(words(TEXT)), 20, len(words(SOURCE)))
    assert {row.word: (row.text, row.listed, row.near) for row in found.invented} == {
        "shell": (20, False, "shall"),
        "sing": (20, True, ""),
    }
    assert found.invented_words == 2
    assert found.new_share == pytest.approx(40 / (12 * 20))
    assert found.real_share == pytest.approx(1 - 20 / (12 * 20))
    assert {"united states"} == {row.word for row in found.kept_phrases}
    assert "congress shall tax" in {row.word for row in found.lost_phrases}


def test_a_source_keeps_all_its_own_words():
    source = load_corpus("us-constitution")
    found = keywords(source, source, human="We the Peeple")
    assert found.lost == found.lost_phrases == found.invented == ()
    assert found.unsure == found.unsure_phrases == 0
    assert (found.new_share, found.real_share) == (0, 1)
    assert found.human_new_share == pytest.approx(1 / 3)
    assert keywords(source, source, human=source[:3_000]).human_new_share is None
    assert [row.change for row in found.kept] == [0] * 20
    assert [row.word for row in found.kept[:3]] == ["shall", "president", "states"]
    assert found.of_source == found.of_text
    assert "house of representatives" in {row.word for row in found.kept_phrases}
    assert found.is_english


def test_a_short_text_is_not_said_to_have_lost_what_it_may_lack_by_chance():
    source = load_corpus("us-constitution")
    found = keywords("the president shall", source, top=1000)
    assert found.lost == ()
    assert [row.word for row in found.kept] == ["shall", "president", "the"]
    assert found.unsure > 20


def test_key_words_are_those_of_which_another_text_has_less():
    against = Frequencies("shop", Counter({"whales": 500, "the": 9, "shall": 1}), 1000)
    found = keywords(TEXT, SOURCE, against)
    assert found.against == "shop"
    rows = {row.word: row.keyness for row in found.of_source}
    assert "whales" not in rows
    assert rows["congress"] == pytest.approx(keyness(20, len(words(SOURCE)), 0, 1000))
    assert found.real_share == pytest.approx(1 - 40 / (12 * 20))
    own = keywords(TEXT, SOURCE, frequencies(SOURCE, "itself"))
    assert own.of_source == own.kept == ()


def test_lists_have_so_many_rows_at_most():
    source = load_corpus("us-constitution")
    found = keywords(source[:9_000], source[20_000:], top=3)
    for rows in (found.of_text, found.of_source, found.kept, found.kept_phrases, found.invented):
        assert len(rows) == 3
    assert len(found.lost) <= 3


def test_key_phrases_by_yake():
    pytest.importorskip("yake")
    source = load_corpus("us-constitution")[:6_000]
    found = keywords(source, source, yake=True)
    assert "united states" in {row.word for row in found.kept_phrases}
    assert [row.keyness for row in found.kept_phrases] == sorted(
        row.keyness for row in found.kept_phrases
    )


def test_without_yake_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "yake", None)
    with refused("missing-library", library="yake"):
        keywords(TEXT, SOURCE, yake=True)


@pytest.mark.parametrize(("text", "source", "which"), [("1 2", "a", "text"), ("a", ".", "source")])
def test_a_text_without_words_is_refused(text, source, which):
    with refused("no-text", field=which) as caught:
        keywords(text, source, names=("text.txt", "source.txt"))
    assert f"{which}.txt" in str(caught.value)


@given(st.text("ab 'é\n.", min_size=1, max_size=60), st.text("ab c\n", min_size=1, max_size=60))
def test_shares_are_shares_of_any_text(text, source):
    if not words(text) or not words(source):
        return
    found = keywords(text, source)
    assert 0 <= found.new_share <= 1
    assert 1 - found.new_share <= found.real_share + 1e-12 <= 1 + 1e-9
    assert all(row.word not in words(source) for row in found.invented)
