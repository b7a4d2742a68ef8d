"""Text files that a format is recognised in: how they begin, and all of them."""

import codecs
from typing import BinaryIO

from charloom.data.readers import Head, Job
from charloom.data.readers.plain import lines
from charloom.errors import CharloomError

LONGEST = 2**28  # characters of a file that is read whole

_WIDE = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def head_text(head: Head) -> str:
    """Return how a file begins, if it is text, with LF line ends; "" if it cannot be text."""
    encoding = _WIDE.get(head.start[:2], "utf-8")
    if head.members or (encoding == "utf-8" and b"\0" in head.start):
        return ""
    text = head.start.decode(encoding, "replace").removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def whole_text(file: BinaryIO, job: Job, declared: str = "") -> str:
    """Return all of a text with LF line ends; raises CharloomError if it is none, or too long.

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
