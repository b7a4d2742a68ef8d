import codecs
import gzip
import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import DataConfig
from charloom.data import sources
from charloom.data.known_texts import load_corpus
from charloom.data.text import Text, read_text, split_text
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, data: bytes | str) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(data.encode() if isinstance(data, str) else data)
    return name


def refusal(*sources: str) -> str:
    with pytest.raises(CharloomError) as caught:
        read_text(sources)
    message = str(caught.value)
    assert message.isprintable(), "one line, with nothing that a terminal acts on"
    return message


def test_a_file_is_read_as_it_is(here):
    text = read_text([write("poem.txt", "Größe 😀\n\tX")])
    assert text.content == "Größe 😀\n\tX"
    assert text.name == "poem.txt"
    assert text.sha256 == hashlib.sha256("Größe 😀\n\tX".encode()).hexdigest()
    assert text.notes == ()


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_text_comes_back_with_only_marks_and_line_ends_changed(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(content.encode())
    expected = content.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not expected or content.startswith(("%PDF-", "PK\x03\x04")):
        with pytest.raises(CharloomError):
            read_text([str(path)])
        return
    text = read_text([str(path)])
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
    if good or damaged.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"\x1f\x8b")):
        return
    with pytest.raises(UnicodeDecodeError) as expected:
        damaged.decode()
    start = expected.value.start
    lines = len(io.StringIO(damaged[:start].decode(), newline=None).read().split("\n"))
    with pytest.raises(CharloomError) as caught:
        read_text([str(path)])
    place = f"byte 0x{damaged[start]:02X} at offset {start:,}, in line {lines:,} ("
    assert place in str(caught.value)


def test_the_error_for_another_encoding_says_where_and_what_to_do(here):
    message = refusal(write("my poem.txt", b"eins\r\nzwei\rdrei\n" + "Größe".encode("cp1252")))
    assert message == (
        "my poem.txt is not UTF-8: byte 0xF6 at offset 18, in line 4 (invalid start byte); convert "
        "it with: iconv -f WINDOWS-1252 -t UTF-8 'my poem.txt' > NEW, or what else it is in"
    )


@pytest.mark.parametrize("data", [b"\xed\xa0\x80", b"\xc0\xaf", b"ab\xf0\x9f", b"\xf4\x90\x80\x80"])
def test_surrogates_overlong_cut_and_too_large_sequences_are_refused(here, data):
    assert "is not UTF-8: byte" in refusal(write("bad.txt", data))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_mark_of_utf16_or_utf32_is_named_with_its_conversion(here, encoding):
    name = encoding[:6].upper()
    message = refusal(write("wide.txt", "\ufeffwide".encode(encoding)))
    assert f"looks like {name}" in message
    assert f"iconv -f {name} -t UTF-8 wide.txt" in message


def test_marks_and_line_ends_are_changed_and_told(here):
    one = write("one.txt", codecs.BOM_UTF8 + b"a\r\n" * 1204 + b"b\rc\n")
    text = read_text([one])
    assert text.content == "a\n" * 1204 + "b\nc\n"
    assert text.notes == (
        "removed a byte-order mark",
        "turned 1,204 CRLF line ends into LF",
        "turned 1 lone CR line end into LF",
    )
    two = write("two.txt", codecs.BOM_UTF8 + b"x\r\n")
    notes = read_text([one, two]).notes
    assert "removed the byte-order marks of 2 files" in notes
    assert "turned 1,205 CRLF line ends into LF" in notes


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
    assert "known ones are us-constitution" in refusal("corpus:nothing")


def test_standard_input_is_read_once(here, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"piped\r\n")))
    text = read_text(["-"])
    assert (text.content, text.name) == ("piped\n", "standard input")
    assert text.notes == ("turned 1 CRLF line end into LF",)
    assert "only once" in refusal("-", "-")


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"", "standard input is empty"), (b"a\xff", "iconv -f WINDOWS-1252 -t UTF-8 - > NEW")],
)
def test_bad_standard_input_is_named(here, monkeypatch, data, says):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert says in refusal("-")


