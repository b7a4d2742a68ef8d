"""OpenDocument texts (.odt, .fodt): the text with all changes accepted, a paragraph a line.

Numbers and bullets of lists, notes, comments and tables of contents are left out.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

from charloom.data.readers import Bundle, Document, Head, Job, Kind, Report
from charloom.data.readers.books.layout import properties, row_lines, without_soft_hyphens
from charloom.data.readers.members import MEMBER_BYTES, Members
from charloom.data.readers.plain import read_whole
from charloom.data.readers.xml_tree import (
    Element,
    attribute,
    first_text,
    name_of,
    named,
    outermost,
    parse,
)
from charloom.errors import CharloomError

_MANIFEST = "META-INF/manifest.xml"
_LEFT_OUT = {
    "note": "footnotes",
    "annotation": "comments",
    "ruby-text": "ruby readings",
    "table-of-content": "tables of contents",
    "alphabetical-index": "tables of contents",
    "illustration-index": "tables of contents",
    "table-index": "tables of contents",
    "object-index": "tables of contents",
    "user-index": "tables of contents",
    "hidden-text": "hidden passages",
}
_SILENT = {
    *("forms", "sequence-decls", "variable-decls", "user-field-decls", "dde-connection-decls"),
    *("script", "event-listeners", "binary-data", "object", "object-ole"),
    *("tracked-changes", "annotation-end", "table-columns", "table-column"),
}
_BLOCKS = {"p", "h"}
_CHARACTERS = {"tab": "\t", "line-break": "\n"}
_LOOSE = "\0"  # white space in the file, which counts for nothing at the end of a paragraph
_ENDS = (_LOOSE, " ", "\t", "\n")  # behind which it counts for nothing either
_BLANK = re.compile("[ \t\r\n]+")


def _is_open_document(head: Head) -> bool:
    return _MANIFEST in head.members and (
        "content.xml" in head.members or "encrypted-package" in head.members
    )


def _is_flat(head: Head) -> bool:
    begins = head.start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    return begins and b"<office:document" in head.start and b"opendocument.text" in head.start


def _read_bundle(members: Members, job: Job) -> Iterator[Document]:
    if "content.xml" not in members.names() or b"encryption-data" in members.read(_MANIFEST):
        message = f"{job.label} has a password: save it without one"
        raise CharloomError(message, "unreadable", why="encrypted", path=job.label)
    content = parse(members.read("content.xml"), job.label)
    yield from _documents(content, properties(members, "meta.xml", job), job)


def _read_flat(file: BinaryIO, job: Job) -> Iterator[Document]:
    root = parse(read_whole(file, job.label, MEMBER_BYTES, "split it"), job.label)
    yield from _documents(root, next(named(root, "meta"), None), job)


def _documents(root: Element, meta: Element | None, job: Job) -> Iterator[Document]:
    body = root.find("{*}body/{*}text")
    if body is None:
        message = f"{job.label} is an OpenDocument file, but not of text: save its text as .txt"
        raise CharloomError(message, "not-text", why="no text", path=job.label)
    lines = _Body(_hiding_styles(root), job.report).lines(body)
    text = without_soft_hyphens("\n".join(lines).strip("\n"), job.report)
    if text.strip():
        author = first_text(meta, "initial-creator") or first_text(meta, "creator")
        date = first_text(meta, "creation-date") or first_text(meta, "date")
        yield Document(text, "", first_text(meta, "title"), author, date)


def _hiding_styles(root: Element) -> set[str]:
    """Return the names of the styles whose text is not shown."""
    return {
        attribute(style, "name")
        for style in named(root, "style")
        if any(attribute(part, "display") == "none" for part in style)
    }


class _Body:
    """Turns elements into lines, and counts what it leaves out.

    `hiding` are the names of styles whose text is not shown.
    """

    def __init__(self, hiding: set[str], report: Report) -> None:
        self._hiding = hiding
        self._left_out = report.left_out
        self._pieces: list[str] = []  # of the paragraph at hand
        self._boxes: list[str] = []  # lines of its text boxes

    def lines(self, parent: Element) -> Iterator[str]:
        """Yield the paragraphs below an element."""
        for element in parent:
            name = name_of(element)
            if name == "tracked-changes":
                for _ in named(element, "deletion"):
                    self._left_out["deletions"] += 1
            elif self._is_left_out(element, name):
                continue
            elif name in _BLOCKS:
                yield from self._paragraph(element)
            elif name == "table":
                yield from self._table(element)
            elif name == "list-item":
                self._left_out["list markers"] += 1
                yield from self.lines(element)
            elif name and name not in _SILENT:
                yield from self.lines(element)

    def _is_left_out(self, element: Element, name: str) -> bool:
        """Whether an element is not shown, or no part of the text; it is counted."""
        if name in _LEFT_OUT:
            self._left_out[_LEFT_OUT[name]] += 1
            return True
        style, display = attribute(element, "style-name"), attribute(element, "display")
        if style in self._hiding or (name == "section" and display == "none"):
            self._left_out["hidden passages"] += 1
            return True
        return False

    def _table(self, table: Element) -> Iterator[str]:
        """Yield a row a line, if there is no more than a line in its cells, with tabs between."""
        for row in outermost(table, "table-row"):
            cells = [list(self.lines(cell)) for cell in row if name_of(cell) == "table-cell"]
            yield from row_lines(cells)

    def _paragraph(self, paragraph: Element) -> list[str]:
        """Return a paragraph and then the lines of its text boxes."""
        held = self._pieces, self._boxes
        self._pieces, self._boxes = [], []
        self._inline(paragraph)
        if self._pieces and self._pieces[-1].endswith(_LOOSE):
            self._pieces[-1] = self._pieces[-1].removesuffix(_LOOSE)
        lines = ["".join(self._pieces).replace(_LOOSE, " "), *self._boxes]
        self._pieces, self._boxes = held
        return lines

    def _inline(self, parent: Element) -> None:
        self._add(parent.text)
        for element in parent:
            name = name_of(element)
            if name == "s":
                self._pieces.append(" " * _number(attribute(element, "c")))
            elif name in _CHARACTERS:
                self._pieces.append(_CHARACTERS[name])
            elif name and _is_drawing(element):
                self._boxes += self.lines(element)
            elif name and name not in _SILENT and not self._is_left_out(element, name):
                self._inline(element)
            self._add(element.tail)

    def _add(self, text: str | None) -> None:
        """Add what stands in the file, where any white space is a single space, or none."""
        text = _BLANK.sub(_LOOSE, text or "")
        if not self._pieces or self._pieces[-1].endswith(_ENDS):
            text = text.removeprefix(_LOOSE)
        if text:
            self._pieces.append(text)


def _is_drawing(element: Element) -> bool:
    return ":drawing:" in element.tag


def _number(digits: str) -> int:
    """Return a count of spaces, within reason: 1 if it says nothing."""
    return min(int(digits), 100) if digits.isdecimal() and len(digits) < 5 else 1


KINDS: tuple[Bundle | Kind, ...] = (
    Bundle("an OpenDocument text", _is_open_document, _read_bundle, "text"),
    Kind("a flat OpenDocument text", _is_flat, _read_flat, "text"),
)
