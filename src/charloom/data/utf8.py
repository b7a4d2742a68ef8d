"""Bytes to text, a chunk at a time: UTF-8 or the encoding that is named, and LF line ends."""

import codecs
import io
import shlex
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

from charloom.config import Normalize
from charloom.data.mojibake import mended_pieces
from charloom.data.normalization import normal, normalized_pieces
from charloom.data.raw_bytes import raw_text
from charloom.data.reading import UTF8, Reading
from charloom.errors import CharloomError

CHUNK = 1 << 20  # bytes read at once

STDIN = "standard input"

# Counts of what was changed: "marks" that were removed, "CRLF" and "lone CR" that became LF, and
# "replaced" for what became U+FFFD; and those of `normalized_pieces` and `mended_pieces`.
Changes = Counter[str]


REPLACED = "\ufffd"

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
_OWN = (  # the last is of pages of version 0.1.0, which have no name in them
    b'<meta name="generator" content="charloom"',
    b"<!-- generator: charloom -->",
    b'content="light dark">\n<meta http-equiv="Content-Security-Policy" content="default-src '
    b"'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n<title>",
)
_HEAD = 1024  # bytes that all of these are looked for in


def decode(
    file: BinaryIO, label: str, changes: Changes, place: int = 0, reading: Reading = UTF8
) -> Iterator[tuple[str, int]]:
    """Yield the text from `place` on in pieces that are not empty, with the place behind each.

    A place is 0 or one that was yielded: of UTF-8 as it is, or of raw bytes, an offset in bytes,
    else a count of characters.
    Counts in `changes`. Raises CharloomError that names `label` if it is not text; its fact `why`
    says in two words what it is.
    """
    if reading.raw:
        yield from _raw(file, label, place)
        return
    mends = reading.options.fix_mojibake
    if reading.encoding == "utf-8" and reading.normalize == "none" and not mends:
        yield from _decoded(file, label, changes, place, reading)
        return
    sent = 0
    decoded = (text for text, _ in _decoded(file, label, changes, 0, reading))
    pieces = mended_pieces(decoded, changes) if mends else decoded
    for text in normalized_pieces(pieces, reading.normalize, changes):
        known, sent = max(0, place - sent), sent + len(text)
        if text[known:]:
            yield text[known:], sent


def normalized(text: str, form: Normalize = "none", changes: Changes | None = None) -> str:
    """Return a text as it would be read from a file: without its mark, and with LF line ends."""
    changes = Counter() if changes is None else changes
    changes["marks"] += text.startswith("\ufeff")
    return normal(_with_lf(text.removeprefix("\ufeff"), changes), form, changes)


def convert(encoding: str, label: str) -> str:
    """Return how to convert a file to UTF-8."""
    return f"convert it with: iconv -f {encoding} -t UTF-8 {quoted(label)} > NEW"


def quoted(label: str) -> str:
    """Return a file's name, or - for standard input, for a shell."""
    return "-" if label == STDIN else shlex.quote(label)


def refuse_own(head: bytes, label: str) -> None:
    """Raise CharloomError if a file that begins so is a page or plot of charloom's own."""
    if any(mark in head[:_HEAD] for mark in _OWN):
        message = (
            f"{label} is a page or plot that charloom wrote, not a text to learn: leave it out"
        )
        raise _not_text(message, "by charloom", label)