@pytest.mark.parametrize(
    ("redirect", "says"),
    [("< /dev/zero", "terminal or a device"), ("<&-", "is closed"), ("0> out", "cannot be read")],
)
def test_standard_input_that_has_no_end_or_is_closed_is_refused_at_once(here, redirect, says):
    code = (
        "import charloom.data.text as t\ntry: t.read_text(['-'])\nexcept ValueError as e: print(e)"
    )
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {redirect}', sys.executable, code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert says in done.stdout


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "file is empty: give"),
        (codecs.BOM_UTF8, "file is empty: give"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not text: byte 0x00 at offset 8"),
        (b"\x7fELF\x02\x01\x01\0", "not text: byte 0x00 at offset 7"),
        (b"text\0text", "not text: byte 0x00 at offset 4"),
        (gzip.compress(b"text", mtime=0), "gzip archive, not text: unpack it with gunzip"),
        (b"PK\x03\x04\x14", "ZIP archive"),
        (b"%PDF-1.4 only ASCII", "a PDF, not text"),
        (b"x\x9c+I", "not UTF-8"),
    ],
)
def test_a_file_that_is_no_text_is_refused(here, data, says):
    assert says in refusal(write("file", data))


def test_missing_names_are_refused(here):
    assert "there is no file or folder poem.txt" in refusal("poem.txt")
    assert "did you mean corpus:tiny-shakespeare?" in refusal("tiny-shakespeare")
    assert "name of a text is empty" in refusal("")
    assert "no text: name a file" in refusal()
    write("file", "x")
    assert "cannot be read (Not a directory)" in refusal("file/below")
    assert "cannot be read (File name too long)" in refusal("x" * 5000)
    assert "cannot be read (embedded null byte)" in refusal("a\0b")


def test_links_are_followed_and_broken_ones_named(here):
    Path("good").symlink_to(write("target", "text"))
    Path("dangling").symlink_to("old.txt")
    Path("loop").symlink_to("loop")
    assert read_text(["good"]).content == "text"
    assert "dangling is a link to old.txt, which is not there" in refusal("dangling")
    assert "cannot be read (Too many levels of symbolic links)" in refusal("loop")


def test_standard_input_without_an_end_is_refused(here, monkeypatch):
    monkeypatch.setattr("charloom.data.sources.MOST_STDIN", 1000)
    monkeypatch.setattr("charloom.data.sources.CHUNK", 100)
    stream = io.BytesIO(b"y\n" * 500 + b"n")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
    assert refusal("-") == (
        "standard input is longer than 1,000 bytes: save it to a file, and name that"
    )
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
        with pytest.raises(CharloomError, match=r"poem\.txt changed while it was read: wait"):
            read()


@pytest.mark.parametrize("change", [b"more\n", None])
def test_a_text_that_changes_while_it_is_read_is_named(here, monkeypatch, change):
    path = Path(write("poem.txt", "line\n" * 100))
    monkeypatch.setattr("charloom.data.utf8.CHUNK", 50)
    decode = sources.decode

    def changing(*arguments):
        for number, piece in enumerate(decode(*arguments)):
            yield piece
            if number == 3:
                path.write_bytes(path.read_bytes() + change if change else b"line\n" * 50)

    monkeypatch.setattr(sources, "decode", changing)
    assert refusal("poem.txt").startswith("poem.txt changed while it was read")


def test_a_text_that_is_gone_between_two_readings_is_named(here):
    text = read_text([write("poem.txt", "one")])
    Path("poem.txt").unlink()
    with pytest.raises(CharloomError, match=r"there is no file or folder poem\.txt"):
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
        assert f"{source} is a pipe, a socket or a device" in refusal(source)


