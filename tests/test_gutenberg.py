import io

import pytest

from charloom.data.readers import Document, Head, Job, Options, Report
from charloom.data.readers.books.gutenberg import KINDS
from charloom.data.readers.kinds import recognise
from reading import damaged, matching, only_charloom_errors, read

[BOOK] = KINDS
HEADER = """The Project Gutenberg eBook of The Example

This ebook is for the use of anyone anywhere.

Title: The Example
       or, A Book

Author: Ann Writer

Language: English

"""
START = "*** START OF THE PROJECT GUTENBERG EBOOK THE EXAMPLE ***"
END = "*** END OF THE PROJECT GUTENBERG EBOOK THE EXAMPLE ***"
LICENCE = (
    "\n\nUpdated editions will replace the previous one.\n*** START: FULL LICENSE ***\nMore.\n"
)
TEXT = "CHAPTER I\n\n\nIt was a day.\n  It rained."


def book(start: str = START, end: str = END, text: str = TEXT, header: str = HEADER) -> bytes:
    return f"{header}{start}\n\n\n{text}\n\n\n{end}{LICENCE}".encode()


@pytest.mark.parametrize(
    "start",
    [
        START,
        START.replace("THE PROJECT", "THIS PROJECT"),
        START.replace("*** ", "***").replace(" ***", "***"),
        START.replace("EBOOK", "EBOOK,"),
        START.replace("EBOOK", "ETEXT"),
        START.replace("THE EXAMPLE", "THE\nEXAMPLE"),
        START.replace("THE EXAMPLE", "THE\nEXAMPLE:\nA BOOK"),
        START.removesuffix(" ***"),
        START.replace("THE PROJECT", "THE COPYRIGHTED PROJECT"),
        "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.10/04/01*END*",
        "*END THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*",
    ],
)
def test_what_is_before_a_book_is_left_out(start: str) -> None:
    assert matching(KINDS, book(start)) == [BOOK.name]
    [found], report = read(BOOK, book(start))
    assert found == Document(TEXT, "", "The Example or, A Book", "Ann Writer")
    assert report.left_out == {"licences of Project Gutenberg": 1}


@pytest.mark.parametrize(
    "end",
    [
        END,
        END.replace("THE PROJECT", "THIS PROJECT"),
        END.replace("*** ", "***"),
        "End of the Project Gutenberg EBook of The Example, by Ann Writer\n\n" + END,
        "End of Project Gutenberg's The Example, by Ann Writer\n\n" + END,
        "End of The Project Gutenberg Etext of The Example",
    ],
)
def test_what_is_behind_a_book_is_left_out(end: str) -> None:
    [found], _ = read(BOOK, book(end=end))
    assert found.text == TEXT


@pytest.mark.parametrize(
    "credit",
    [
        "Produced by Ann Helper and the Online\nDistributed Proofreading Team",
        "E-text prepared by Ann Helper",
        "This eBook was produced by Ann Helper.",
        "[Transcribed from the 1900 edition by Ann Helper]",
    ],
)
def test_who_prepared_it_is_left_out(credit: str) -> None:
    [found], report = read(BOOK, book(text=f"{credit}\n\n\n{TEXT}"))
    assert found.text == TEXT
    assert report.left_out["credits of transcribers"] == 1
    [found], _ = read(BOOK, book(text=f"THE EXAMPLE\n\n{credit}\n\n{TEXT}"))
    assert found.text == f"THE EXAMPLE\n\n{TEXT}"


def test_such_words_further_down_are_text() -> None:
    text = f"One.\n\nTwo.\n\nThree.\n\nProduced by the sun, it grew.\n\n{TEXT}"
    [found], _ = read(BOOK, book(text=text))
    assert found.text == text


def test_books_that_were_joined_are_books() -> None:
    other = HEADER.replace("The Example", "Another").replace("       or, A Book\n", "")
    found, report = read(BOOK, book() + book(header=other, text="Two"))
    assert [document.text for document in found] == [TEXT, "Two"]
    assert [document.title for document in found] == ["The Example or, A Book", "Another"]
    assert report.left_out["licences of Project Gutenberg"] == 2


def test_a_book_that_is_cut_ends_where_it_ends() -> None:
    [found], _ = read(BOOK, f"{HEADER}{START}\n\n{TEXT}".encode())
    assert found.text == TEXT
    found, _ = read(BOOK, f"{HEADER}{START}\n\n{TEXT}\n\n".encode() + book())
    assert [document.text for document in found] == [TEXT, TEXT]


