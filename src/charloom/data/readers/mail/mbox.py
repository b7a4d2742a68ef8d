"""An mbox: messages one after the other, each behind a line that begins with "From ".

So does many a line of a letter: what separates messages has a date in it, and headers after it.
"""

import re
from array import array
from collections.abc import Iterator
from typing import BinaryIO

from charloom.data.readers import Report
from charloom.data.readers.dates import mail_time

MESSAGE_BYTES = 2**25  # of a message that are read: its text comes before what is attached
CHUNK = 2**20
HEADER_BYTES = 2**15  # that a date is looked for in
LINE_BYTES = 2**10  # of a separator and of the header behind it

_DAYS = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTHS = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DATED = re.compile(
    rb"From [^\n]*(?:\b" + _DAYS + rb",? +(?:" + _MONTHS + rb" +\d|\d+ +" + _MONTHS + rb")"
    rb"|\d{4}-\d\d-\d\d)[^\n]*\d:\d\d[^\n]*\n"
)
_ANY = re.compile(rb"From [^\n]*\n")
_HEADER = re.compile(rb"(?:>?From [^\n]*\n)*[!-9;-~]+[ \t]*:")
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
_DATE = re.compile(rb"^date:((?:.*\n[ \t])*.*)", re.MULTILINE | re.IGNORECASE)


def is_mbox(start: bytes) -> bool:
    """Whether a file begins as an mbox does."""
    start = start.lstrip(b"\r\n")
    if _begins(start[:LINE_BYTES], _DATED):
        return True
    has_headers = re.search(rb"(?mi)^(date|message-id|received):", start) is not None
    return has_headers and _begins(start[:LINE_BYTES], _ANY)


def messages(file: BinaryIO, report: Report) -> Iterator[tuple[int, bytes]]:
    """Yield the number of each message and its bytes, oldest first; those without a date stay."""
    file.seek(0)
    form = _DATED if _begins(file.read(LINE_BYTES).lstrip(b"\r\n"), _DATED) else _ANY
    places = array("q", _separators(file, form))
    dates, last = array("d"), float("-inf")
    ends = array("q", [*places[1:], file.seek(0, 2)][: len(places)])
    for place, end in zip(places, ends, strict=True):
        last = sent(_read(file, place, min(end - place, HEADER_BYTES)), last)
        dates.append(last)
    for number in sorted(range(len(places)), key=dates.__getitem__):
        length = ends[number] - places[number]
        if length > MESSAGE_BYTES:
            report.left_out["ends of messages longer than 32 MiB"] += 1
        data = _read(file, places[number], min(length, MESSAGE_BYTES)).partition(b"\n")[2]
        while data.startswith((b">From ", b"From ")):
            data = data.partition(b"\n")[2]
        yield number + 1, _QUOTED.sub(rb"\1", data)


def _begins(data: bytes, form: re.Pattern[bytes]) -> bool:
    """Whether data begin with a separator of that form and a header."""
    match = form.match(data)
    return match is not None and _HEADER.match(data, match.end()) is not None


def _separators(file: BinaryIO, form: re.Pattern[bytes]) -> Iterator[int]:
    """Yield where messages begin in a file."""
    begin, held = 0, b"\n"  # `held` ends where the next chunk begins
    file.seek(0)
    while chunk := file.read(CHUNK):
        block, at = held + chunk, begin - len(held)
        begin += len(chunk)
        held, place = block[-len(b"\nFrom") :], -1
        while (place := block.find(b"\nFrom ", place + 1)) >= 0:
            start = at + place + 1
            before = _read(file, max(0, start - 4), min(4, start)).replace(b"\r", b"")
            is_apart = form is _DATED or not before.strip(b"\n") or before.endswith(b"\n\n")
            if is_apart and _begins(_read(file, start, LINE_BYTES), form):
                yield start
        file.seek(begin)


def _read(file: BinaryIO, place: int, length: int) -> bytes:
    file.seek(place)
    return file.read(length)


def sent(data: bytes, last: float) -> float:
    """Return when a message was sent, in seconds since 1970; `last` if it does not say when."""
    match = _DATE.search(re.split(rb"\n\r?\n", data, maxsplit=1)[0])
    time = mail_time(match[1].decode("ascii", "replace")) if match else None
    return time.timestamp() if time else last