def test_names_that_are_no_text_are_shown_escaped(here):
    name = os.fsdecode(b"caf\xe9\n\x1b[31m")
    assert r"caf\udce9\n\x1b[31m" in refusal(name)
    assert r"caf\udce9\n\x1b[31m' is empty" in refusal(write(name, b""))
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
        assert f"{name} may not be read: check its permissions" in refusal(name)
        if locked.name == "locked":
            assert "no text in the folder locked, skipped 1 file (cannot be read)" in (
                refusal("locked")
            )
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
    assert text.notes == ("read 3 files of the folder essays",)
    assert read_text(["essays/"]).name == "essays"
    os.chdir("essays")
    assert read_text(["."]).name == "essays"


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
    assert text.notes[0] == "read 1 file of the folder mixed"
    assert set(text.notes[1:]) == {
        "skipped 5 files (not text): a.png, b.png, c.png and 2 more",
        "skipped 1 file (not UTF-8): sub/latin.txt",
        "skipped 1 file (empty): empty",
        "skipped 1 file (cannot be read): gone",
        "skipped 1 file (a pipe, a socket or a device): pipe",
        "skipped 1 file (a link to a folder): up",
    }


def test_a_folder_without_text_is_refused_and_says_what_it_found(here):
    Path("empty").mkdir()
    assert refusal("empty") == "no text in the folder empty: name one with UTF-8 text files"
    write("images/a.png", b"\x89PNG\0")
    assert "in the folder images, skipped 1 file (not text): a.png: name one" in refusal("images")


parts = st.floats(0, 0.45)


@given(st.integers(0, 5000), parts, parts, st.integers(3, 300))
def test_parts_follow_one_another_and_cover_the_text(characters, validation, test, minimum):
    split = split_text(characters, DataConfig(validation=validation, test=test), minimum)
    held = [part for part in (split.validation, split.test) if part is not None]
    places = [place for part in (split.train, *held) for place in range(characters)[part]]
    assert places == list(range(characters))
    assert all(part.stop - part.start >= 16 for part in held)
    assert not held or split.train.stop >= minimum
    for name, share, part in (
        ("validation", validation, split.validation),
        ("test", test, split.test),
    ):
        told = sum(note.startswith(f"no {name} text: ") for note in split.notes)
        assert told == (part is None and share > 0)
        if part is not None:
            assert part.stop - part.start == int(characters * share)


def test_the_usual_split_is_nine_tenths_and_one():
    split = split_text(1_115_394, DataConfig(), 66)
    assert split.train == slice(0, 1_003_855)
    assert split.validation == slice(1_003_855, 1_115_394)
    assert (split.test, split.notes) == (None, ())


def test_the_smallest_parts_are_sixteen_held_out_and_the_minimum_for_training():
    config = DataConfig(validation=0.16)
    assert split_text(100, config, 84).validation == slice(84, 100)
    assert split_text(100, config, 85).validation is None
    assert split_text(99, config, 3).validation is None


def test_a_text_too_short_to_split_says_so():
    split = split_text(1000, DataConfig(validation=0.01), 66)
    assert (split.train, split.validation) == (slice(0, 1000), None)
    assert split.notes == (
        "no validation text: 1% of 1,000 characters is 10, and fewer than 16 tell nothing",
    )
    split = split_text(1000, DataConfig(validation=0.1, test=0.2), 800)
    assert (split.train, split.validation) == (slice(0, 900), slice(900, 1000))
    assert split.notes == (
        "no test text: it would leave 700 of 1,000 characters for training, and a step needs 800",
    )
    split = split_text(1000, DataConfig(validation=0.1), 1002)
    assert split.train == slice(0, 1000)
    assert "leave 900 of 1,000 characters for training, and a step needs 1,002" in split.notes[0]


def test_one_distinct_character_is_refused_where_the_vocabulary_is_made(here):
    content = read_text([write("a", "\r\n\r\n")]).content
    with pytest.raises(CharloomError, match="nothing to learn"):
        Vocabulary.from_text(content)
