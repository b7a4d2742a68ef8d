import gzip
import io
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import assume, example, given
from hypothesis import strategies as st

from charloom import train
from charloom.cli import charloom
from charloom.config import DETECT, DataConfig
from charloom.data import utf8
from charloom.data.encodings import detect, guesses
from charloom.data.reading import UTF8, Reading
from charloom.data.text import read_text
from charloom.data.utf8 import REPLACED, decode
from charloom.data.writing import Writing
from charloom.errors import CharloomError
from expect import refused

POEM = "Größe und Übermut\ntun selten gut;\nschöne Grüße!\n" * 5
CHINESE = "明月几时有，把酒问青天。\n不知天上宫阙，今夕是何年。\n" * 5


def refusal(folder: Path, data: bytes) -> CharloomError:
    (folder / "it.txt").write_bytes(data)
    with refused("not-text", path=folder / "it.txt") as caught:
        read_text([str(folder / "it.txt")])
    return caught.value


@pytest.mark.parametrize("cut", [1, 2])
def test_a_text_that_was_cut_within_a_character_is_told_from_one_in_another_encoding(
    tmp_path: Path, cut: int
) -> None:
    data = CHINESE.rstrip().encode()[:-cut]
    error = refusal(tmp_path, data)
    assert (error.facts["looks"], error.facts["offset"]) == ("cut", len(data) - 3 + cut)
    assert "--errors replace" in str(error)
    assert "iconv" not in str(error)
    assert read_text([str(tmp_path / "it.txt")], reading=Reading(errors="replace")).content == (
        CHINESE.rstrip()[:-1] + REPLACED
    )


@pytest.mark.parametrize("bad", [1, 3])
def test_a_text_that_is_nearly_all_utf8_is_not_sent_to_iconv(tmp_path: Path, bad: int) -> None:
    data = POEM.encode() + b"caf\xe9\n" * bad
    error = refusal(tmp_path, data)
    lines = POEM.count("\n")
    assert (error.facts["looks"], error.facts["bad"], error.facts["line"]) == (
        "nearly",
        bad,
        lines + 1,
    )
    assert "iconv" not in str(error)
    text = read_text([str(tmp_path / "it.txt")], reading=Reading(errors="replace"))
    assert text.content == POEM + f"caf{REPLACED}\n" * bad
    assert len(text.notes) == 1
    assert f" {bad} place" in text.notes[0]


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (POEM, "cp1252"),
        (CHINESE, "gb18030"),
        ("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n" * 5, "cp932"),
        ("Мама мыла раму, а папа читал газету.\n" * 5, "cp1251"),
        ("Мама мыла раму, а папа читал газету.\n" * 5, "koi8-r"),
        ("Καλημέρα κόσμε, τι κάνεις σήμερα;\n" * 5, "cp1253"),
    ],
)
def test_another_encoding_is_guessed_and_shows_how_it_reads(
    tmp_path: Path, content: str, encoding: str
) -> None:
    error = refusal(tmp_path, content.encode(encoding))
    encodings = error.facts["encodings"]
    assert isinstance(encodings, tuple)
    assert encodings[0] == encoding
    assert content[:5] in str(error)
    assert f"--encoding {encoding}" in str(error)
    text = read_text([str(tmp_path / "it.txt")], reading=Reading(encoding))
    assert (text.content, text.notes) == (content, (f"read as {encoding}",))


def test_of_two_encodings_that_are_as_likely_both_are_shown(tmp_path: Path) -> None:
    error = refusal(tmp_path, "À bientôt\n".encode("mac-roman"))
    assert error.facts["encodings"] == ("cp1252", "mac-roman")
    assert all(reading in str(error) for reading in ("'Ë bient™t'", "'À bientôt'"))
    assert refusal(tmp_path, POEM.encode("cp1252")).facts["encodings"] == ("cp1252",)


def test_what_chardet_takes_for_no_text_has_no_encoding() -> None:
    assert guesses(b"\0\xff\x81" * 99) == ()


