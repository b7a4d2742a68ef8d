import gzip
import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from archives import ARCHIVES, PACKERS, tarred, zipped
from charloom.data import units
from charloom.data.readers import Bundle, Document, Job, Kind, Options, Report, kinds
from charloom.data.text import read_text
from charloom.errors import CharloomError, install, needs_extra
from expect import refused
from reading import damaged


def read_lines(file, job):
    """A kind whose documents are lines, after one that says what it is."""
    assert file.tell() == 0
    for number, line in enumerate(file.read().decode().split("\n")[1:]):
        if line == "break":
            raise ZeroDivisionError
        if line == "refuse":
            raise CharloomError("no", "not-text", why="odd")
        if line == "import":
            with needs_extra("text", "reading lines"):
                import no_such_library  # noqa: F401
        if line == "comment":
            job.report.left_out["comments"] += 1
        elif line:
            yield Document(line.replace("|", "\r\n"), str(number))


def read_site(members, job):
    job.report.notes.append("the site has a name")
    for name in members.names():
        if name.startswith("posts/"):
            yield Document(members.read(name).decode(), name)


LINES = Kind("a file of lines", lambda head: head.start.startswith(b"LINES\n"), read_lines)
SITE = Bundle("a site", lambda head: "site.ini" in head.members, read_site, noun="posts")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(kinds, "KINDS", (LINES, SITE))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, data: bytes | str) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(data.encode() if isinstance(data, str) else data)
    return name


def piped(monkeypatch, data: bytes) -> str:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    return "-"


FILES = {
    "b/ch10.txt": b"ten",
    "b/ch9.txt": b"\xef\xbb\xbfnine\r\n",
    "a.png": b"\x89PNG\0",
    ".hidden": b"never",
    "__MACOSX/b": b"never",
    "lines": b"LINES\nl1\nl2",
    "empty": b"",
}
READ = "nine\nten\nl1\nl2"


@pytest.mark.parametrize("archive", ARCHIVES)
@pytest.mark.parametrize("packer", [None, *PACKERS])
def test_an_archive_is_read_as_a_folder(monkeypatch, archive, packer):
    data = ARCHIVES[archive](FILES)
    data = data if packer is None else PACKERS[packer](data)
    text = read_text([write("texts", data)])
    assert text.content == READ
    assert text.notes == (
        "read 3 files of the archive texts: b/ch9.txt in texts, b/ch10.txt in texts, "
        "lines in texts",
        "read lines in texts as a file of lines: 2 documents",
        "removed a byte-order mark",
        "turned 1 CRLF line end into LF",
        "skipped 1 file (not text): a.png in texts",
        "skipped 1 file (empty): empty in texts",
    )
    assert [path for path, *_ in text.files] == [str(Path("texts").absolute())]
    assert text.content == READ, "and can be read again"
    assert read_text([piped(monkeypatch, data)]).content == READ


def test_each_document_is_a_part_of_the_text():
    text = read_text([write("file", "LINES\none\ncomment\n\ntwo|more\0")])
    assert text.content == "one\ntwo\nmore"
    assert [part.label for part in text.parts] == ["0 in file", "3 in file"]
    assert text.notes == (
        "read file as a file of lines: 2 documents",
        "left out 1 comment",
        "mended 1 NUL character",
    )


def test_what_no_text_can_have_is_taken_out(monkeypatch):
    halves = Kind("halves", lambda head: True, lambda file, job: iter([Document("a\ud800b\0c")]))
    monkeypatch.setattr(kinds, "KINDS", (halves,))
    text = read_text([write("file", "x")])
    assert text.content == "a\ufffdbc"
    assert text.notes[1:] == ("mended 1 NUL character, 1 lone surrogate",)


@pytest.mark.parametrize("where", ["export", "export.zip", "texts/export", "texts/export.zip"])
def test_an_export_is_read_as_a_whole_where_it_is(where):
    files = {"site.ini": b"", "posts/2": b"two", "posts/10": b"ten", "notes": b"never"}
    if where.endswith("zip"):
        write(where, zipped(files))
    else:
        for name, data in files.items():
            write(f"{where}/{name}", data)
    write("texts/other", "other")
    source = where.split("/")[0]
    text = read_text([source])
    assert sorted(text.content.split("\n")) == sorted(
        ["ten", "two", *(["other"] if source == "texts" else [])]
    )
    assert "the site has a name" in text.notes
    assert any("as a site: 2 posts" in note for note in text.notes)


