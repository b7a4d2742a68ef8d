import random

from hypothesis import given
from hypothesis import strategies as st

from charloom.data import boilerplate
from charloom.data.boilerplate import Line
from charloom.data.boundary import BOUNDARY
from charloom.data.duplicates import Pair
from charloom.data.inspection import LongLine, inspect, sentences
from charloom.data.reading import Reading
from charloom.data.text import Text, read_text
from test_duplicates import document, edited


def a_folder(tmp_path, texts):
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(text, "utf-8")
    return read_text([str(tmp_path)])


def of(content):
    return inspect(Text.from_string(content, "it"))


def test_characters_lines_and_scripts_are_counted():
    found = of("Ein Fluß\nи ещё\n\tend\x07\n" + "a" * 6000 + "\ufeff")
    assert found.characters == 22 + 6000
    assert found.lines == 4
    assert found.longest == LongLine(6001, 0, 4)
    assert found.long_lines == 1
    assert found.controls == {"\x07": 1, "\ufeff": 1}
    assert found.scripts == {"Latin": 6010, "Cyrillic": 4}
    assert ("ё", 1) in found.rare
    assert "a" not in dict(found.rare)


def test_copies_and_near_copies_are_named(tmp_path):
    rng = random.Random(0)
    texts = [document(rng) for _ in range(6)]
    texts += [texts[1] + "\n", edited(rng, texts[2], 0.05, "words")]
    found = inspect(a_folder(tmp_path, texts))
    assert [(found.labels[p.first], found.labels[p.second]) for p in found.equal] == [
        ("1.txt", "6.txt")
    ]
    assert [(p.first, p.second) for p in found.near] == [(2, 7)]
    said = "\n".join(sentences(found))
    assert all(f"{n}.txt" in said for n in (1, 2, 6, 7))


def test_documents_of_one_file_are_told_apart(tmp_path):
    for name, texts in (("a", "one two three"), ("b", "four"), ("c", "five two")):
        marked = "".join(f"{text}\n<|endoftext|>\n" for text in texts.split())
        (tmp_path / name).write_text(marked)
    found = inspect(read_text([str(tmp_path)], reading=Reading(boundaries=True)))
    assert found.labels == ["1 in a", "2 in a", "3 in a", "b", "1 in c", "2 in c"]
    assert found.places == [(0, 0), (0, 5), (0, 10), (1, 0), (2, 0), (2, 6)]
    assert (found.lengths, found.controls) == ([4, 4, 6, 5, 5, 4], {})
    assert found.equal == [Pair(1, 5, 1.0)]


def test_boilerplate_is_what_stands_in_many_documents(tmp_path):
    rng = random.Random(1)
    texts = [
        "Home | About\n"
        + "".join(f"{document(rng, 9)}\n" for _ in range(8))
        + f"{'Yes.' if n % 2 else 'No.'}\n"
        + "".join(f"{document(rng, 9)}\n" for _ in range(8))
        + f"Share this post with your friends\n{n}\n"
        for n in range(10)
    ]
    found = inspect(a_folder(tmp_path, texts))
    assert found.boilerplate == [
        Line("Home | About", 10),
        Line("Share this post with your friends", 10),
    ]


def test_a_speaker_of_some_scenes_is_none(tmp_path):
    rng = random.Random(4)
    names = ("GLOUCESTER:", "MENENIUS:", "ROMEO:")
    texts = [f"{names[n % 3]}\n{document(rng, 30)}\n{n}\n" for n in range(15)]
    assert inspect(a_folder(tmp_path, texts)).boilerplate == []


def test_few_documents_have_no_boilerplate(tmp_path):
    texts = [f"The same first line\n{n}" for n in range(boilerplate.DOCUMENTS - 1)]
    assert inspect(a_folder(tmp_path, texts)).boilerplate == []


def test_a_repeated_chapter_is_told():
    rng = random.Random(2)
    chapter = document(rng, 400)
    found = of(f"{document(rng, 500)}\n{chapter}\n{document(rng, 500)}\n{chapter}\n")
    (passage,) = found.passages
    assert passage.length >= len(chapter)
    assert 0.2 < found.repeated < 0.3


def test_a_plain_text_has_nothing_to_mend():
    rng = random.Random(3)
    assert sentences(of("\n".join(document(rng, 50) for _ in range(50))), brief=True) == []


@given(st.text(st.characters(exclude_characters=BOUNDARY), min_size=1, max_size=300))
def test_any_text_can_be_inspected(content):
    found = of(content)
    assert found.characters == len(content) == sum(found.lengths)
    assert found.times == {c: content.count(c) for c in set(content)}
    assert sum(found.scripts.values()) <= len(content)
    for sentence in sentences(found):
        assert "\n" not in sentence


@given(
    st.text("äßéñ—’„пи漢😀 ab\n", min_size=3, max_size=9), st.sampled_from(["latin-1", "cp1252"])
)
def test_mojibake_is_noticed_and_what_is_right_is_not(text, encoding):
    assert not of(text).mojibake
    letters = [c for c in text if c in "äßéñпи—’„"]
    read_wrongly = text.encode().decode(encoding, "replace")
    assert of(read_wrongly).mojibake.total() >= len(letters) - read_wrongly.count("\ufffd")


def test_mojibake_is_told_if_there_is_more_than_a_word_of_it():
    assert not any("mojibake" in line for line in sentences(of("Ã¼ is what it looks like\n")))
    assert any("--fix-mojibake" in line for line in sentences(of("schÃ¶ne GrÃ¼ÃŸe\n"), brief=True))
