import pytest

from charloom.data.readers import Document
from charloom.data.readers.books.tunes import KINDS
from reading import damaged, matching, only_charloom_errors, read

[TUNES] = KINDS
ONE = "X:1\nT:A Reel\nT:Its other name\nC:Ann Example\nM:4/4\nL:1/8\nK:Gmaj\n|:GABc d2:|"
TWO = "X: 2 % the second\nT:A Jig\nM:6/8\nK:D\nABA d2e|\nw:la la"


def test_a_tune_is_a_document_as_it_is_written() -> None:
    data = f"{ONE}\n\n\n{TWO}\n".encode()
    assert matching(KINDS, data) == [TUNES.name]
    found, report = read(TUNES, data)
    assert found[0] == Document(ONE, "X:1", "A Reel", "Ann Example")
    assert found[1][:3] == (TWO, "X:2", "A Jig")
    assert not report.left_out


def test_what_is_before_the_first_tune_is_counted() -> None:
    data = f"%abc-2.1\nH:History\n\n{ONE}".encode()
    assert matching(KINDS, data) == [TUNES.name]
    found, report = read(TUNES, data)
    assert [tune.text for tune in found] == [ONE]
    assert report.left_out == {"lines before the first tune": 2}


def test_of_a_file_named_so_prose_may_be_first() -> None:
    data = f"My collection of tunes\n\n{ONE}".encode()
    assert matching(KINDS, data, "tunes.abc") == [TUNES.name]
    assert matching(KINDS, data, "tunes.txt") == []


@pytest.mark.parametrize(
    "text",
    [
        "X: Who is there?\nK: Me.\nT: And me.\n",
        "X:1\nY:2\nK:3\n",
        "X:1\nsome prose\nK:D\nT:x\n",
        "A poem\n\nX:\n",
        "T:A title\nK:D\n",
        "",
    ],
)
def test_other_texts_are_not_recognised(text: str) -> None:
    assert matching(KINDS, text.encode()) == []


def test_damaged_files() -> None:
    assert only_charloom_errors(TUNES, damaged(f"{ONE}\n\n{TWO}".encode(), 100)) > 0