@pytest.mark.parametrize(
    ("name", "data", "content", "encoding"),
    [
        ("utf-8", POEM.encode(), POEM, "utf-8"),
        ("a mark", POEM.encode("utf-16"), POEM, "utf-16"),
        ("no mark", CHINESE.encode("utf-16-le"), CHINESE, "utf-16-le"),
        ("cp1252", POEM.encode("cp1252"), POEM, "cp1252"),
        ("gb18030", CHINESE.encode("gb18030"), CHINESE, "gb18030"),
    ],
)
def test_each_file_is_read_as_what_it_looks_like(
    tmp_path: Path, name: str, data: bytes, content: str, encoding: str
) -> None:
    (tmp_path / "it.txt").write_bytes(data)
    (tmp_path / "it.txt.gz").write_bytes(gzip.compress(data))
    with zipfile.ZipFile(tmp_path / "it.zip", "w") as archive:
        archive.writestr("within.txt", data)
    text = read_text([str(tmp_path)], reading=Reading(DETECT))
    assert text.content == content * 3
    told = [note for note in text.notes if "looks like" in note]
    is_guess = name not in ("utf-8", "a mark")
    assert len(told) == is_guess
    assert all(encoding in note and content[:5] in note for note in told)
    begin = next(text.walk())[1]
    assert "".join(piece for piece, _ in text.walk(begin)) == content * 2
    writing = Writing([str(tmp_path)], Reading(DETECT))
    assert "".join(writing.pieces()) == "<|endoftext|>\n".join([content] * 3)
    assert [note for note in writing.notes if "looks like" in note] == told


def test_another_text_is_in_utf8_unless_encodings_were_detected() -> None:
    asked = [Reading.like([DataConfig(encoding=name)]) for name in ("cp1252", DETECT)]
    assert [reading.encoding for reading in asked] == ["utf-8", DETECT]
    assert [reading.options.encoding for reading in asked] == ["utf-8", DETECT]


def test_damaged_utf8_is_not_taken_for_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "it.txt"
    path.write_bytes(POEM.encode() + b"caf\xe9\n")
    with refused("not-text", looks="nearly"):
        read_text([str(path)], reading=Reading(DETECT))
    text = read_text([str(path)], reading=Reading(DETECT, "replace"))
    assert text.content == POEM + f"caf{REPLACED}\n"


def test_a_run_reads_its_text_again_as_what_it_looks_like(tmp_path: Path) -> None:
    path, out = tmp_path / "it.txt", tmp_path / "run"
    path.write_bytes((POEM * 9).encode("cp1252"))
    run = train(path, out=out, model="ngram", order=2, encoding=DETECT)
    (out / "ids.npy").unlink()
    ids = run.parts().train
    assert run.vocabulary.decode(ids) == (POEM * 9)[: len(ids)]
    scores = [
        CliRunner().invoke(charloom, ["evaluate", str(out), str(path), "--encoding", encoding])
        for encoding in (DETECT, "cp1252")
    ]
    assert [score.exit_code for score in scores] == [0, 0]
    assert scores[0].stdout == scores[1].stdout


def test_what_looks_like_nothing_is_refused_and_skipped(tmp_path: Path) -> None:
    (tmp_path / "it.txt").write_bytes(bytes(range(256)) * 9)
    with refused("not-text"):
        read_text([str(tmp_path / "it.txt")], reading=Reading(DETECT))
    (tmp_path / "text.txt").write_text("text")
    assert read_text([str(tmp_path)], reading=Reading(DETECT)).content == "text"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=99))
def test_utf8_is_never_taken_for_anything_else(content: str) -> None:
    data = content.encode()
    assume(not data.startswith((*utf8._MARKS, *utf8._PACKED)))
    assume(not any(mark in data for mark in utf8._OWN) and content != "\ufeff")
    assert detect(io.BytesIO(data), "it") == (UTF8, None)


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("content", ["Hello, this is a text.\n", CHINESE])
def test_utf16_without_a_mark_is_guessed(tmp_path: Path, order: str, content: str) -> None:
    error = refusal(tmp_path, content.encode(order))
    assert error.facts["encodings"] == (order,)
    assert read_text([str(tmp_path / "it.txt")], reading=Reading(order)).content == content


@pytest.mark.parametrize("data", [bytes(range(256)) * 9, b"\x7fELF\2\1\1" + bytes(90), b"a\0b"])
def test_what_is_no_text_at_all_looks_like_none(tmp_path: Path, data: bytes) -> None:
    assert not refusal(tmp_path, data).facts["encodings"]


def test_utf8_that_is_read_as_something_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "it.txt").write_text(CHINESE, "utf-8")
    with refused("not-text", encodings=("utf-8",), why="not ascii"):
        read_text([str(tmp_path / "it.txt")], reading=Reading("ascii"))


def test_a_bad_byte_far_into_a_file_is_looked_at_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charloom.data.encodings.LOOKED_AT", 101)
    error = refusal(tmp_path, CHINESE.encode() * 9 + b"\xff" + CHINESE.encode())
    assert (error.facts["looks"], error.facts["bad"]) == ("nearly", 1)


