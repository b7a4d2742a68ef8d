"""Text files in the encoding they are in, and strings without what no text has."""

import codecs
import re
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

from charloom.config import DETECT
from charloom.data.encodings import detect
from charloom.data.readers import Head, Job, Report
from charloom.data.reading import UTF8, Reading
from charloom.data.utf8 import Changes, decode, normalized
from charloom.errors import CharloomError

LINE = LONGEST = 2**28  # characters of a line, and of a file that is read whole, at most
_PIECE = 2**20  # bytes that are read at once

_CONTROL = bytes(byte for byte in range(128) if byte in (*range(9), *range(11, 32), 127))
_CONTROLS = dict.fromkeys(_CONTROL)
_WIDE = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_BLANK_LINES = re.compile(r"(?:[^\S\n]*\n)+")


def head_text(head: Head) -> str:
    """Return how a file begins, if it is text, with LF line ends; "" if it cannot be text."""
    encoding = _WIDE.get(head.start[:2], "utf-8")
    if head.members or (encoding == "utf-8" and b"\0" in head.start):
        return ""
    return normalized(head.start.decode(encoding, "replace"))


def lines(file: BinaryIO, job: Job, declared: str = "") -> Iterator[str]:
    """Yield the lines of a text file without their ends; raises CharloomError if it is not text.

    The file is in the encoding that is asked for, or UTF-8, or has a byte-order mark, or else is
    read as what it is `declared` to be, or as what it looks like, with a note.
    """
    reading = _reading(file, job, declared)
    changes: Changes = Counter()
    held, length = list[str](), 0
    for piece, _ in decode(file, job.label, changes, 0, reading):
        *whole, last = piece.split("\n")
        if whole:
            yield "".join([*held, whole[0]])
            yield from whole[1:]
            held, length = [], 0
        held.append(last)
        length += len(last)
        if length > LINE:
            message = f"{job.label} has a line of more than {LINE:,} characters: break its lines"
            raise CharloomError(message, "unsupported", why="too large", path=job.label)
    if length:
        yield "".join(held)
    if bad := changes["replaced"]:
        job.report.mended["bytes that could not be decoded"] += bad


def whole_text(file: BinaryIO, job: Job, declared: str = "") -> str:
    """Return all of a text with LF line ends; raises CharloomError as `lines` does, or if too long.

    If it is not UTF-8, it is in the encoding that it is `declared` to be, if that is known.
    """
    found, length = list[str](), 0
    for line in lines(file, job, declared):
        found.append(line)
        length += len(line) + 1
        if length > LONGEST:
            message = f"{job.label} is longer than {LONGEST:,} characters: split it"
            raise CharloomError(message, "unsupported", why="too large", path=job.label)
    return "\n".join(found)


def clean(text: str, report: Report) -> str:
    """Return a text with LF line ends, without control characters and blank lines at its ends."""
    if "\r" in text:
        text = normalized(text)
    data = text.encode("utf-8", "surrogatepass")  # it is faster to search
    if found := len(data) - len(data.translate(None, _CONTROL)):
        text = text.translate(_CONTROLS)
        report.mended["control characters"] += found
    blank = _BLANK_LINES.match(text)
    return text[blank.end() if blank else 0 :].rstrip()


def read_whole(file: BinaryIO, label: str, most: int, cure: str) -> bytes:
    """Return all bytes of a file; raises CharloomError with a cure if they are too many."""
    pieces, size = list[bytes](), 0
    while piece := file.read(_PIECE):  # asked for a gigabyte at once, Python would reserve one
        pieces.append(piece)
        size += len(piece)
        if size > most:
            message = f"{label} has more than {most:,} bytes: {cure}"
            raise CharloomError(message, "unsupported", why="too large", path=label)
    return b"".join(pieces)


def one_line(text: str) -> str:
    """Return a text without line ends, and with no more than one space at a place."""
    return " ".join(text.split())


def _reading(file: BinaryIO, job: Job, declared: str) -> Reading:
    if job.options.encoding not in (UTF8.encoding, DETECT):
        return Reading(job.options.encoding, "replace")
    reading, guess = detect(file, job.label, declared)
    if guess is not None:
        job.report.guesses.append(guess)
    return reading
