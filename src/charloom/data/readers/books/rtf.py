"""Rich Text Format, of WordPad, TextEdit, Scrivener and others: the text, a paragraph a line.

It is ASCII in which a backslash begins a word of command, braces are around groups, and a group
is a destination: the text, a note, a table of fonts. A number behind a command is its argument.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from charloom.data.readers import Document, Head, Job, Kind, Report
from charloom.data.readers.declared import codec
from charloom.data.readers.plain import LONGEST, one_line, read_whole

_TOKEN = re.compile(
    r"\\([a-zA-Z]{1,32})(-?[0-9]{1,10})? ?|\\'([0-9a-fA-F]{2})|\\(.)|([{}])|([^\\{}]+)",
    re.DOTALL,
)
_CELL, _ROW = "\x1f", "\x1e"  # the ends of a cell and a row, until what is around them is known
_CONTROL = re.compile("[\0-\x08\x0a-\x1f\x7f]")
_CHARACTERS = {
    "par": "\n",
    "line": "\n",
    "page": "\n",
    "sect": "\n",
    "row": _ROW,
    "nestrow": _ROW,
    "tab": "\t",
    "cell": _CELL,
    "nestcell": _CELL,
    "emspace": "\u2003",
    "enspace": "\u2002",
    "emdash": "\u2014",
    "endash": "\u2013",
    "bullet": "\u2022",
    "qmspace": "\u2005",
    "lquote": "\u2018",
    "rquote": "\u2019",
    "ldblquote": "\u201c",
    "rdblquote": "\u201d",
    "~": "\xa0",
    "_": "\u2011",
    "{": "{",
    "}": "}",
    "\\": "\\",
    "\n": "\n",
    "\r": "\n",
    "zwj": "\u200d",
    "zwnj": "\u200c",
}
_LEFT_OUT = {  # destinations, by what is said of them
    "footnote": "footnotes",
    "annotation": "comments",
    "listtext": "list markers",
    "pntext": "list markers",
    **dict.fromkeys(("header", "headerl", "headerr", "headerf"), "running heads"),
    **dict.fromkeys(("footer", "footerl", "footerr", "footerf"), "running heads"),
}
_SILENT = {
    *("colortbl", "stylesheet", "filetbl", "listtable", "listoverridetable", "revtbl", "rsidtbl"),
    *("generator", "themedata", "latentstyles", "pict", "object", "fldinst", "nonesttables"),
    *("xe", "tc", "txe", "rxe", "bkmkstart", "bkmkend"),
    *("atnid", "atnauthor", "atndate", "atnref", "atnicn", "atntime", "atnparent"),
}
_CODECS = {  # of the character sets of fonts
    77: "mac_roman",
    128: "cp932",
    129: "cp949",
    130: "johab",
    134: "gbk",
    136: "cp950",
    161: "cp1253",
    162: "cp1254",
    163: "cp1258",
    177: "cp1255",
    178: "cp1256",
    186: "cp1257",
    204: "cp1251",
    222: "cp874",
    238: "cp1250",
    255: "cp850",
}
_SYMBOLS = 2  # the character set of pictorial fonts
_PICTORIAL = "pictorial"  # in place of a codec


class _State(NamedTuple):
    """What holds until the end of a group: where its text goes, and how it is to be read."""

    into: str = "text"  # or a part that is read, or "" for nowhere
    hidden: bool = False
    deleted: bool = False
    instead: int = 1  # characters behind one in Unicode, for programs that do not know it
    codec: str = "cp1252"


def _is_rtf(head: Head) -> bool:
    return re.match(rb"\s*\{\\rtf\d?[\\{ \r\n]", head.start) is not None


def _read(file: BinaryIO, job: Job) -> Iterator[Document]:
    source = read_whole(file, job.label, LONGEST, "save it as plain text")
    reader = _Reader(job.report)
    reader.read(source.decode("latin-1"))
    rows = reader.text("text").replace(f"\n{_CELL}", _CELL).split(_ROW)
    text = "\n".join(row.rstrip(_CELL) for row in rows).replace(_CELL, "\t").strip("\n")
    if text.strip():
        title, author = (one_line(reader.text(name)) for name in ("title", "author"))
        yield Document(text, "", title, author)


class _Reader:
    """Follows the commands, and collects what each destination has."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._state = _State()
        self._outer: list[_State] = []
        self._found: dict[str, list[str]] = {"text": [], "title": [], "author": []}
        self._bytes = bytearray()  # characters that are not decoded yet
        self._skip = 0  # characters that stand for one in Unicode before them
        self._codec = "cp1252"  # of the file
        self._fonts: dict[int, str] = {}
        self._font = 0  # that the table of fonts is at
        self._begins = self._optional = False  # a group; it may be ignored

    def text(self, name: str) -> str:
        """Return what went to a destination."""
        halves = "".join(self._found[name])  # of characters beyond U+FFFF, which come in two
        return halves.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def read(self, source: str) -> None:
        """Read a file."""
        place = 0
        while found := _TOKEN.search(source, place):
            place = found.end()
            word, number, code, symbol, brace, text = found.groups()
            if brace:
                self._brace(brace)
                continue
            if word == "bin":
                place += max(0, int(number or 0))
            elif word:
                self._command(word, None if number is None else int(number))
            elif code:
                self._raw(bytes([int(code, 16)]))
            elif symbol:
                self._symbol(symbol)
            elif text:
                self._raw(text.replace("\r", "").replace("\n", "").encode("latin-1"))
            if symbol != "*":
                self._begins = self._optional = False
        self._flush()

    def _brace(self, brace: str) -> None:
        self._flush()
        self._skip = 0
        if brace == "{":
            self._outer.append(self._state)
        elif self._outer:
            self._state = self._outer.pop()
        self._begins, self._optional = brace == "{", False

    def _symbol(self, symbol: str) -> None:
        if symbol == "*":
            self._optional = self._begins
        elif symbol == "-" and self._shows():
            self._report.mended["soft hyphens"] += 1
        elif symbol in _CHARACTERS:
            self._put(_CHARACTERS[symbol])

    def _command(self, word: str, number: int | None) -> None:
        state = self._state
        on = number != 0
        if self._begins and self._is_destination(word):
            return
        if word in _CHARACTERS:
            self._put(_CHARACTERS[word])
        elif word == "u" and number is not None:
            self._put(chr(number % 0x10000))
            self._skip = state.instead
        elif word == "uc":
            self._set(state._replace(instead=max(0, min(number or 0, 9))))
        elif word == "v":
            self._count("hidden passages", on and not state.hidden)
            self._set(state._replace(hidden=on))
        elif word == "deleted":
            self._count("deletions", on and not state.deleted)
            self._set(state._replace(deleted=on))
        elif word == "plain":
            codec = self._codec
            self._set(state._replace(hidden=False, deleted=False, codec=codec))
        elif word in ("ansicpg", "mac", "pc", "pca"):
            pages = {"mac": 10000, "pc": 437, "pca": 850}
            self._codec = _codec_of(pages.get(word, number or 1252))
            self._set(state._replace(codec=self._codec))
        elif word == "f" and state.into == "fonttbl":
            self._font = number or 0
        elif word == "f":
            self._set(state._replace(codec=self._fonts.get(number or 0, self._codec)))
        elif word == "fcharset" and state.into == "fonttbl":
            symbols = _PICTORIAL if number == _SYMBOLS else self._codec
            self._fonts[self._font] = _CODECS.get(number or 0, symbols)

    def _is_destination(self, word: str) -> bool:
        """Whether a group that begins so is a destination; then its text goes where it belongs."""
        state = self._state
        if word in ("title", "author"):
            into = word if state.into == "info" else ""
        elif word in ("fonttbl", "info"):
            into = word
        elif word in _LEFT_OUT or word in _SILENT or self._optional:
            into = ""
            if word in _LEFT_OUT and state.into == "text":
                self._report.left_out[_LEFT_OUT[word]] += 1
        else:
            return False
        self._set(state._replace(into=into))
        return True

    def _count(self, noun: str, begins: bool) -> None:
        if begins and self._shows():
            self._report.left_out[noun] += 1

    def _set(self, state: _State) -> None:
        self._flush()
        self._state = state

    def _raw(self, data: bytes) -> None:
        """Take characters in the encoding of the font."""
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        self._bytes += data[skipped:]

    def _put(self, text: str) -> None:
        self._flush()
        if self._skip:
            self._skip -= 1
        elif self._shows():
            self._found[self._state.into].append(text)

    def _flush(self) -> None:
        data, self._bytes = bytes(self._bytes), bytearray()
        if not data or not self._shows():
            return
        if self._state.codec == _PICTORIAL:
            self._report.left_out["symbols of pictorial fonts"] += len(data)
        else:
            text = data.decode(self._state.codec, "replace")
            self._found[self._state.into].append(_CONTROL.sub("", text))

    def _shows(self) -> bool:
        state = self._state
        return state.into in self._found and not state.hidden and not state.deleted


def _codec_of(page: int) -> str:
    """Return the codec of a code page of Windows; cp1252 if Python has none."""
    return {10000: "mac_roman", 65001: "utf-8"}.get(page) or codec(f"cp{page}") or "cp1252"


KINDS = (Kind("a text in Rich Text Format", _is_rtf, _read),)
