"""Bytes to text, a chunk at a time: strict UTF-8 without its mark, and with LF line ends."""

import codecs
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from charloom.errors import CharloomError

CHUNK = 1 << 20  # bytes read at once

STDIN = "standard input"

_MARKS = {  # byte-order marks; UTF-32's little-endian one begins with UTF-16's, so it comes first
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_PACKED = {
    b"\x1f\x8b": ("a gzip archive", "unpack it with gunzip"),
    b"PK\x03\x04": ("a ZIP archive (DOCX, ODT and EPUB are such too)", "save it as plain text"),
    b"%PDF-": ("a PDF", "turn it into text, for instance with pdftotext"),
}
_HEAD = max(map(len, [*_MARKS, *_PACKED]))


class NotTextError(CharloomError):
    """A file that is no text; `why` says so in two words."""

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message, "not-text", why=why)
        self.why = why


@dataclass
class Changes:
    """What was removed and turned: byte-order marks, and line ends that were CRLF or lone CR."""

    marks: int = 0
    crlf: int = 0
    cr: int = 0


def decode(
    file: BinaryIO, label: str, changes: Changes, offset: int = 0
) -> Iterator[tuple[str, int]]:
    """Yield the text in pieces that are not empty, with the offset in bytes behind each.

    `file` stands at `offset`, which is 0 or one that was yielded: the pieces from there are
    the rest of the text. Counts in `changes`. Raises NotTextError, with `label` as the name.
    """
    at_start, empty, lines, held, rest = offset == 0, offset == 0, 1, "", b""
    head = file.read(_HEAD) if at_start else b""
    _refuse_other_kinds(head, label)
    while True:
        chunk = head + file.read(CHUNK)
        if (nul := chunk.find(0)) >= 0:
            raise _not_text(offset + len(rest) + nul, label)
        data, final, head = rest + chunk, not chunk, b""
        try:
            text, used = codecs.utf_8_decode(data, "strict", final)
        except UnicodeDecodeError as error:
            _refuse_nul(file, offset + len(data), label)
            before = _with_lf(held + data[: error.start].decode(), Changes())
            where = offset + error.start, lines + before.count("\n")
            raise _not_utf8(error, *where, label) from None
        rest, offset = data[used:], offset + used
        if at_start and text:
            at_start = False
            changes.marks += text.startswith("\ufeff")
            text = text.removeprefix("\ufeff")
        text, held = held + text, ""
        if text.endswith("\r") and not final:  # its LF may come with the next chunk
            text, held = text[:-1], "\r"
        text = _with_lf(text, changes)
        if text:
            empty = False
            lines += text.count("\n")
            yield text, offset - len(held)
        if final:
            break
    if empty:
        raise NotTextError(f"{label} is empty: give a file with text in it", "empty")


def _with_lf(text: str, changes: Changes) -> str:
    if "\r" not in text:
        return text
    crlf = text.count("\r\n")
    changes.crlf += crlf
    changes.cr += text.count("\r") - crlf
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _refuse_other_kinds(head: bytes, label: str) -> None:
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            raise NotTextError(
                f"{label} looks like {encoding}, but text is read as UTF-8: "
                f"{_convert(encoding, label)}",
                "not UTF-8",
            )
    for start, (kind, cure) in _PACKED.items():
        if head.startswith(start):
            raise NotTextError(f"{label} is {kind}, not text: {cure}", "not text")


def _refuse_nul(file: BinaryIO, offset: int, label: str) -> None:
    """Say of a file with NUL bytes that it is no text, whatever else is wrong before them."""
    while chunk := file.read(CHUNK):
        if (nul := chunk.find(0)) >= 0:
            raise _not_text(offset + nul, label)
        offset += len(chunk)


def _not_text(offset: int, label: str) -> NotTextError:
    problem = f"{label} is not text: byte 0x00 at offset {offset:,}; give a plain text file"
    return NotTextError(problem, "not text")


def _not_utf8(error: UnicodeDecodeError, offset: int, line: int, label: str) -> NotTextError:
    return NotTextError(
        f"{label} is not UTF-8: byte 0x{error.object[error.start]:02X} at offset {offset:,}, in "
        f"line {line:,} ({error.reason}); {_convert('WINDOWS-1252', label)}, or what else it is in",
        "not UTF-8",
    )


def _convert(encoding: str, label: str) -> str:
    name = "-" if label == STDIN else shlex.quote(label)
    return f"convert it with: iconv -f {encoding} -t UTF-8 {name} > NEW"