def _decoded(
    file: BinaryIO, label: str, changes: Changes, offset: int, reading: Reading
) -> Iterator[tuple[str, int]]:
    """Yield the text from an offset in bytes on, with the offset behind each piece, if in UTF-8."""
    encoding, errors = reading.encoding, reading.errors
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    known = codecs.getincrementaldecoder(encoding)("ignore") if errors == "replace" else None
    has_nul = b"\0" in "a".encode(encoding)  # in UTF-16 and UTF-32
    at_start, empty, held = offset == 0, offset == 0, ""
    file.seek(offset)
    head = file.read(_HEAD) if at_start else b""
    _refuse_other_kinds(head, label, reading)
    while True:
        chunk, head = head + file.read(CHUNK), b""
        final = not chunk
        if not has_nul and (nul := chunk.find(0)) >= 0:
            raise _binary(offset + nul, label)
        try:
            text = decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            if not has_nul:
                _refuse_nul(file, offset + len(chunk), label)
            begin = offset + len(chunk) - len(error.object)  # with what was left of the last chunk
            place = begin + error.start
            line = _line_of(file, place, encoding)
            raise _not_encoded(error, place, line, label, encoding) from None
        except UnicodeError:  # of UTF-16 and UTF-32, which begin with a byte-order mark
            message = (
                f"{label} is not {encoding}: it does not begin with a byte-order mark; name "
                f"{encoding}-le or {encoding}-be, or give another file"
            )
            raise _not_text(message, f"not {encoding}", label) from None
        offset += len(chunk)
        if known is not None:
            genuine = known.decode(chunk, final).count(REPLACED)
            changes["replaced"] += text.count(REPLACED) - genuine
        if has_nul and "\0" in text:
            raise _not_text(f"{label} is not text in {encoding}: it has U+0000", "not text", label)
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
            yield text, offset - len(decoder.getstate()[0]) - len(held)
        if final:
            break
    if empty:
        raise _empty(label)


def _raw(file: BinaryIO, label: str, place: int) -> Iterator[tuple[str, int]]:
    """Yield a character for each byte from `place` on."""
    file.seek(place)
    while chunk := file.read(CHUNK):
        place += len(chunk)
        yield raw_text(chunk), place
    if not place:
        raise _empty(label)


def _empty(label: str) -> CharloomError:
    message = f"{label} is empty: give a file with text in it"
    return CharloomError(message, "no-text", why="empty", path=label)


def _line_of(file: BinaryIO, place: int, encoding: str) -> int:
    """Return the number of the line that a byte is in; the first is 1."""
    text = codecs.getincrementaldecoder(encoding)("replace")
    decoder, lines = io.IncrementalNewlineDecoder(text, translate=True), 1
    file.seek(0)
    while place and (chunk := file.read(min(CHUNK, place))):
        place -= len(chunk)
        lines += decoder.decode(chunk, final=not place).count("\n")
    return lines


def _with_lf(text: str, changes: Changes) -> str:
    if "\r" not in text:
        return text
    crlf = text.count("\r\n")
    changes["CRLF"] += crlf
    changes["lone CR"] += text.count("\r") - crlf
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _not_text(message: str, why: str, label: str, **facts: object) -> CharloomError:
    return CharloomError(message, "not-text", why=why, path=label, **facts)


def _refuse_other_kinds(head: bytes, label: str, reading: Reading) -> None:
    for mark, encoding in _MARKS.items():
        if head.startswith(mark) and reading.encoding == "utf-8":
            option = f"train and evaluate read it with --encoding {encoding.lower()}"
            message = f"{label} looks like {encoding}: {option}, or {convert(encoding, label)}"
            raise _not_text(message, "not UTF-8", label, encoding=encoding.lower())
    for start, (kind, cure) in _PACKED.items():
        if head.startswith(start):
            raise _not_text(f"{label} is {kind}, not text: {cure}", "not text", label)
    refuse_own(head, label)


def _refuse_nul(file: BinaryIO, offset: int, label: str) -> None:
    """A file with NUL bytes is not text, even if something else is wrong before them."""
    while chunk := file.read(CHUNK):
        if (nul := chunk.find(0)) >= 0:
            raise _binary(offset + nul, label)
        offset += len(chunk)


def _binary(offset: int, label: str) -> CharloomError:
    message = f"{label} is not text: byte 0x00 at offset {offset:,}"
    return _not_text(message, "not text", label, offset=offset, byte=0)


def _not_encoded(
    error: UnicodeDecodeError, offset: int, line: int, label: str, encoding: str
) -> CharloomError:
    name = "UTF-8" if encoding == "utf-8" else encoding
    byte = error.object[error.start]
    message = (
        f"{label} is not {name}: byte 0x{byte:02X} at offset {offset:,}, in line {line:,} "
        f"({error.reason})"
    )
    return _not_text(message, f"not {name}", label, offset=offset, line=line, byte=byte)
