"""metrics.jsonl: one object a line, by step. What is old is thinned, so that the file stays small.

A file that has grown to LARGEST keeps its newest lines whole; of the older ones, in each of some
thousand equal stretches of steps, those of the lowest and highest losses. So a curve that is
drawn from it has the same outline, and no minimum is lost.
"""

import errno
import math
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any

import msgspec

from charloom.errors import CharloomError
from charloom.files import read_bytes, replace_file

LARGEST = 2**23  # bytes, at which a file is thinned
NEWEST = 10_000  # lines that stay whole, if they are no more than half of that
STRETCHES = 2_000  # of steps, of which extremes stay
LOSSES = ("loss", "validation")
USUAL = {"step", "characters", "seconds", "loss", "smooth", "rate", "validation", "gradient_norm"}
_MOST = 2**28  # bytes that are read: what older versions wrote was not thinned
_CHUNK = 2**12  # bytes

Line = tuple[bytes, dict[str, Any]]


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line in one write; NaN and infinity become null. Raises OSError.

    A line before it that was cut short, by a crash or a full disk, is removed.
    """
    line = msgspec.json.encode(record) + b"\n"
    if path.exists() and path.stat().st_size > LARGEST:
        kept = _thinned(path.read_bytes())
        replace_file(path, b"".join(line + b"\n" for line in kept))
    with path.open("ab+", buffering=0) as file:
        _cut_torn(file)
        if file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def lines(path: Path) -> list[Line]:
    """Return each whole line with what it says; one cut short at the end is left out.

    Raises CharloomError where a line before the last is damaged.
    """
    if not path.exists():
        return []
    *whole, _torn = read_bytes(path, _MOST).split(b"\n")
    found: list[Line] = []
    for number, line in enumerate(whole, 1):
        if (record := _record(line)) is None:
            message = f"{path} is damaged in line {number}: delete that line"
            raise CharloomError(message, "damaged", path=str(path), line=number)
        found.append((line, record))
    return found


def truncate(path: Path, step: int) -> None:
    """Forget the lines after `step`. Raises CharloomError and OSError."""
    if path.exists():
        kept = [line for line, record in lines(path) if record["step"] <= step]
        replace_file(path, b"".join(line + b"\n" for line in kept))


def _record(line: bytes) -> dict[str, Any] | None:
    """What a line says; None where it is damaged."""
    try:
        record = msgspec.json.decode(line, type=dict[str, Any])
        return record | {"step": operator.index(record["step"])}
    except (ValueError, RecursionError, KeyError, TypeError):
        return None


def _cut_torn(file: FileIO) -> None:
    """Remove what follows the last end of a line."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _CHUNK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0 or start == 0:
            file.truncate(start + found + 1)
            return
        end = start


def _thinned(content: bytes) -> Iterator[bytes]:
    """Yield the lines that stay, in their order."""
    *whole, _torn = content.split(b"\n")
    newest, size = len(whole), 0
    while newest and len(whole) - newest < NEWEST and size < LARGEST // 2:
        newest -= 1
        size += len(whole[newest])
    yield from _extremes(whole[:newest])
    yield from whole[newest:]


def _extremes(older: Sequence[bytes]) -> Iterator[bytes]:
    """Yield, of each stretch of steps, the lines of lowest and highest losses, and rare ones."""
    records = [_record(line) for line in older]
    steps = [record["step"] for record in records if record]
    width = (max(steps) - min(steps)) // STRETCHES + 1 if steps else 1
    lowest: dict[tuple[int, str], tuple[float, int]] = {}
    highest: dict[tuple[int, str], tuple[float, int]] = {}
    kept: set[int] = set()
    for place, record in enumerate(records):
        if record is None or record.keys() - USUAL:
            kept.add(place)
            continue
        for name in LOSSES:
            if name in record:
                key = record["step"] // width, name
                loss = math.inf if record[name] is None else record[name]
                lowest[key] = min(lowest.get(key, (math.inf, place)), (loss, place))
                highest[key] = max(highest.get(key, (-math.inf, place)), (loss, place))
    kept |= {place for _, place in (*lowest.values(), *highest.values())}
    yield from (older[place] for place in sorted(kept))