def test_archives_are_read_in_archives_but_not_without_end():
    data = b"text"
    for depth in range(units.DEPTH):
        data = zipped({f"at {depth}": data}) if depth % 2 else PACKERS["gz"](data)
    assert read_text([write("deep", data)]).content == "text"
    deeper = write("deeper", zipped({"one": data, "two": b"text"}))
    text = read_text([deeper])
    assert text.content == "text"
    assert "nested too deep" in text.notes[-1]
    with refused("unsupported", why="nested too deep"):
        read_text([write("deepest", PACKERS["gz"](PACKERS["gz"](data)))])


@pytest.mark.parametrize(
    ("line", "code", "why"),
    [
        ("break", "damaged", "damaged"),
        ("refuse", "not-text", "odd"),
        ("import", "missing-library", f"without no_such_library: {install('text')}"),
        ("", "no-text", "without text"),
    ],
)
def test_a_file_that_cannot_be_read_leaves_nothing_behind(line, code, why):
    before = "before\n" if line else ""
    bad = write("texts/bad", f"LINES\n{before}{line}")
    with refused(code, why=why):
        read_text([bad])
    write("texts/good", "LINES\none")
    text = read_text(["texts"])
    assert text.content == "one"
    assert f"skipped 1 file ({why}): bad" in text.notes


def test_an_archive_of_hidden_files_is_refused():
    with refused("no-text", why="empty"):
        read_text([write("it.zip", zipped({".a": b"text", "b/.c/d": b"text"}))])


def test_what_a_reader_says_is_printable():
    def read(job):
        raise CharloomError("in \x1b[31m\na.txt", "damaged")

    job = Job("it", Options(), Report())
    unit = units.Converted("it", False, LINES, read)
    with pytest.raises(CharloomError) as caught:
        list(unit.documents(job))
    assert str(caught.value).isprintable()


def test_an_archive_without_text_is_refused():
    images = {"a.png": b"\x89PNG\0"}
    for data in (tarred(images), zipped(images), zipped({})):
        with refused("no-text", path="images"):
            read_text([write("images", data)])


def test_a_file_of_a_program_is_not_read_as_an_archive():
    with refused("not-text", path="sheet"):
        read_text([write("sheet", zipped({"[Content_Types].xml": b"<x/>", "xl/a.xml": b"<x/>"}))])


@pytest.mark.parametrize("name", ["file", "export"])
def test_documents_that_change_while_they_are_read_are_named(monkeypatch, name):
    write("file", "LINES\none\ntwo")
    write("export/site.ini", "")
    write("export/posts/1", "one")
    path = "file" if name == "file" else "export/posts/1"

    def change(members, job):
        yield Document("one")
        os.utime(path, (1, 1))

    changing = Kind("lines", LINES.matches, change), Bundle("a site", SITE.matches, change)
    monkeypatch.setattr(kinds, "KINDS", changing)
    with refused("changed-text"):
        read_text([name])


def test_damaged_archives_are_refused_or_read():
    files = {"a": b"Half a league, " * 20, "lines": b"LINES\nl1\nl2", "b/c": zipped({"d": b"e"})}
    for build in (zipped, tarred, lambda files: PACKERS["gz"](tarred(files))):
        for data in damaged(build(files), 150):
            with suppress(CharloomError):
                assert read_text([write("file", data)]).content


def read_backwards(file, job):
    """A kind whose documents are lines, the last one first."""
    end = file.seek(0, 2)
    for place in range(end - 1, -1, -1):
        file.seek(place)
        yield Document(file.read(1).decode(), str(place))


def test_what_is_packed_is_unpacked_once_for_a_reader_that_goes_back(monkeypatch):
    kind = Kind("letters", lambda head: True, read_backwards, in_any_order=True)
    monkeypatch.setattr(kinds, "KINDS", (kind,))
    begun = []
    begin = gzip.GzipFile

    def counted(**options):
        begun.append(options)
        return begin(**options)

    monkeypatch.setattr("charloom.data.packed.gzip.GzipFile", counted)
    letters = "abcdefghij" * 10
    text = read_text([write("letters.gz", PACKERS["gz"](letters.encode()))])
    assert text.content.replace("\n", "") == letters[::-1]
    assert len(begun) < 5