def test_what_a_skipped_file_looks_like_is_told_once(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_bytes(CHINESE.encode("gb18030"))
    (tmp_path / "3.txt").write_text("text")
    notes = read_text([str(tmp_path)]).notes
    assert "0.txt looks like gb18030" in notes[-1]
    assert "--encoding detect" in notes[-1]
    (tmp_path / "3.txt").unlink()
    with refused("no-text") as caught:
        read_text([str(tmp_path)])
    assert "--encoding detect" in str(caught.value)
    assert read_text([str(tmp_path)], reading=Reading("gb18030")).content == CHINESE * 3


ENCODINGS = ("utf-8", "cp1252", "gb18030", "big5", "shift_jis", "iso2022_jp", "utf-16", "utf-32-be")


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(content=st.text("ab\r\n\ufeff", max_size=40), chunk=st.integers(1, 9), data=st.data())
def test_pieces_in_any_encoding_and_from_any_place_are_the_text(
    encoding: str, content: str, chunk: int, data: st.DataObject
) -> None:
    beyond = {"cp1252": "é€", "utf-8": "é😀", "utf-16": "é😀", "utf-32-be": "é😀"}
    content += data.draw(st.text(beyond.get(encoding, "日本") + "a\r\n", max_size=40))
    if encoding not in ("utf-8", "utf-16", "utf-32-be", "gb18030"):
        content = content.replace("\ufeff", "")
    file = io.BytesIO(content.encode(encoding))
    expected = content.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not expected:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utf8, "CHUNK", chunk)
        patch.setattr(utf8, "_HEAD", 4)
        for errors in ("strict", "replace"):
            reading = Reading(encoding, errors)  # type: ignore[arg-type]
            changes = utf8.Changes()
            pieces = [*decode(file, "it", changes, 0, reading)]
            assert "".join(text for text, _ in pieces) == expected
            assert not changes["replaced"]
            begun = ""
            for text, place in pieces:
                begun += text
                rest = (text for text, _ in decode(file, "it", utf8.Changes(), place, reading))
                assert begun + "".join(rest) == expected


@given(data=st.binary(max_size=60), chunk=st.integers(1, 9))
@example(data=b"<!-- generator: charloom -->", chunk=1)
def test_what_is_replaced_is_counted(data: bytes, chunk: int) -> None:
    assume(not any(mark in data for mark in utf8._OWN))  # a page of charloom's is no text
    data = b"\xef\xbf\xbda" + data.replace(b"\0", b"0")  # U+FFFD may be in a text, too
    known = data.decode(errors="ignore").count(REPLACED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utf8, "CHUNK", chunk)
        changes = utf8.Changes()
        pieces = decode(io.BytesIO(data), "it", changes, 0, Reading(errors="replace"))
        text = "".join(text for text, _ in pieces)
    whole = data.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    assert text == whole
    assert changes["replaced"] == whole.count(REPLACED) - known


def test_the_line_of_a_byte_that_is_wrong_in_another_encoding_is_told() -> None:
    file = io.BytesIO("日本\n日本\n".encode("shift_jis") + b"ok \xff")
    with refused("not-text", line=3, offset=13, byte=0xFF, why="not shift_jis"):
        [*decode(file, "it", utf8.Changes(), 0, Reading("shift_jis"))]


@pytest.mark.parametrize("encoding", ["gb18030", "cp932", "euc_jp", "cp949", "big5"])
def test_a_long_line_that_is_looked_at_in_part_is_told(encoding: str) -> None:
    line = {"cp949": "안녕하세요 세계 여러분 ", "gb18030": "明月几时有把酒问青天 "}.get(
        encoding, "日本語の文章です。" if encoding != "big5" else "明月幾時有，把酒問青天。"
    )
    data = (line * 9000).encode(encoding)
    for cut in range(4):
        (first, *_) = guesses(b"x" * cut + data)
        assert data.decode(first) == line * 9000


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_look_like_encodings_that_python_knows_or_none(data: bytes) -> None:
    readings = [data.decode(name, "replace") for name in guesses(data)]
    assert len({*readings}) == len(readings) <= 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("errors", ["strict", "replace"])
def test_utf_16_without_its_mark_is_refused_by_name(tmp_path: Path, encoding, errors) -> None:
    path = tmp_path / "it.txt"
    path.write_bytes("Grüße\n".encode(f"{encoding}-le") * 9)
    with refused("not-text", path=path):
        read_text([str(path)], reading=Reading(encoding=encoding, errors=errors))
