import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom import load, train
from charloom.config import DataConfig
from charloom.data.normalization import LONGEST, normal, normalized_pieces
from charloom.data.reading import Reading
from charloom.data.text import read_text
from charloom.data.writing import Writing

FORMS = ("NFC", "NFKC")
# Latin, marks in two orders, Hangul by parts, vowel signs that join, what is only compatible.
LETTERS = (
    "aeA \né́\u0323\u0302\u1100\u1161\u11a8가각\u09c7\u09be\u3099か\uff9eﬁ①\u2126\u0344\u00a8😀"
)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=60)
@given(text=st.text(LETTERS, max_size=30) | st.text(max_size=20), data=st.data())
def test_pieces_cut_anywhere_become_what_the_whole_does(form, text, data):
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    bounds = zip([0, *cuts], [*cuts, len(text)], strict=True)
    pieces = [text[a:b] for a, b in bounds if a < b]
    changes, at_once = Counter(), Counter()
    found = [*normalized_pieces(pieces, form, changes)]
    assert all(found)
    assert "".join(found) == unicodedata.normalize(form, text)
    assert "".join(normalized_pieces([text], form, at_once)) == "".join(found)
    assert +changes == +at_once
    assert bool(+changes) == (not unicodedata.is_normalized(form, text))


@pytest.mark.parametrize("form", FORMS)
def test_a_cut_within_any_character_of_several_parts_changes_nothing(form):
    for character in map(chr, range(0x110000)):
        if character in unicodedata.normalize("NFD", character):  # it has no parts
            continue
        text = unicodedata.normalize("NFD", character)
        found = "".join(normalized_pieces(text, form, Counter()))
        assert found == unicodedata.normalize(form, text)


def test_a_run_of_marks_without_end_takes_no_time_without_end():
    text = "a" + "\u0315\u0300" * 50_000
    changes, pieces = Counter(), [text[at : at + 1000] for at in range(0, len(text), 1000)]
    found = "".join(normalized_pieces(pieces, "NFC", changes))
    assert found == normal(text, "NFC", Counter())
    assert found.startswith("\u00e0" + "\u0300" * (LONGEST // 2 - 1) + "\u0315")
    apart = "".join(unicodedata.normalize("NFD", character) for character in found)
    assert Counter(apart) == Counter(text)


def test_what_was_changed_is_counted_whatever_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Cafe\u0301 cre\u0300me\n", "utf-8")
    (tmp_path / "b.md").write_text("---\ntitle: B\n---\nCafe\u0301\n", "utf-8")
    reading = Reading.of(DataConfig(normalize="NFC"))
    text = read_text([str(tmp_path)], reading=reading)
    assert text.content == "Café crème\nCafé"
    assert "normalized to NFC: 3 characters changed" in text.notes
    writing = Writing([str(tmp_path)], reading)
    assert "Café crème" in "".join(writing.pieces())
    assert "normalized to NFC: 3 characters changed" in writing.notes
    assert "e\u0301" in read_text([str(tmp_path)]).content


def test_a_text_is_read_on_from_any_place(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("charloom.data.utf8.CHUNK", 7)
    (tmp_path / "it.txt").write_text("Cafe\u0301 cre\u0300me a\u0323\u0302 가\u11a8\n" * 3, "utf-8")
    text = read_text([str(tmp_path / "it.txt")], reading=Reading(normalize="NFC"))
    begun = ""
    for piece, place in text.walk():
        begun += piece
        assert begun + "".join(rest for rest, _ in text.walk(place)) == text.content


def test_a_prompt_is_put_into_the_form_of_the_runs_text(tmp_path: Path) -> None:
    (tmp_path / "it.txt").write_text("Cafe\u0301 cre\u0300me\n" * 50, "utf-8")
    path = tmp_path / "run"
    train(tmp_path / "it.txt", out=path, model="ngram", order=2, normalize="NFC")
    assert load(path).sample("Cafe\u0301", length=0) == "Café"


def test_a_run_that_begins_from_another_has_its_form(tmp_path: Path) -> None:
    (tmp_path / "it.txt").write_text("Caf\u00e9\n" * 50, "utf-8")
    (tmp_path / "new.txt").write_text("Cafe\u0301\n" * 50, "utf-8")
    settings = {"iterations": 1, "engine": "reference"}
    old = train(tmp_path / "it.txt", out=tmp_path / "a", hidden=4, normalize="NFC", **settings)
    new = train(tmp_path / "new.txt", out=tmp_path / "b", start=old.path, **settings)
    assert new.vocabulary.characters == old.vocabulary.characters
