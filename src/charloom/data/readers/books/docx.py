"""Word documents: the text as it stands with all changes accepted, a paragraph a line.

Numbers and bullets of lists, notes, comments, running heads and tables of contents are left out.
"""

import posixpath
import re
from collections.abc import Iterator
from typing import BinaryIO, NoReturn

from charloom.data.readers import Bundle, Document, Head, Job, Kind, Report
from charloom.data.readers.books.layout import properties, row_lines, without_soft_hyphens
from charloom.data.readers.members import Members
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

_TYPES = "[Content_Types].xml"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # that old Office files begin with, and encrypted ones
_CHARACTERS = {
    "tab": "\t",
    "ptab": "\t",
    "br": "\n",
    "cr": "\n",
    "noBreakHyphen": "\u2011",
}
_LEFT_OUT = {
    "del": "deletions",
    "moveFrom": "deletions",
    "footnoteReference": "footnotes",
    "endnoteReference": "footnotes",
    "commentReference": "comments",
    "rt": "ruby readings",
    "sym": "symbols of pictorial fonts",
    "altChunk": "embedded documents",
}
_SILENT = {"pPr", "rPr", "sdtPr", "instrText", "delText", "delInstrText"}  # no text that is shown
_PICTURES = {"drawing", "pict", "object"}  # whose only text is in text boxes
_CONTENTS = re.compile("toc [1-9]", re.IGNORECASE)
_OFF = {"0", "false", "off"}


def _is_office(head: Head) -> bool:
    return _TYPES in head.members


def _read(members: Members, job: Job) -> Iterator[Document]:
    part = _main_part(members, job.label)
    body = next(named(parse(members.read(part), job.label), "body"), None)
    styles = _contents_styles(members, part, job.label)
    lines = list(_Body(styles, job.report).lines(body)) if body is not None else []
    text = without_soft_hyphens("\n".join(lines).strip("\n"), job.report)
    _count_running_heads(members, job)
    if text.strip():
        core = properties(members, "docProps/core.xml", job)
        title, author = first_text(core, "title"), first_text(core, "creator")
        yield Document(text, "", title, author, first_text(core, "created"))


def _main_part(members: Members, label: str) -> str:
    """Return the name of the part with the text, which programs call word/document.xml or like."""
    names = set(members.names())
    if "_rels/.rels" in names:
        for relation in named(parse(members.read("_rels/.rels"), label), "Relationship"):
            target = attribute(relation, "Target").lstrip("/")
            is_main = attribute(relation, "Type").endswith("/officeDocument")
            if is_main and target in names and target.startswith("word/"):
                return target
    if "word/document.xml" in names:
        return "word/document.xml"
    message = f"{label} is an Office file without a Word text: save the text in it as .docx or .txt"
    raise CharloomError(message, "not-text", why="no text", path=label)


def _contents_styles(members: Members, part: str, label: str) -> set[str]:
    """Return the ids of the styles of lines of tables of contents."""
    name = f"{posixpath.dirname(part)}/styles.xml"
    if name not in members.names():
        return set()
    try:
        styles = parse(members.read(name), label)
    except CharloomError:  # the text can be read without
        return set()
    return {
        attribute(style, "styleId")
        for style in named(styles, "style")
        if _CONTENTS.fullmatch(attribute(style.find("{*}name"), "val"))
    }


def _count_running_heads(members: Members, job: Job) -> None:
    for name in members.names():
        if name.startswith(("word/header", "word/footer")) and name.endswith(".xml"):
            has_text = b"<w:t>" in (part := members.read(name)) or b"<w:t " in part
            if has_text:
                job.report.left_out["running heads"] += 1