def test_the_title_of_old_headers() -> None:
    old = "***The Project Gutenberg Etext of The Example, by Ann Writer***\n\n"
    [found], _ = read(BOOK, book(header=old))
    assert found[2:4] == ("The Example", "Ann Writer")


def test_line_ends_and_marks() -> None:
    [found], _ = read(BOOK, b"\xef\xbb\xbf" + book().replace(b"\n", b"\r\n"))
    assert found.text == TEXT
    assert matching(KINDS, b"\xef\xbb\xbf" + book().replace(b"\n", b"\r\n")) == [BOOK.name]


@pytest.mark.parametrize("name", ["ISO-8859-1", "ISO Latin-1", "ISO-8859-1 (Latin-1)", "ASCII"])
def test_the_encoding_is_that_of_the_header(name: str) -> None:
    header = f"{HEADER}Character set encoding: {name}\n\n"
    [found], report = read(
        BOOK, book(text="François et Gabriël", header=header).decode().encode("cp1252")
    )
    assert (found.text, report.notes) == ("François et Gabriël", [])
    [found], _ = read(BOOK, book(text="François et Gabriël", header=header))
    assert found.text == "François et Gabriël"


@pytest.mark.parametrize(
    "text",
    [
        "Files begin with `*** START OF THE PROJECT GUTENBERG EBOOK X ***`.",
        'MARKERS = [\n    "*** START OF THE PROJECT GUTENBERG EBOOK",\n]\n',
        "Project Gutenberg is a library.\n\nIt has many books.\n",
        TEXT,
    ],
)
def test_what_only_speaks_of_it_is_not_recognised(text: str) -> None:
    assert matching(KINDS, text.encode()) == []


def test_damaged_files() -> None:
    assert only_charloom_errors(BOOK, damaged(book() + book(), 100)) > 0


PAGE = """<!DOCTYPE html><html><head><title>Kelp | Project Gutenberg</title></head><body>{}
<h1>Kelp</h1><h2>CONTENTS</h2><ul><li><a href="#a">I</a></li></ul>
<p><span class="pagenum" id="p7">[Pg 7]</span>It grew.<a class="fnanchor" href="#n">[1]</a></p>
<p class="poem">Row on,<br>row on.</p>{}</body></html>"""
NEW_HEADER = """<section class="pg-boilerplate pgheader" id="pg-header"><div>You may copy it.</div>
<p><strong>Title</strong>: Kelp, a novel</p><p><strong>Author</strong>: Ada Byrne</p>
<div id="pg-start-separator"><span>*** START OF THE PROJECT GUTENBERG EBOOK KELP ***</span></div>
</section>"""
NEW_LICENCE = """<section class="pg-boilerplate" id="pg-footer"><div id="pg-end-separator">
<span>*** END OF THE PROJECT GUTENBERG EBOOK KELP ***</span></div>No one owns it.</section>"""
OLD_HEADER = """<pre>
The Project Gutenberg EBook of Kelp, by Ada Byrne

Title: Kelp,
       a novel

Author: Ada Byrne

*** START OF THIS PROJECT GUTENBERG EBOOK KELP ***

Produced by A. Reader.
</pre>"""
OLD_LICENCE = "<pre>\nEnd of the Project Gutenberg EBook of Kelp, by Ada Byrne\n\nLicence.</pre>"


@pytest.mark.parametrize(
    ("header", "licence"), [(NEW_HEADER, NEW_LICENCE), (OLD_HEADER, OLD_LICENCE)]
)
def test_a_web_page_of_a_book_is_read_without_header_licence_and_page_numbers(
    header: str, licence: str
) -> None:
    pytest.importorskip("lxml")
    page = PAGE.format(header, licence).encode()
    kind = recognise(Head("kelp-h.htm", page))
    assert kind is not None
    job = Job("kelp-h.htm", Options(), Report())
    text = "Kelp\n\nCONTENTS\n\n- I\n\nIt grew.\n\nRow on,\nrow on."
    assert list(kind.read(io.BytesIO(page), job)) == [
        Document(text, "", "Kelp, a novel", "Ada Byrne")
    ]
    assert job.report.left_out["licences of Project Gutenberg"] == 1
    assert job.report.left_out["page numbers"] == job.report.left_out["footnote marks"] == 1
