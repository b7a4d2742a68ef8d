from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data import parts
from charloom.data.text import Text
from charloom.data.token_file import map_text
from charloom.data.unknown import MOST_NAMED, check_known, unknown_characters, without
from charloom.data.vocabulary import Vocabulary
from expect import refused

LETTERS = Vocabulary.from_text("\nab ")


def text(content: str) -> Text:
    return Text.from_string(content, "odd.txt")


def test_all_unknown_characters_are_counted_and_named_the_most_frequent_first() -> None:
    found = unknown_characters(text("ab\nac é 😀 éb"), LETTERS)
    assert found is not None
    assert [*found.counts.items()] == [("é", 2), ("c", 1), ("😀", 1)]
    assert (found.character, found.position, found.line) == ("c", 4, 2)
    assert all(name in str(found) for name in ("4 ", "'é' (U+00E9", "2 times", "'😀' (U+1F600"))


def test_a_text_without_unknown_characters_has_none() -> None:
    assert unknown_characters(text("ab\n"), LETTERS) is None
    assert check_known(text("ab\n"), LETTERS, "it") is None


def test_however_many_there_are_only_some_are_named() -> None:
    many = "".join(map(chr, range(0x400, 0x400 + 1000)))
    with refused("unknown-character", character="\u0400", position=2, line=1) as caught:
        check_known(text("ab" + many), LETTERS, "odd.txt", "error")
    assert len(str(caught.value)) < 100 * MOST_NAMED
    assert "992 others" in str(caught.value)
    assert len(caught.value.facts["counts"]) == 1000  # type: ignore[arg-type]
    assert "--unknown skip" in str(caught.value)


def test_who_cannot_skip_is_not_told_to() -> None:
    with refused("unknown-character", character="c", position=1) as caught:
        check_known(text("ac"), LETTERS, "odd.txt")
    assert "--unknown" not in str(caught.value)
    with refused("bad-setting", field="unknown"):
        check_known(text("ac"), LETTERS, "odd.txt", "leave")  # type: ignore[arg-type]


@given(st.text("\nab é😀", max_size=60))
def test_what_is_left_out_is_what_is_unknown(content: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "CHUNK", 7)
        found = check_known(text(content), LETTERS, "it", "skip")
        counts = found.counts if found else {}
        assert counts == {c: content.count(c) for c in "é😀" if c in content}
        assert not found or content[found.position] == found.character
        assert not found or content[: found.position].count("\n") == found.line - 1
        rest = without(content, counts)
        assert rest == "".join(c for c in content if c not in "é😀")
        if rest:
            assert LETTERS.decode(map_text(text(content), LETTERS, leave_out=counts)) == rest


def test_characters_are_left_out_of_files_that_are_joined(tmp_path: Path) -> None:
    for number, content in enumerate(("aé", "é", "b\n", "éb")):
        (tmp_path / f"{number}.txt").write_text(content, "utf-8")
    from charloom.data.text import read_text

    joined = read_text([str(tmp_path)])
    assert LETTERS.decode(map_text(joined, LETTERS, leave_out="é")) == without(joined.content, "é")


def test_half_a_character_is_an_unknown_one() -> None:
    with refused("unknown-character", character="\udcff", position=2) as caught:
        check_known(text("ab\udcff"), LETTERS, "odd.txt")
    assert str(caught.value).isprintable()
