import gzip
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives import zipped
from charloom.data.boundary import MARK
from charloom.data.readers import Document, Kind, Options, kinds
from charloom.data.reading import Reading
from charloom.data.split import usual_split
from charloom.data.text import read_text
from charloom.data.writing import Writing
from charloom.errors import CharloomError
from expect import refused


def read_posts(file, job):
    for line in file.read().decode().split("\n")[1:]:
        if line == "refuse":
            raise CharloomError("no", "not-text", why="odd")
        text, title, author, date = line.split("|")
        yield Document(text, title.lower(), title, author, date)


POSTS = Kind("posts", lambda head: head.start.startswith(b"POSTS\n"), read_posts, noun="posts")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(kinds, "KINDS", (POSTS, *kinds.KINDS))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, data: bytes | str) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(data.encode() if isinstance(data, str) else data)
    return name


def written(*sources, **more):
    writing = Writing(sources, **more)
    return "".join(writing.pieces()), writing


def test_documents_are_separated_by_a_line_that_training_knows():
    write("texts/a", "one")
    write("texts/b", "two\r\n")
    write("texts/posts", "POSTS\nthree|T|A|2020\nfour|||")
    write("texts/picture", b"\x89PNG\0")
    content, writing = written("texts")
    assert content == f"one\n{MARK}\ntwo\n{MARK}\nthree\n{MARK}\nfour\n"
    assert writing.documents == 4
    assert writing.notes == read_text(["texts"]).notes
    assert len(writing.notes) == 4
    assert usual_split(read_text([write("all", content)])) == "documents"


def test_one_document_is_written_as_it_is():
    assert written(write("a", b"\xef\xbb\xbfone\r\ntwo\r\n"))[0] == "one\ntwo\n"


def test_json_lines_say_what_is_known():
    write("a", 'say "1"\n')
    write("posts", "POSTS\nthree|T|A|2020\nfour|||")
    content, _ = written("a", "posts", as_json=True)
    assert [json.loads(line) for line in content.splitlines()] == [
        {"source": "a", "text": 'say "1"\n'},
        {
            "source": "posts",
            "name": "t",
            "title": "T",
            "author": "A",
            "date": "2020",
            "text": "three",
        },
        {"source": "posts", "text": "four"},
    ]


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n"), min_size=1)


@given(st.lists(TEXT, min_size=1, max_size=4))
def test_json_lines_are_read_as_the_same_documents(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("documents")
    for number, text in enumerate(texts):
        (folder / str(number)).write_text(f".{text}.")
    lines = folder.with_suffix(".jsonl")
    lines.write_text(written(str(folder), as_json=True)[0])
    assert read_text([str(lines)], reading=Reading(options=Options(columns=("text",)))).content == (
        read_text([str(folder)]).content
    )


def test_what_cannot_be_read_of_a_folder_leaves_nothing_behind():
    write("texts/bad", "POSTS\none|T||\nrefuse")
    write("texts/c.zip", zipped({"x": b"good", "y": b"begins well" * 200_000 + b"\xff"}))
    content, writing = written("texts")
    assert (content, writing.documents) == ("good\n", 1)
    assert sum("skipped" in note for note in writing.notes) == 2
    with refused("not-text", why="odd"):
        written("texts/bad")
    with refused("no-text"):
        written(write("images/a", b"\0").split("/")[0])


def test_the_file_that_is_written_is_no_source():
    write("texts/a", "one")
    write("texts/all.txt", "old")
    Path("texts/link").symlink_to("all.txt")
    assert written("texts", out=Path("texts/all.txt"))[0] == "one\n"
    assert written("texts", out=Path("texts/new.txt"))[0].count("old") == 2
    assert written("texts/all.txt", out=Path("texts/all.txt"))[0] == "old\n"


def test_labels_come_before_each_document():
    write("posts", "POSTS\nthree|T|A|2020\nfour||A|\nfive|||")
    reading = Reading(options=Options(labels=True))
    content = read_text(["posts"], reading=reading).content
    assert content == "T\nA, 2020\n\nthree\nA\n\nfour\nfive"
    assert written("posts", reading=reading)[0].replace(f"{MARK}\n", "") == content + "\n"


def test_standard_input_is_a_source(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"POSTS\none|T||")))
    assert written("-")[0] == "one\n"


@pytest.mark.parametrize("name", ["one.txt", "rows.jsonl", "folder", "one.txt.gz"])
def test_progress_is_told_within_a_file_too(here, monkeypatch, name):
    monkeypatch.setattr("charloom.progress.LONG_BYTES", 0)
    monkeypatch.setattr("charloom.progress.TELL_SECONDS", 0.0)
    monkeypatch.setattr("charloom.progress.TELL_SHARE", 0.0)
    text = "some text\n" * 500_000
    Path("one.txt").write_text(text)
    Path("one.txt.gz").write_bytes(gzip.compress(text.encode()))
    Path("folder").mkdir()
    for number in range(5):
        Path("folder", f"{number}.txt").write_text(text[:1_000_000])
    row = json.dumps({"text": text[:1_000_000]}) + "\n"
    Path("rows.jsonl").write_text(5 * row)
    told = list[str]()
    for _ in Writing([name], tell=told.append).pieces():
        pass
    steps = [line.split(": ")[1].split()[0] for line in told]
    assert len(steps) >= 5
    assert [int(step) for step in steps] == sorted(map(int, steps))
    assert all(" of " in line for line in told) == (not name.endswith(".gz"))
