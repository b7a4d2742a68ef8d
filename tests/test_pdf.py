import sys

import pytest

from charloom.data.readers import Document
from charloom.data.readers.books.pdf import KINDS
from expect import refused
from reading import damaged, matching, only_charloom_errors, read

pytest.importorskip("pypdfium2")

[PDF] = KINDS
Line = tuple[int, str]  # its height above the bottom of the page, and its text


def pdf(*pages: list[Line], more: bytes = b"") -> bytes:
    """Return a PDF with such pages, written by hand."""
    objects = [b"<< /Type /Font /Subtype /Type1 /BaseFont /Times-Roman >>"]
    kids = []
    catalog = 2 * len(pages) + 3
    for lines in pages:
        shown = b"".join(b"1 0 0 1 50 %d Tm (%s) Tj " % (y, text.encode()) for y, text in lines)
        stream = b"BT /F1 12 Tf " + shown + b"ET"
        objects.append(b"<< /Length %d >> stream\n%s\nendstream" % (len(stream), stream))
        kids.append(b"%d 0 R" % (len(objects) + 1))
        objects.append(
            b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 400 800] /Contents %d 0 R "
            b"/Resources << /Font << /F1 1 0 R >> >> >>" % (catalog - 1, len(objects))
        )
    objects += [
        b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), b" ".join(kids)),
        b"<< /Type /Catalog /Pages %d 0 R >>" % (catalog - 1),
        b"<< /Title (A  Book) /Author (Ann Example) /CreationDate (D:20200102030405Z) >>",
    ]
    out = b"%PDF-1.4\n"
    for number, content in enumerate(objects, 1):
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    trailer = b"<< /Size %d /Root %d 0 R /Info %d 0 R %s >>"
    return out + b"trailer " + trailer % (len(objects) + 1, catalog, catalog + 1, more) + b"\n%%EOF"


def lines(*texts: str, step: int = 14) -> list[Line]:
    """Return lines from the top of a page; an empty one is a gap."""
    return [(700 - step * number, text) for number, text in enumerate(texts) if text]


def text_of(*pages: list[Line]) -> str:
    [found], _ = read(PDF, pdf(*pages))
    return found.text


def test_lines_are_those_of_the_page_with_its_gaps() -> None:
    assert text_of(lines("One", "two", "", "three", "four")) == "One\ntwo\n\nthree\nfour"
    assert text_of(lines("One", "two", step=40)) == "One\ntwo"


def test_pages_follow_one_another() -> None:
    assert text_of(lines("One", "two"), lines("three")) == "One\ntwo\nthree"


@pytest.mark.parametrize(
    ("texts", "text"),
    [
        (("an exam-", "ple of it"), "an example of it"),
        (("a well-", "known thing", "it is well-known"), "a well-known thing\nit is well-known"),
        (("an Anglo-", "Saxon"), "an Anglo-Saxon"),
        (("wellknown", "well-", "known"), "wellknown\nwellknown"),
    ],
)
def test_words_parted_at_a_line_end_are_whole(texts: tuple[str, ...], text: str) -> None:
    [found], report = read(PDF, pdf(lines(*texts)))
    assert (found.text, report.mended) == (text, {"hyphens at line ends": 1})


def test_a_line_that_was_joined_to_the_next_is_no_gap() -> None:
    texts = ("One", "two", "an exam-", "ple of it", "three", "four")
    assert text_of(lines(*texts)) == "One\ntwo\nan example of it\nthree\nfour"


def test_a_word_parted_at_the_end_of_a_page_is_whole() -> None:
    assert text_of(lines("an exam-"), lines("ple")) == "an example"


def test_title_author_and_date() -> None:
    assert read(PDF, pdf(lines("x")))[0] == [
        Document("x", "", "A Book", "Ann Example", "2020-01-02")
    ]


def test_running_heads_and_page_numbers_are_left_out() -> None:
    pages = []
    for number in range(1, 9):
        head = "A Book" if number % 2 else f"{number + 4} A Chapter"
        foot = str(number + 4)
        pages.append([(780, head), (700, f"Text {'abcdefgh'[number - 1]}"), (30, foot)])
    pages[6] = [(700, "A new chapter"), (30, "11")]
    [found], report = read(PDF, pdf(*pages))
    expected = [f"Text {letter}" for letter in "abcdefgh"]
    expected[6] = "A new chapter"
    assert found.text == "\n".join(expected)
    assert report.left_out == {"lines at page edges": 15}


def test_what_repeats_but_not_page_after_page_stays() -> None:
    pages = [[(700, f"Verse {'abcdefg'[n]}"), (600, "Refrain" if n in (0, 3, 6) else "Other")]
             for n in range(7)]  # fmt: skip
    pages[4] = [(700, "1914"), (600, "was a year")]
    text = text_of(*pages)
    assert text.count("Refrain") == 3
    assert "1914" in text


def test_a_long_line_is_read_quickly_and_is_no_running_head() -> None:
    """It would take minutes if each letter began a search for a hyphen behind its word."""
    found, report = read(PDF, pdf(*[[(700, "a" * 30_000)]] * 4))
    assert len(found[0].text) == 4 * 30_000 + 3
    assert not report.left_out


def test_pages_without_text_are_counted() -> None:
    [found], report = read(PDF, pdf(lines("One"), []))
    assert (found.text, report.left_out) == ("One", {"pages without text": 1})


def test_a_pdf_without_text_is_refused() -> None:
    with refused("not-text", why="no text"):
        read(PDF, pdf([], []))


def test_a_password_is_said() -> None:
    secret = (
        b"/Encrypt << /Filter /Standard /V 1 /R 2 /Length 40 /P -4 /O <"
        + b"00" * 32
        + b"> /U <"
        + b"11" * 32
        + b"> >> /ID [<00> <00>]"
    )
    with refused("unreadable", why="encrypted"):
        read(PDF, pdf(lines("x"), more=secret))


def test_a_pdf_that_names_no_letters_is_read_with_a_note() -> None:
    [found], report = read(PDF, pdf([(700, "a\005\006\005b")]))
    assert (found.text, report.mended) == ("ab", {"control characters": 3})
    assert len(report.notes) == 1


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    with refused("missing-library", library="pypdfium2"):
        read(PDF, pdf(lines("x")))


def test_what_is_recognised() -> None:
    assert matching(KINDS, pdf(lines("x"))) == ["a PDF"]
    assert matching(KINDS, b"Some lines\r\nbefore\r\n" + pdf(lines("x"))) == ["a PDF"]
    assert matching(KINDS, b"How a file begins: %PDF-1.4 is the mark of a PDF") == []


def test_damaged_files() -> None:
    whole = pdf(lines("One", "two", "", "three"), lines("four"), lines("five"))
    assert only_charloom_errors(PDF, damaged(whole, 200)) < 200
    with refused("damaged", why="damaged"):
        read(PDF, b"%PDF-1.4\nand nothing else")
