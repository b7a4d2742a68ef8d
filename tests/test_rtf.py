import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data.readers.books.rtf import KINDS
from reading import damaged, matching, only_charloom_errors, read

[RTF] = KINDS
FONTS = r"{\fonttbl{\f0\fswiss\fcharset0 Arial;}{\f1\fcharset204 Arial;}{\f2\fcharset2 Symbol;}}"


def rtf(body: str, head: str = r"\ansi\ansicpg1252") -> bytes:
    return (rf"{{\rtf1{head}\deff0{FONTS}{{\colortbl;\red0;}}" + body + "}").encode("cp1252")


def text_of(body: str, head: str = r"\ansi\ansicpg1252") -> str:
    [found], _ = read(RTF, rtf(body, head))
    return found.text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (r"\pard One {\b two}\par" + "\r\n" + r"three\par", "One two\nthree"),
        (r"One\par\par two", "One\n\ntwo"),
        ("One\\\n two\\\n", "One\n two"),
        (r"a\line b\tab c", "a\nb\tc"),
        (r"\{a\}\\b", "{a}\\b"),
        (r"caf\'e9 \emdash  \ldblquote x\rdblquote", "café — “x”"),
        ("café", "café"),
        (r"a\~b\_c\-d", "a\xa0b\u2011cd"),
        (r"\u8217?s \uc0\u8217 s", "’s ’s"),
        (r"\uc2\u26481\'93\'8c\u-10179??\u-8704??.", "東😀."),
        (r"\uc1\u8212\'97x \u8212\emdash x", "—x —x"),
        (r"{\f1 \'cf\'f0\'e8\'e2\'e5\'f2} \'e9", "Привет é"),
        (r"{\field{\*\fldinst{HYPERLINK x}}{\fldrslt{\ul link}}}.", "link."),
        (r"{\*\bkmkstart a}b{\*\unknown c}d", "bd"),
        (r"a{\pict\wmetafile8\bin3 }}}ff00}b", "ab"),
        (r"\trowd a\cell b\cell\row c\cell\row end", "a\tb\nc\nend"),
        (r"{a\par}\cell {b\par}\cell\row c\cell\cell\row", "a\tb\nc"),
        (r"a\cell b\cell\row\cell c\cell\row", "a\tb\n\tc"),
        (r"a\cell b\par c\cell\row", "a\tb\nc"),
        (r"a\unknown1 b", "ab"),
    ],
)
def test_what_is_text(body: str, text: str) -> None:
    assert text_of(body) == text


def test_files_of_macs_and_of_other_places() -> None:
    assert text_of(r"caf\'8e", r"\mac") == "café"
    assert text_of(r"\'8b\'9e", r"\ansi\ansicpg932") == "京"
    assert text_of(r"\'e9", r"\ansi\ansicpg99999") == "é"


@pytest.mark.parametrize(
    ("inner", "what"),
    [
        (r"{\footnote gone}", "footnotes"),
        (r"{\*\annotation gone}", "comments"),
        (r"{\listtext 1.\tab}", "list markers"),
        (r"{\pntext \'b7}", "list markers"),
        (r"{\header gone}", "running heads"),
        (r"{\v gone}", "hidden passages"),
        (r"\v gone\v0 ", "hidden passages"),
        (r"{\deleted gone}", "deletions"),
        (r"{\f2 \'b7}", "symbols of pictorial fonts"),
    ],
)
def test_what_is_not_text_is_left_out_and_counted(inner: str, what: str) -> None:
    [found], report = read(RTF, rtf(f"a{inner}b"))
    assert (found.text, report.left_out) == ("ab", {what: 1})


def test_title_and_author() -> None:
    [found], _ = read(RTF, rtf(r"{\info{\title A \b Title}{\author Ann}{\company gone}}x"))
    assert found[:4] == ("x", "", "A Title", "Ann")


def test_what_is_recognised() -> None:
    assert matching(KINDS, rtf("x")) == [RTF.name]
    for text in (b"\\rtf1 is how RTF begins", b"{\\rtfm}", b"{rtf1}", b""):
        assert matching(KINDS, text) == []


def test_what_has_no_text_yields_nothing() -> None:
    assert read(RTF, rtf(r"\par "))[0] == []


def test_damaged_files() -> None:
    body = r"{\field{\*\fldinst x}{\fldrslt y}}\u8217?{\footnote z}\'e9\par\trowd a\cell\row" * 5
    assert only_charloom_errors(RTF, damaged(rtf(body), 200)) == 200
    assert only_charloom_errors(RTF, [rb"{\rtf1 " + b"{" * 100_000, rb"{\rtf1 }}}}\bin-5 x"]) == 2


@given(st.text(alphabet=r"\{}'*u8f12 -binv" + "\n", max_size=60))
def test_nothing_that_is_written_so_raises(body: str) -> None:
    read(RTF, rb"{\rtf1 " + body.encode() + b"}")
