import codecs
import hashlib
import io
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from charloom.data import parts
from charloom.data.known_texts import load_corpus
from charloom.data.readers import Head
from charloom.data.readers.kinds import recognise
from charloom.data.reading import Reading
from charloom.data.text import Text, read_text
from expect import refused


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, data: bytes | str) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(data.encode() if isinstance(data, str) else data)
    return name


def refusal(code: str, *sources: str, **facts: object) -> str:
    with refused(code, **facts) as caught:
        read_text(sources)
    message = str(caught.value)
    assert message.isprintable(), "nothing that a terminal acts on"
    return message


def test_a_file_is_read_as_it_is(here):
    text = read_text([write("poem.txt", "Größe 😀\n\tX")])
    assert text.content == "Größe 😀\n\tX"
    assert text.name == "poem.txt"
    assert text.sha256 == hashlib.sha256("Größe 😀\n\tX".encode()).hexdigest()
    assert text.notes == ()


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
@example("<html>\r\n")
def test_any_text_comes_back_with_only_marks_and_line_ends_changed(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(content.encode())
    expected = content.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not expected or content.startswith(("%PDF-", "PK\x03\x04")):
        refusal("not-text" if expected else "no-text", str(path))
        return
    other = recognise(Head(path.name, content.encode())) is not None  # which a text may look like
    text = read_text([str(path)], reading=Reading(plain=other))
    assert text.content == expected
    assert bool(text.notes) == (expected != content)
    assert text.sha256 == hashlib.sha256(expected.encode()).hexdigest()


@given(st.binary(min_size=1, max_size=60), st.data())
def test_damaged_utf8_is_refused_at_the_offset_where_python_refuses_it(
    tmp_path_factory, junk, data
):
    head = data.draw(st.text(st.sampled_from("aé\n\r€😀"), max_size=20)).encode()
    damaged = head + junk.replace(b"\0", b"0")
    path = tmp_path_factory.mktemp("damaged") / "file"
    path.write_bytes(damaged)
    good = len(damaged.decode(errors="ignore").encode()) == len(damaged)
    others = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"\x1f\x8b", b"(\xb5/\xfd")
    if good or damaged.startswith(others):
        return
    assume(recognise(Head(path.name, damaged)) is None)
    with pytest.raises(UnicodeDecodeError) as expected:
        damaged.decode()
    start = expected.value.start
    lines = len(io.StringIO(damaged[:start].decode(), newline=None).read().split("\n"))
    refusal("not-text", str(path), offset=start, line=lines, byte=damaged[start])


def test_the_error_for_another_encoding_says_where_and_what_to_do(here):
    name = write("my poem.txt", b"eins\r\nzwei\rdrei\n" + "Größe".encode("cp1252"))
    message = refusal("not-text", name, path=name, offset=18, line=4, byte=0xF6, why="not UTF-8")
    assert "'Größe'" in message
    assert "--encoding cp1252" in message
    assert "iconv -f CP1252 -t UTF-8 'my poem.txt' > NEW" in message


@pytest.mark.parametrize("data", [b"\xed\xa0\x80", b"\xc0\xaf", b"ab\xf0\x9f", b"\xf4\x90\x80\x80"])
def test_surrogates_overlong_cut_and_too_large_sequences_are_refused(here, data):
    refusal("not-text", write("bad.txt", data), why="not UTF-8")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_mark_of_utf16_or_utf32_is_named_with_its_conversion(here, encoding):
    name = encoding[:6].upper()
    wide = write("wide.txt", "\ufeffwide".encode(encoding))
    message = refusal("not-text", wide, encoding=name.lower())
    assert f"iconv -f {name} -t UTF-8 wide.txt" in message
    text = read_text([wide], reading=Reading(name.lower()))
    assert (text.content, text.notes) == ("wide", (f"read as {name.lower()}",))
    text = read_text([wide], reading=Reading(encoding))
    assert (text.content, len(text.notes)) == ("wide", 2)


