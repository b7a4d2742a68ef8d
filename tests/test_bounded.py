from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data.boundary import BOUNDARY, MARK, visible
from charloom.data.bounded import Bounded
from charloom.data.parts import InMemory
from charloom.data.reading import UTF8
from charloom.data.text import START, Text, read_text

READING = UTF8._replace(boundaries=True)
LINES = st.sampled_from(
    ["\n", "a\n", "be\n", "<|endof\n", f" {MARK}\n", f"x{MARK}\n", f"{MARK}x\n"]
)
DOCUMENT = st.builds("".join, st.lists(LINES, min_size=1, max_size=4))
SIZES = st.integers(1, 20)


def content(part: Bounded, place: int = 0) -> str:
    return "".join(piece for piece, _ in part.pieces(Counter(), place))


@given(
    st.lists(DOCUMENT, min_size=1, max_size=5), SIZES, st.booleans(), st.booleans(), st.booleans()
)
def test_marks_between_documents_become_boundaries(documents, size, before, behind, end):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charloom.data.parts.CHUNK", size)
        text = (MARK + "\n" if before else "") + f"{MARK}\n".join(documents)
        text += f"{MARK}\n" if behind else ""
        part = Bounded(InMemory(text), marks=True, end=end)
        wanted = BOUNDARY.join(documents) + (BOUNDARY if end else "")
        assert content(part) == wanted
        read = ""
        for piece, place in part.pieces(Counter()):
            assert piece
            read += piece
            assert read + content(part, place) == wanted


@given(st.text("ab\n", min_size=1, max_size=9), SIZES)
def test_a_part_ends_with_a_line_and_a_boundary(text, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charloom.data.parts.CHUNK", size)
        part = Bounded(InMemory(text), end=True)
        wanted = text.removesuffix("\n") + "\n" + BOUNDARY
        assert content(part) == wanted
        read = ""
        for piece, place in part.pieces(Counter()):
            read += piece
            assert read + content(part, place) == wanted


@pytest.mark.parametrize(
    "text", [f"a\n{MARK}", f"{MARK}\na\n{MARK}\n{MARK}", f"a\n{MARK}\n{MARK}\n"]
)
def test_marks_that_separate_nothing_are_left_out(text):
    assert content(Bounded(InMemory(text), marks=True)) == "a\n"


def test_a_part_of_marks_alone_is_no_document():
    assert content(Bounded(InMemory(f"{MARK}\n{MARK}"), marks=True, end=True)) == ""


def folder(path, *texts):
    for number, text in enumerate(texts):
        (path / f"{number}.txt").write_text(text)
    return str(path)


@given(st.lists(st.text("ab\né😀", min_size=1, max_size=9), min_size=1, max_size=6), SIZES)
def test_texts_of_several_documents_come_back_as_these(tmp_path_factory, texts, size):
    path = folder(tmp_path_factory.mktemp("texts"), *texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charloom.data.utf8.CHUNK", size)
        text = read_text([path], reading=READING)
        ended = [each.removesuffix("\n") + "\n" for each in texts]
        wanted = texts[0] if len(texts) == 1 else "".join(each + BOUNDARY for each in ended)
        assert text.content == wanted
        known = Text.from_string(wanted, "")
        assert (text.sha256, text.characters) == (known.sha256, known.characters)
        assert text.alphabet == known.alphabet
        assert text.has_boundaries is (len(texts) > 1)
        read, places = "", [START]
        for piece, place in text.walk():
            read += piece
            places.append(place)
        assert read == wanted
        for place in places:
            rest = "".join(piece for piece, _ in text.walk(place))
            assert wanted.endswith(rest)
        assert visible(text.content).count("\0") == 0


def test_files_and_marks_in_them_are_documents(tmp_path):
    path = folder(tmp_path, f"one\n{MARK}\ntwo", f"{MARK}\n", "three\n", f"four {MARK}\n")
    text = read_text([path], reading=READING)
    assert text.content == f"one\n\0two\n\0three\n\0four {MARK}\n\0"
    single = read_text([str(tmp_path / "0.txt")], reading=READING)
    assert single.content == "one\n\0two\n\0"
    plain = read_text([path], reading=READING._replace(plain=True))
    assert plain.content == f"one\n{MARK}\ntwo\n\0{MARK}\n\0three\n\0four {MARK}\n\0"


def test_without_boundaries_a_text_is_what_it_was(tmp_path):
    path = folder(tmp_path, f"one\n{MARK}\ntwo", "three\n")
    assert read_text([path]).content == f"one\n{MARK}\ntwo\nthree\n"


def test_documents_that_share_a_part_have_boundaries(tmp_path, monkeypatch):
    monkeypatch.setattr("charloom.data.spool.MANY", 2)
    path = tmp_path / "table.csv"
    path.write_text("id,text\n" + "".join(f'{n},"poem {n} of many"\n' for n in range(30)))
    reading = READING._replace(options=READING.options._replace(columns=("text",)))
    text = read_text([str(path)], reading=reading)
    assert len(text.parts) < 30
    assert text.content == "".join(f"poem {n} of many\n\0" for n in range(30))


def test_one_line_behind_the_only_document_is_no_part_of_it(tmp_path):
    for names in (["a"], ["a", "b"]):
        for name in names:
            (tmp_path / name).write_text(f"one{name}\n{MARK}\n")
        text = read_text([str(tmp_path)], reading=READING)
        ends = f"{BOUNDARY}" if len(names) > 1 else ""
        assert text.content == "".join(f"one{name}\n{ends}" for name in names)
        assert (text.characters, MARK in text.content) == (len(text.content), False)
