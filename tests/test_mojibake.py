from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.config import DataConfig
from charloom.data import mojibake
from charloom.data.mojibake import EXAMPLE, mended_pieces
from charloom.data.reading import Reading
from charloom.data.text import read_text

GOOD = "Größe und “Übermut” – schöne Grüße, ﬁn, cafe\u0301\n"
BAD = GOOD.encode().decode("cp1252", "ignore")


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_mojibake_is_mended_and_nothing_else(encoding: str) -> None:
    bad = "Größe – café\n".encode().decode(encoding)
    changes: Counter[str] = Counter()
    assert "".join(mended_pieces([GOOD, bad, GOOD], changes)) == GOOD + "Größe – café\n" + GOOD
    assert changes["mojibake"] == 1
    [example] = [key for key in changes if key.startswith(EXAMPLE)]
    assert "GrÃ¶ÃŸe" in example or encoding == "latin-1"
    assert "Größe" in example


@settings(max_examples=40)
@given(
    lines=st.lists(st.sampled_from(["plain", "GrÃ¶ÃŸe", "schÃ¶ne GrÃ¼ÃŸe", "Größe", ""])),
    end=st.sampled_from(["", "\n"]),
    size=st.integers(1, 9),
)
def test_pieces_cut_anywhere_become_what_the_whole_does(lines, end, size):
    text = "\n".join(lines) + end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mojibake, "LONGEST", 12)  # so that one is cut
        changes, at_once = Counter(), Counter()
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        found = [*mended_pieces(pieces, changes)]
        assert all(found)
        assert "".join(found) == "".join(mended_pieces([text] if text else [], at_once))
        assert changes == at_once


def test_a_note_counts_and_shows_it_whatever_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("GrÃ¶ÃŸe\nschön\n", "utf-8")
    (tmp_path / "b.md").write_text("---\ntitle: B\n---\nGrÃ¼ÃŸe\n", "utf-8")
    reading = Reading.of(DataConfig(fix_mojibake=True))
    text = read_text([str(tmp_path)], reading=reading)
    assert text.content == "Größe\nschön\nGrüße"
    assert any("mojibake" in note and "2 lines" in note for note in text.notes)
    assert any("'GrÃ¶ÃŸe' -> 'Größe'" in note for note in text.notes)
    assert "GrÃ¶ÃŸe" in read_text([str(tmp_path)]).content