def test_marks_and_line_ends_are_changed_and_told(here):
    one = write("one.txt", codecs.BOM_UTF8 + b"a\r\n" * 1204 + b"b\rc\n")
    text = read_text([one])
    assert text.content == "a\n" * 1204 + "b\nc\n"
    assert len(text.notes) == 3
    assert "1,204 CRLF" in text.notes[1]
    assert "1 lone CR" in text.notes[2]
    two = write("two.txt", codecs.BOM_UTF8 + b"x\r\n")
    notes = read_text([one, two]).notes
    assert "2 files" in notes[0]
    assert "1,205 CRLF" in notes[1]


def test_only_the_first_mark_is_removed(here):
    assert read_text([write("a", "\ufeff\ufeffx\ufeff")]).content == "\ufeffx\ufeff"


def test_several_texts_are_joined_with_a_newline_only_where_one_lacks_it(here):
    sources = [write("a", "one"), write("b", "two\n"), write("c", "\nthree")]
    text = read_text(sources)
    assert text.content == "one\ntwo\n\nthree"
    assert text.name == "a and 2 more"


def test_known_texts_are_read_by_name_and_joined_with_files(here):
    text = read_text(["corpus:us-constitution", write("a", "end")])
    assert text.content == load_corpus("us-constitution") + "end"
    assert text.name == "us-constitution and 1 more"
    refusal("not-found", "corpus:nothing", name="nothing")


def test_standard_input_is_read_once(here, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"piped\r\n")))
    text = read_text(["-"])
    assert (text.content, text.name) == ("piped\n", "standard input")
    assert len(text.notes) == 1
    refusal("bad-setting", "-", "-")


@pytest.mark.parametrize(("data", "why"), [(b"", "empty"), (b"a\xff", "not UTF-8")])
def test_bad_standard_input_is_named(here, monkeypatch, data, why):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    code = "no-text" if why == "empty" else "not-text"
    refusal(code, "-", path="standard input", why=why)


@pytest.mark.parametrize("redirect", ["< /dev/zero", "<&-", "0> out"])
def test_standard_input_that_has_no_end_or_is_closed_is_refused_at_once(here, redirect):
    code = (
        "import charloom.data.text as t\n"
        "try: t.read_text(['-'])\nexcept ValueError as e: print(e.code)"
    )
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {redirect}', sys.executable, code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "unreadable\n"


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        (b"", {"why": "empty"}),
        (codecs.BOM_UTF8, {"why": "empty"}),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", {"why": "not text", "offset": 8}),
        (b"\x7fELF\x02\x01\x01\0", {"why": "not text", "offset": 7}),
        (b"text\0text", {"why": "not text", "offset": 4}),
        (b"x\x9c+I", {"why": "not UTF-8"}),
    ],
)
def test_a_file_that_is_no_text_is_refused(here, data, facts):
    code = "no-text" if facts["why"] == "empty" else "not-text"
    refusal(code, write("file", data), path="file", **facts)


def test_missing_names_are_refused(here):
    refusal("not-found", "poem.txt", path="poem.txt")
    assert "corpus:tiny-shakespeare" in refusal("not-found", "tiny-shakespeare")
    refusal("no-text", "")
    refusal("no-text")
    write("file", "x")
    for name in ("file/below", "x" * 5000, "a\0b"):
        refusal("unreadable", name, path=name)


def test_links_are_followed_and_broken_ones_named(here):
    Path("good").symlink_to(write("target", "text"))
    Path("dangling").symlink_to("old.txt")
    Path("loop").symlink_to("loop")
    assert read_text(["good"]).content == "text"
    assert "old.txt" in refusal("unreadable", "dangling", path="dangling")
    refusal("unreadable", "loop", path="loop")


def test_standard_input_without_an_end_is_refused(here, monkeypatch):
    monkeypatch.setattr("charloom.data.parts.STDIN_BYTES", 1000)
    monkeypatch.setattr("charloom.data.parts.CHUNK", 100)
    stream = io.BytesIO(b"y\n" * 500 + b"n")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
    refusal("unsupported", "-", limit=1000)
    stream.seek(1)
    assert read_text(["-"]).characters == 1000


@pytest.mark.parametrize("now", ["one two", "one", "on\xff", ""])
@pytest.mark.parametrize("source", ["poem.txt", "poems"])
def test_a_text_that_changes_between_two_readings_is_named(here, now, source):
    path = Path(write("poems/poem.txt" if source == "poems" else source, "one\ntwo\n"))
    text = read_text([source])
    assert text.content == "one\ntwo\n"
    path.write_text(now, "latin-1")
    for read in (lambda: text.content, lambda: text.head(2)):
        with refused("changed-text", path="poem.txt"):
            read()


