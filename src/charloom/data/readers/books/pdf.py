"""The text of a PDF, line by line as its pages show it, without heads, feet and page numbers.

A PDF says where characters stand, and no more: lines are not joined to paragraphs, but words that
hyphens part at line ends are, and there is a blank line where lines are further apart.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from statistics import median
from typing import Any, BinaryIO

from charloom.data.readers import Document, Head, Job, Kind, Report
from charloom.data.readers.members import MEMBER_BYTES
from charloom.data.readers.plain import one_line, read_whole
from charloom.errors import CharloomError, needs_extra

FURTHER = 1.4  # times the usual distance of lines, from which on there is a blank line between
IN_A_ROW = 3  # pages with the same line at their edge, at least, that make it a running head
NAMELESS = 0.1  # control characters for each other, from which on fonts are without names
LONGEST_WORD = 60  # characters that are looked at on either side of a hyphen
LONGEST_HEAD = 200  # characters of a line that may be a running head
ROUNDS = 4  # lines at an edge, at most, that may be running heads

_HYPHEN = "\ufffe"  # as the library marks one at the end of a line, where it joins the two
_OLD_HYPHEN = re.compile(r"(?<=\w)\x02(?=\w)")  # of some of its versions
_LIGATURES = dict(enumerate(("ff", "fi", "fl", "ffi", "ffl", "st", "st"), 0xFB00))
_CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f]")
_LINE = re.compile(r"\S(?:[^\r\n]*[^\s])?")  # without the spaces around it
_WORD = re.compile(r"\w+(?:-\w+)*")
_LAST_WORD = re.compile(r"\w[\w-]*\Z")
_NUMBER = re.compile("[0-9]{1,5}")
_LATE = re.compile(
    rb"\A[^%]{0,1000}%PDF-\d\.\d\s[\s\S]{0,200}?\d+ \d+ obj\b"
)  # behind others' lines
_DATE = re.compile(r"D:(\d{4})(\d\d)?(\d\d)?")


def _is_pdf(head: Head) -> bool:
    return head.start.startswith(b"%PDF-") or _LATE.search(head.start) is not None


def _read(file: BinaryIO, job: Job) -> Iterator[Document]:
    with needs_extra("pdf", "reading PDF"):
        import pypdfium2
    data = read_whole(file, job.label, MEMBER_BYTES, "split it")
    try:
        pdf = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        raise _unreadable(str(error), job.label) from None
    try:
        pages = [_page(pdf, number, job.report) for number in range(len(pdf))]
        about = pdf.get_metadata_dict()
    finally:
        pdf.close()
    if pages and job.report.left_out["damaged pages"] == len(pages):
        raise _unreadable("", job.label)
    if not any(pages):
        message = (
            f"{job.label} has no text in it, it may be pictures of pages: recognise their text "
            "first, for instance with: ocrmypdf IN.pdf OUT.pdf"
        )
        raise CharloomError(message, "not-text", why="no text", path=job.label)
    if empty := pages.count([]):
        job.report.left_out["pages without text"] += empty
    _leave_out_running_lines(pages, job.report)
    text = _joined([line for page in pages for line in page], job.report)
    if job.report.mended["control characters"] > NAMELESS * len(text):
        job.report.notes.append(
            f"{job.label} does not say which letters it shows, and may read as nonsense: recognise "
            "them first, for instance with: ocrmypdf --force-ocr IN.pdf OUT.pdf"
        )
    if text:
        title, author = (one_line(about.get(key, "")) for key in ("Title", "Author"))
        yield Document(text, "", title, author, _date(about.get("CreationDate", "")))


def _unreadable(reason: str, label: str) -> CharloomError:
    if "password" in reason.lower():
        message = f"{label} has a password: save a copy without one"
        return CharloomError(message, "unreadable", why="encrypted", path=label)
    message = f"{label} is damaged: get another copy, or open it and print it to a new PDF"
    return CharloomError(message, "damaged", why="damaged", path=label)


def _page(pdf: Any, number: int, report: Report) -> list[str]:
    """Return the lines of a page, from the top; none if it is damaged or has no text."""
    import pypdfium2

    try:
        page = pdf[number]
        shown = page.get_textpage()
        text = shown.get_text_range()
    except pypdfium2.PdfiumError:
        report.left_out["damaged pages"] += 1
        return []
    gaps, lines = _gaps(shown, text), list[str]()
    for line in _LINE.finditer(text):
        if lines and line.start() in gaps:
            lines.append("")
        lines.append(_clean(line[0], report))
    shown.close()
    page.close()
    return lines


def _gaps(shown: Any, text: str) -> set[int]:
    """Return the places in a page's text where a line begins that has a gap above it."""
    if len(text) != shown.count_chars():  # characters that are two places, or none
        return set()

    def height(place: int) -> float:
        return float(shown.get_charbox(place, loose=True)[1])

    lines = list(_LINE.finditer(text))
    steps = {
        below.start(): height(above.end() - 1) - height(below.start())
        for above, below in pairwise(lines)
    }
    downwards = [step for step in steps.values() if step > 1]
    usual = median(downwards) if downwards else 0.0
    return {start for start, step in steps.items() if step > FURTHER * usual > 0}


