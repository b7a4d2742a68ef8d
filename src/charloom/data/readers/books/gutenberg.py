"""Plain texts of Project Gutenberg without its header, its licence and who prepared them."""

import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import BinaryIO

from charloom.data.readers import HEAD_BYTES, Document, Head, Job, Kind, Report
from charloom.data.readers.plain import head_text, one_line, whole_text

CREDITS_WITHIN = 3  # paragraphs from the beginning

_START = re.compile(
    r"^ ?\*{2,3} ?START OF TH(?:E|IS) (?:COPYRIGHTED )?PROJECT GUTENBERG (?:EBOOK|E-?TEXT)\b"
    r"(?:(?:[^\n]|\n(?!\s*\n)){0,400}?\*{3}[ \t]*$|[^\n]*$)",  # its stars may be lines below
    re.MULTILINE | re.IGNORECASE,
)
_SMALL_PRINT = re.compile(
    r"^ ?\*{1,2}END\*? ?THE SMALL PRINT![^\n]*$", re.MULTILINE | re.IGNORECASE
)
_END = re.compile(
    r"^ ?(?:\*{2,3} ?)?END OF (?:TH(?:E|IS) )?(?:COPYRIGHTED )?PROJECT GUTENBERG",
    re.MULTILINE | re.IGNORECASE,
)
_HEADER = re.compile(r"^\W*(?:The )?Project Gutenberg", re.MULTILINE | re.IGNORECASE)
_CREDITS = re.compile(
    r"\[?(?:(?:Produced|E-?text prepared|Prepared|Transcribed) (?:by|from)"
    r"|This e-?(?:book|text) was (?:produced|prepared|transcribed|scanned|created)) ",
    re.IGNORECASE,
)
_ENCODING = re.compile(
    rb"^Character set encoding: *(?:ISO[ -]?8859-1|ISO Latin-?1|ASCII)\b", re.M | re.I
)
_TITLE = re.compile(r"^Title: *(.+(?:\n[ \t]+\S.*)*)", re.MULTILINE)
_AUTHOR = re.compile(r"^Author: *(.+)", re.MULTILINE)
_OLD_TITLE = re.compile(r"Project Gutenberg(?:'s)? E-?(?:Book|text) of ([^\n]+)", re.IGNORECASE)


def _is_gutenberg(head: Head) -> bool:
    text = head_text(head)
    return bool(_START.search(text) or ("Gutenberg" in text and _SMALL_PRINT.search(text)))


def _read(file: BinaryIO, job: Job) -> Iterator[Document]:
    declared = _ENCODING.search(file.read(HEAD_BYTES))
    yield from books(whole_text(file, job, "cp1252" if declared else ""), job)


def books(whole: str, job: Job) -> Iterator[Document]:
    """Yield the books in a text: people join several."""
    starts = list((_START if _START.search(whole) else _SMALL_PRINT).finditer(whole))
    begin = 0  # of what is before a book: the end of the last, and the header
    for start, following in zip_longest(starts, starts[1:]):
        last = following.start() if following else len(whole)
        end = _end(whole, start.end(), last, is_last=following is None)
        job.report.left_out["licences of Project Gutenberg"] += 1
        text = _without_credits(whole[start.end() : end].strip("\n"), job.report)
        if text.strip():
            yield Document(text, "", *_title_and_author(whole[begin : start.start()]))
        begin = end


def _end(whole: str, start: int, last: int, is_last: bool) -> int:
    """Return where a book ends: at its end marker, or else at the header of the next."""
    if marker := _END.search(whole, start, last):
        return marker.start()
    header = None if is_last else _HEADER.search(whole, start, last)
    return header.start() if header else last


def _without_credits(text: str, report: Report) -> str:
    place = 0
    for _ in range(CREDITS_WITHIN):
        end = text.find("\n\n", place)
        if end < 0:
            break
        if _CREDITS.match(text, place):
            report.left_out["credits of transcribers"] += 1
            return (text[:place] + text[end:].lstrip("\n")).strip("\n")
        place = end + len(text[end:]) - len(text[end:].lstrip("\n"))
    return text


def _title_and_author(header: str) -> tuple[str, str]:
    """Return what a header says; it comes last, behind the licence of another book."""
    titles, authors = _TITLE.findall(header), _AUTHOR.findall(header)
    if titles:
        author = authors[-1].strip() if authors else ""
        return one_line(titles[-1]), author
    old = _OLD_TITLE.findall(header)
    title, _, author = old[-1].strip(" *").partition(", by ") if old else ("", "", "")
    return title, author


KINDS = (Kind("a text of Project Gutenberg", _is_gutenberg, _read, noun="books"),)