@pytest.mark.parametrize("change", [b"more\n", None])
def test_a_text_that_changes_while_it_is_read_is_named(here, monkeypatch, change):
    path = Path(write("poem.txt", "line\n" * 500))
    monkeypatch.setattr("charloom.data.utf8.CHUNK", 50)
    decode = parts.decode

    def changing(*arguments):
        for number, piece in enumerate(decode(*arguments)):
            yield piece
            if number == 3:
                path.write_bytes(path.read_bytes() + change if change else b"line\n" * 50)

    monkeypatch.setattr(parts, "decode", changing)
    refusal("changed-text", "poem.txt", path="poem.txt")


def test_a_text_that_is_gone_between_two_readings_is_named(here):
    text = read_text([write("poem.txt", "one")])
    Path("poem.txt").unlink()
    with refused("not-found", path="poem.txt"):
        text.content  # noqa: B018


@given(st.lists(st.text("ab\n", min_size=1), min_size=1, max_size=3), st.integers(0, 30))
def test_the_head_of_a_text_is_what_it_begins_with(tmp_path_factory, contents, count):
    folder = tmp_path_factory.mktemp("head")
    for number, content in enumerate(contents):
        (folder / f"{number}").write_text(content)
    text = read_text([str(folder)])
    assert text.head(count) == text.content[:count]
    assert text.alphabet == tuple(sorted(set(text.content)))
    assert text.characters == len(text.content)


def test_a_string_is_a_text(here):
    text = Text.from_string("\ufeffone\r\n", "mine")
    assert (text.name, text.content, text.notes) == ("mine", "\ufeffone\r\n", ())
    assert text.sha256 == hashlib.sha256(text.content.encode()).hexdigest()


def test_pipes_and_devices_are_refused_without_reading(here):
    os.mkfifo("pipe")
    for source in ("pipe", "/dev/zero", "/dev/full"):
        refusal("unreadable", source, path=source)


def test_names_that_are_no_text_are_shown_escaped(here):
    name = os.fsdecode(b"caf\xe9\n\x1b[31m")
    assert r"caf\udce9\n\x1b[31m" in refusal("not-found", name)
    assert r"caf\udce9\n\x1b[31m" in refusal("no-text", write(name, b""))
    assert read_text([write(name, "text")]).name == r"'caf\udce9\n\x1b[31m'"


@pytest.mark.parametrize("name", ["locked.txt", "locked/file.txt"])
def test_what_may_not_be_read_is_named(here, name):
    write(name, "secret")
    locked = Path(name.split("/")[0])
    locked.chmod(0)
    try:
        if os.geteuid() == 0:  # root reads everything: look as nobody does
            here.chmod(0o755)
            os.seteuid(65534)
        refusal("unreadable", name, path=name)
        if locked.name == "locked":
            refusal("no-text", "locked", path="locked")
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        locked.chmod(0o755)


def test_a_folder_is_all_its_text_in_the_order_of_paths(here):
    write("essays/b.txt", "second\n")
    write("essays/a/z.md", "first")
    write("essays/c", "third")
    write("essays/.hidden", "never")
    write("essays/.git/config", "never")
    text = read_text(["essays"])
    assert text.content == "first\nsecond\nthird"
    assert text.name == "essays"
    assert len(text.notes) == 1
    assert "3 files" in text.notes[0]
    assert read_text(["essays/"]).name == "essays"
    os.chdir("essays")
    assert read_text(["."]).name == "essays"


def test_numbers_in_the_names_of_a_folder_are_in_their_order_which_is_told(here):
    names = ["1", "01", "ch1", "ch2", "ch2b", "ch10", "part 2/x", "part 10/x", "z", "\u0662"]
    for name in random.Random(0).sample(names, len(names)):
        write(f"book/{name}", name)
    text = read_text(["book"])
    order = ["01", *(name for name in names if name != "01")]
    assert text.content.split("\n") == order
    assert text.notes[0].endswith(f": 01, 1, ..., {names[-1]}")
    assert read_text(["book"], reading=Reading(era="sorted")).content.split("\n") == sorted(names)
    write("four/ch10", "b")
    write("four/ch9", "a")
    assert read_text(["four"]).notes[0].endswith(": ch9, ch10")