def _clean(line: str, report: Report) -> str:
    line, found = _CONTROL.subn("", _OLD_HYPHEN.sub(_HYPHEN, line))
    if found:
        report.mended["control characters"] += found
    if ligatures := sum(map(line.count, map(chr, _LIGATURES))):
        report.mended["ligatures"] += ligatures
    return line.translate(_LIGATURES)


def _leave_out_running_lines(pages: list[list[str]], report: Report) -> None:
    """Remove what stands at the same edge of page after page, and the numbers of the pages."""
    numberings = set[int]()
    for _ in range(ROUNDS):
        for edge in (0, -1):
            for number in _running(pages, edge, numberings):
                pages[number].pop(edge)
                while pages[number] and not pages[number][edge]:
                    pages[number].pop(edge)
                report.left_out["lines at page edges"] += 1


def _running(pages: list[list[str]], edge: int, numberings: set[int]) -> set[int]:
    """Return the pages whose first or last line is no part of their text.

    Adds to `numberings` how far page numbers are from the count of pages.
    """
    places: dict[tuple[str, int | None], set[int]] = defaultdict(set)
    for number, page in enumerate(pages):
        if page and len(page[edge]) <= LONGEST_HEAD:
            places[page[edge], None].add(number)
            for found in _NUMBER.finditer(page[edge]):
                rest = page[edge][: found.start()] + "#" + page[edge][found.end() :]
                places[rest, int(found[0]) - number].add(number)
    running = set[int]()
    for (line, offset), numbers in places.items():
        if _in_a_row(numbers):
            running |= numbers
            if offset is not None:
                numberings.add(offset)
        elif line == "#" and offset in numberings:
            running |= numbers
    return running


def _in_a_row(numbers: set[int]) -> bool:
    """Whether there are pages one after another, or every second one."""
    return any(
        all(number + step * more in numbers for more in range(IN_A_ROW))
        for step in (1, 2)
        for number in numbers
    )


def _joined(lines: list[str], report: Report) -> str:
    """Return the lines as a text in which no word is parted by a hyphen at a line's end."""
    text = re.sub(r"(?<=\w)-\n(?=[^\W\d_A-Z])", _HYPHEN, "\n".join(lines).strip("\n"))
    known = set(_WORD.findall(text))
    parts = text.split(_HYPHEN)
    pieces = parts[:1]
    for before, after in pairwise(parts):
        left, right = _LAST_WORD.search(before[-LONGEST_WORD:]), _WORD.match(after[:LONGEST_WORD])
        pieces += [_between(left[0] if left else "", right[0] if right else "", known), after]
    if found := len(parts) - 1:
        report.mended["hyphens at line ends"] += found
    return "".join(pieces)


def _between(left: str, right: str, known: set[str]) -> str:
    """Return what is to stand between parts of a word that had a hyphen and a line end there."""
    if not left or not right:  # a dash
        return "-\n"
    if left + right in known:
        return ""
    return "-" if f"{left}-{right}" in known or not right[0].islower() else ""


def _date(created: str) -> str:
    found = _DATE.match(created)
    return "-".join(filter(None, found.groups())) if found else ""


KINDS = (Kind("a PDF", _is_pdf, _read, "pdf", in_any_order=True),)