class _Body:
    """Turns elements into lines, and counts what it leaves out.

    `contents` are the ids of the styles of lines of tables of contents.
    """

    def __init__(self, contents: set[str], report: Report) -> None:
        self._contents = contents
        self._left_out = report.left_out
        self._boxes: list[str] = []  # lines of the text boxes of the paragraph at hand

    def lines(self, parent: Element) -> Iterator[str]:
        """Yield the paragraphs below an element.

        One whose mark is deleted goes on in the next, and so does a drop cap.
        """
        begun = ""
        for element in parent:
            match name_of(element):
                case "p" if _style(element) in self._contents:
                    self._left_out["lines of tables of contents"] += 1
                case "p":
                    begun += self._inline(element)
                    if not _goes_on(element):
                        yield begun
                        yield from self._taken_boxes()
                        begun = ""
                case "tbl":
                    yield from self._table(element)
                case "sdt" if _is_contents(element):
                    self._left_out["tables of contents"] += 1
                case "AlternateContent":
                    yield from self.lines(element[0]) if len(element) else ()
                case name if name in _LEFT_OUT:
                    self._left_out[_LEFT_OUT[name]] += 1
                case name if name not in _SILENT:
                    yield from self.lines(element)
        if begun:
            yield begun
            yield from self._taken_boxes()

    def _taken_boxes(self) -> list[str]:
        boxes, self._boxes = self._boxes, []
        return boxes

    def _table(self, table: Element) -> Iterator[str]:
        """Yield a row a line, if there is no more than a line in its cells, with tabs between."""
        for row in _children(table, "tr"):
            if row.find("{*}trPr/{*}del") is not None:
                self._left_out["deletions"] += 1
                continue
            cells = [list(self.lines(cell)) for cell in _children(row, "tc")]
            yield from row_lines(cells)

    def _inline(self, parent: Element) -> str:
        pieces = []
        for element in parent:
            name = name_of(element)
            if name == "t":
                pieces.append(_on_one_line(element.text or ""))
            elif name in _CHARACTERS:
                pieces.append(_CHARACTERS[name])
            elif name in _LEFT_OUT:
                self._left_out[_LEFT_OUT[name]] += 1
            elif name == "r" and _is_hidden(element):
                self._left_out["hidden passages"] += 1
            elif name == "AlternateContent":
                pieces.append(self._inline(element[0]) if len(element) else "")
            elif name in _PICTURES:
                self._take_boxes(element)
            elif name == "pPr" and element.find("{*}numPr") is not None:
                self._left_out["list markers"] += 1
            elif name and name not in _SILENT:
                pieces.append(self._inline(element))
        return "".join(pieces)

    def _take_boxes(self, picture: Element) -> None:
        boxes, held = [], self._boxes
        self._boxes = []
        for box in outermost(picture, "txbxContent"):
            boxes += [*self.lines(box), *self._taken_boxes()]
        self._boxes = held + boxes


def _children(parent: Element, name: str) -> Iterator[Element]:
    """Yield the children of a name, also those that content controls wrap or that were inserted."""
    for element in parent:
        found = name_of(element)
        if found == name:
            yield element
        elif found in ("sdt", "sdtContent", "customXml", "ins", "moveTo"):
            yield from _children(element, name)


def _on_one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ").replace("\t", " ")


def _is_hidden(run: Element) -> bool:
    vanish = run.find("{*}rPr/{*}vanish")
    return vanish is not None and attribute(vanish, "val") not in _OFF


def _style(paragraph: Element) -> str:
    return attribute(paragraph.find("{*}pPr/{*}pStyle"), "val")


def _goes_on(paragraph: Element) -> bool:
    """Whether the next paragraph belongs to one: its mark is deleted, or it is a drop cap."""
    if attribute(paragraph.find("{*}pPr/{*}framePr"), "dropCap") in ("drop", "margin"):
        return True
    marks = paragraph.iterfind("{*}pPr/{*}rPr/*")
    return any(name_of(mark) in ("del", "moveFrom") for mark in marks)


def _is_contents(control: Element) -> bool:
    gallery = control.find("{*}sdtPr/{*}docPartObj/{*}docPartGallery")
    return gallery is not None and attribute(gallery, "val") == "Table of Contents"


def _refuse(file: BinaryIO, job: Job) -> NoReturn:
    message = (
        f"{job.label} is an old Office file (.doc, .xls) or one with a password: "
        "save it as .docx, or as plain text, without a password"
    )
    raise CharloomError(message, "not-text", why="old Office file", path=job.label)


KINDS: tuple[Bundle | Kind, ...] = (
    Bundle("a Word document", _is_office, _read, "text"),
    Kind("an old Office file", lambda head: head.start.startswith(_OLE), _refuse),
)