def test_a_folder_given_by_a_hidden_name_or_a_link_is_read(here):
    write(".notes/a", "text")
    Path("link").symlink_to(".notes")
    assert read_text([".notes"]).content == "text"
    assert read_text(["link"]).content == "text"


def test_what_a_folder_holds_beside_text_is_skipped_and_told(here):
    write("mixed/text.txt", "text")
    for name in "abcde":
        write(f"mixed/{name}.png", b"\x89PNG\0")
    write("mixed/sub/latin.txt", "é".encode("latin-1"))
    write("mixed/empty", b"")
    Path("mixed/gone").symlink_to("nowhere")
    Path("mixed/up").symlink_to("..")
    os.mkfifo("mixed/pipe")
    text = read_text(["mixed"])
    assert text.content == "text"
    assert "1 file " in text.notes[0]
    skipped = sorted(note.split(" (")[1] for note in text.notes[1:])
    assert skipped == [
        "a link to a folder): up",
        "a pipe, a socket or a device): pipe",
        "cannot be read): gone",
        "empty): empty",
        "not UTF-8): sub/latin.txt; sub/latin.txt looks like cp1252",
        "not text): a.png, b.png, c.png and 2 more",
    ]


def test_a_folder_without_text_is_refused_and_says_what_it_found(here):
    Path("empty").mkdir()
    refusal("no-text", "empty", path="empty")
    write("images/a.png", b"\x89PNG\0")
    assert "a.png" in refusal("no-text", "images", path="images")


RUN = ("config.json", "vocabulary.json", "corpus.json", "checkpoints/1/meta.json")


@pytest.mark.parametrize("lost", [None, *RUN])
def test_of_a_folder_runs_are_left_out_and_told_though_a_file_of_theirs_is_lost(here, lost):
    write("poems/one.txt", "poem")
    for name in RUN:
        if name != lost:
            write(f"poems/runs/old/{name}", "{}")
    write("poems/runs/old/samples/1.txt", "what a model said")
    write("poems/runs/read me.txt", "and this")
    text = read_text(["poems"])
    assert text.content == "poem\nand this"
    assert text.notes[1:] == ("skipped 1 folder (a run): runs/old",)
    assert [Path(path).name for path, _, _ in text.files] == ["one.txt", "read me.txt"]
    refusal("not-text", "poems/runs/old", why="a run", path="poems/runs/old")
    os.chdir("poems/runs/old")
    refusal("not-text", ".", why="a run", path=".")


def test_a_folder_that_has_a_file_of_the_name_of_a_runs_is_none(here):
    write("app/config.json", "{}")
    write("app/vocabulary.json", "[]")
    assert read_text(["app"]).content == "{}\n[]"


@pytest.mark.parametrize("name", ["config.json", "MANIFEST.json"])
def test_a_model_is_no_text(here, name):
    write("texts/one.txt", "poem")
    write(f"texts/gpt/{name}", "{}")
    write("texts/gpt/model.safetensors", b"\1\0")
    write("texts/gpt/merges.txt", "a b")
    text = read_text(["texts"])
    assert (text.content, text.notes[1:]) == ("poem", ("skipped 1 folder (a model): gpt",))
    refusal("not-text", "texts/gpt", why="a model", path="texts/gpt")


def test_a_page_of_version_0_1_0_is_known(here):
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src"
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy} data:">\n<title>'
    )
    refusal("not-text", write("old.html", head), why="by charloom")
    own = head.replace("data:", "*")
    text = read_text([write("own.html", own)], reading=Reading(plain=True))
    assert text.content == own


@pytest.mark.parametrize("fill", ["", "a" * 200_000, "я" * 200_000, "aя" * 100_000, "a😀" * 99_999])
def test_every_different_character_is_found_among_any_others(here, fill):
    rare = "\t é\u2028\U0010ffff~"
    text = read_text([write("text", fill + rare + fill + "\n")])
    assert text.alphabet == tuple(sorted({*fill, *rare, "\n"}))
