"""Bytes to text, a chunk at a time: strict UTF-8 without its mark, and with LF line ends."""

import codecs
import shlex
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

from charloom.errors import CharloomError

CHUNK = 1 << 20  # bytes read at once

STDIN = "standard input"

# Counts of what was changed: "marks" that were removed, "CRLF" and "lone CR" that became LF.
Changes = Counter[str]

_MARKS = {  # byte-order marks; UTF-32's little-endian one begins with UTF-16's, so it comes first
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_PACKED = {
    b"\x1f\x8b": ("a gzip archive", "unpack it with gunzip"),
    b"PK\x03\x04": ("a ZIP archive (or DOCX, ODT or EPUB)", "save it as plain text"),
    b"%PDF-": ("a PDF", "convert it to text, for instance with pdftotext"),
}
_OWN = b'<meta name="generator" content="charloom"', b"<!-- generator: charloom -->"
_HEAD = 1024  # bytes that all of these are looked for in


def decode(
    file: BinaryIO, label: str, changes: Changes, offset: int = 0
) -> Iterator[tuple[str, int]]:
    """Yield the text in pieces that are not empty, with the offset in bytes behind each.

    `file` is at `offset`, which is 0 or one that was yielded: the pieces from there are the rest
    of the text. Counts in `changes`. Raises CharloomError that names `label` if it is not text;
    its fact `why` says in two words what it is.
    """
    at_start, empty, lines, held, rest = offset == 0, offset == 0, 1, "", b""
    head = file.read(_HEAD) if at_start else b""
    _refuse_other_kinds(head, label)
    while True:
        chunk = head + file.read(CHUNK)
        if (nul := chunk.find(0)) >= 0:
            raise _binary(offset + len(rest) + nul, label)
        data, final, head = rest + chunk, not chunk, b""
        try:
            text, used = codecs.utf_8_decode(data, "strict", final)
        except UnicodeDecodeError as error:
            _refuse_nul(file, offset + len(data), label)
            before = _with_lf(held + data[: error.start].decode(), Counter())
            where = offset + error.start, lines + before.count("\n")
            raise _not_utf8(error, *where, label) from None
        rest, offset = data[used:], offset + used
        if at_start and text:
            at_start = False
            changes["marks"] += text.startswith("\ufeff")
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
        raise _not_text(f"{label} is empty: give a file with text in it", "empty", label)


def normalized(text: str) -> str:
    """Return a text as it would be read from a file: without its mark, and with LF line ends."""
    return _with_lf(text.removeprefix("\ufeff"), Counter())


def _with_lf(text: str, changes: Changes) -> str:
    if "\r" not in text:
        return text
    crlf = text.count("\r\n")
    changes["CRLF"] += crlf
    changes["lone CR"] += text.count("\r") - crlf
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _not_text(message: str, why: str, label: str, **facts: object) -> CharloomError:
    return CharloomError(message, "not-text", why=why, path=label, **facts)


def _refuse_other_kinds(head: bytes, label: str) -> None:
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            cure = _convert(encoding, label)
            message = f"{label} looks like {encoding}, but text is read as UTF-8: {cure}"
            raise _not_text(message, "not UTF-8", label, encoding=encoding)
    for start, (kind, cure) in _PACKED.items():
        if head.startswith(start):
            raise _not_text(f"{label} is {kind}, not text: {cure}", "not text", label)
    if any(mark in head for mark in _OWN):
        message = (
            f"{label} is a page or plot that charloom wrote, not a text to learn: leave it out"
        )
        raise _not_text(message, "by charloom", label)


def _refuse_nul(file: BinaryIO, offset: int, label: str) -> None:
    """A file with NUL bytes is not text, even if something else is wrong before them."""
    while chunk := file.read(CHUNK):
        if (nul := chunk.find(0)) >= 0:
            raise _binary(offset + nul, label)
        offset += len(chunk)


def _binary(offset: int, label: str) -> CharloomError:
    message = f"{label} is not text: byte 0x00 at offset {offset:,}; give a plain text file"
    return _not_text(message, "not text", label, offset=offset, byte=0)


def _not_utf8(error: UnicodeDecodeError, offset: int, line: int, label: str) -> CharloomError:
    byte = error.object[error.start]
    return _not_text(
        f"{label} is not UTF-8: byte 0x{byte:02X} at offset {offset:,}, in line {line:,} "
        f"({error.reason}); {_convert('WINDOWS-1252', label)}, or from the encoding it is in",
        "not UTF-8",
        label,
        offset=offset,
        line=line,
        byte=byte,
    )


def _convert(encoding: str, label: str) -> str:
    name = "-" if label == STDIN else shlex.quote(label)
    return f"convert it with: iconv -f {encoding} -t UTF-8 {name} > NEW"
