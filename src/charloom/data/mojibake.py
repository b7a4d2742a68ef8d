"""Mojibake, which is UTF-8 that was once read as something else, is read as what it was."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from charloom.errors import needs_extra

LONGEST = 2**16  # characters of a line that are looked at together
EXCERPT = 40  # characters of the first line that is mended, which are shown
EXAMPLE = "mojibake, as "  # what the key of that begins with
# The bytes 0x80 to 0xBF of UTF-8, read as Latin-1 or Windows-1252, behind what comes before them in
# Latin and Cyrillic letters ("Ã¼", "Ð¿") and in quotation marks and dashes ("â€™").
_AFTER = "".join(
    {*map(chr, range(0x80, 0xC0)), *bytes(range(0x80, 0xC0)).decode("cp1252", "ignore")}
)
LOOKS_SO = re.compile(f"[ÂÃÐÑ][{_AFTER}]|â[\x80€][{_AFTER}]")


def mended_pieces(pieces: Iterable[str], changes: Counter[str]) -> Iterator[str]:
    """Yield a text in pieces that are not empty, with its mojibake mended line by line.

    Counts the lines that it was in as "mojibake" in `changes`, and one of them as an EXAMPLE.
    Raises CharloomError if the library for it is missing.
    """
    with needs_extra("text", "mending mojibake"):
        from ftfy import fix_encoding
    held = ""
    for piece in pieces:
        lines, held = _lines(held + piece)
        if text := "".join(_mended(line, fix_encoding, changes) for line in lines):
            yield text
    if held:
        yield _mended(held, fix_encoding, changes)


def _lines(text: str) -> tuple[list[str], str]:
    """Cut a text into lines, the longest of them in several, and what may go on."""
    found = []
    *lines, rest = text.split("\n")
    for line in lines:
        cut = [line[at : at + LONGEST] for at in range(0, len(line), LONGEST)] or [""]
        cut[-1] += "\n"
        found += cut
    while len(rest) > LONGEST:
        found.append(rest[:LONGEST])
        rest = rest[LONGEST:]
    return found, rest


def _mended(before: str, fix: Callable[[str], str], changes: Counter[str]) -> str:
    after = before if before.isascii() else fix(before)
    if before != after:
        if not changes["mojibake"]:
            changes[EXAMPLE + _example(before, after)] = 1
        changes["mojibake"] += 1
    return after


def _example(before: str, after: str) -> str:
    """Return what a line was and is, around the first character that differs."""
    differ = (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
    begin = max(0, next(differ, 0) - EXCERPT // 2)
    was, now = (text[begin : begin + EXCERPT].strip() for text in (before, after))
    return f"'{was}' -> '{now}'"
