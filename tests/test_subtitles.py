from itertools import pairwise

import pytest

from charloom.data.readers import Options
from charloom.data.readers.books.subtitles import KINDS
from reading import damaged, matching, only_charloom_errors, read

SRT, VTT = KINDS


def srt(*cues: str) -> bytes:
    texts = (
        f"{n}\n00:00:{n:02},000 --> 00:00:{n:02},900\n{cue}\n\n" for n, cue in enumerate(cues, 1)
    )
    return "".join(texts).encode()


def vtt(*cues: str) -> bytes:
    texts = (f"00:{n:02}.000 --> 00:{n:02}.900 align:left\n{cue}\n\n" for n, cue in enumerate(cues))
    return ("WEBVTT - A title\nKind: captions\n\n" + "".join(texts)).encode()


@pytest.mark.parametrize(("kind", "made"), [(SRT, srt), (VTT, vtt)])
def test_a_cue_is_a_line(kind, made) -> None:
    data = made("One and\ntwo", "- Who?\n- Me.", "<i>Three</i>", "")
    assert matching(KINDS, data) == [kind.name]
    [found], report = read(kind, data)
    assert found.text == "One and two\n- Who?\n- Me.\nThree"
    assert not report.left_out


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("<i>a</i> <b>b</b>", "a b"),
        ('<font color="#fff">a</font>', "a"),
        ("<v Roger Bingham>a</v>", "a"),
        ("<c.yellow.bg_blue>a</c> <lang en>b</lang>", "a b"),
        ("a<00:00:01.000><c> b</c>", "a b"),
        ("{\\an8}a{\\i1}b{\\i0}", "ab"),
        ("a &amp; b &lt;c&gt;&nbsp;d", "a & b <c> d"),
        ("<ruby>東<rt>x</rt></ruby>京", "東京"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("x <y> z", "x <y> z"),
        ("♪ la la ♪", "♪ la la ♪"),
        ("{braces} stay", "{braces} stay"),
    ],
)
def test_tags_go_and_entities_are_characters(line: str, text: str) -> None:
    assert read(SRT, srt(line))[0][0].text == text
    assert read(VTT, vtt(line))[0][0].text == text


def test_srt_with_empty_lines_in_cues_or_none_between_them() -> None:
    data = srt("One\n\nstill one", "42", "two").replace(b"\n\n2\n", b"\n2\n")
    assert read(SRT, data)[0][0].text == "One still one\n42\ntwo"


def test_srt_without_numbers_with_marks_and_other_line_ends() -> None:
    data = b"\xef\xbb\xbf\r\n0:00:01.5 --> 0:00:02.000 X1:1 X2:2\r\nOne\r\n\r\n"
    assert matching(KINDS, data) == [SRT.name]
    assert read(SRT, data)[0][0].text == "One"


def test_srt_in_another_encoding_is_read_with_a_note() -> None:
    said = ["Здравствуй, друг мой.", "Где ты был вчера вечером?", "Я был дома и читал книгу."]
    [found], report = read(SRT, srt(*said).decode().encode("cp1251"))
    assert found.text.split("\n") == said
    assert [guess.encodings for guess in report.guesses] == [("cp1251",)]


def test_srt_in_the_encoding_that_is_asked_for() -> None:
    data = srt("Où est le café ?").decode().encode("cp1252")
    [found], report = read(SRT, data, Options(encoding="cp1252"))
    assert (found.text, report.notes) == ("Où est le café ?", [])


def test_notes_styles_and_regions_of_vtt_are_left_out() -> None:
    blocks = b"NOTE gone\nmore\n\nSTYLE\n::cue { color: red }\n\nREGION\nid:a\n\n"
    data = vtt("One").replace(b"00:00", blocks + b"intro 1\n00:00", 1)
    [found], report = read(VTT, data)
    assert (found.text, report.left_out) == ("One", {"notes": 1, "styles": 2})


def test_captions_that_roll_up_are_read_once() -> None:
    lines = [f"line {n}" for n in range(12)]
    cues = [lines[0]]
    for before, line in pairwise(lines):
        cues += [f"{before}\n ", f"{before}\n{line.replace(' ', '<00:00:01.000><c> ')}</c>", line]
    [found], report = read(VTT, vtt(*cues))
    assert found.text == "\n".join(lines)
    assert report.left_out["lines shown again"] > 20


def test_what_is_said_twice_stays() -> None:
    said = ["No.", "No.", "Yes.", "No.", "Well.", "So.", "Never.", "Maybe.", "Always."]
    assert read(SRT, srt(*said))[0][0].text.split("\n") == said


@pytest.mark.parametrize(
    "text",
    [
        "1\nOnce upon a time --> there was\n",
        "WEBVTTER is no word\n",
        "00:00:01,000 INFO started\n00:00:02,000 INFO --> next\n",
        "12:30\n\nA poem\n",
        "\n" * 60_000 + "1\n",
        "1\n" + "\n" * 60_000,
        "",
    ],
)
def test_other_texts_are_not_recognised(text: str) -> None:
    assert matching(KINDS, text.encode()) == []


def test_subtitles_without_text_yield_nothing() -> None:
    assert read(SRT, srt("", "<i></i>"))[0] == []
    assert read(VTT, b"WEBVTT")[0] == []


def test_damaged_files() -> None:
    assert only_charloom_errors(SRT, damaged(srt(*map(str, range(20))), 100)) > 0
    assert only_charloom_errors(VTT, damaged(vtt(*map(str, range(20))), 100)) > 0
