"""metrics.jsonl: one object a line, by step. Old lines are thinned, so that the file stays small.

A file of more than LARGEST_BYTES keeps all of its newest lines; of the older ones, in each of
some thousand equal stretches of steps, those of the lowest and highest losses. So a curve that is
drawn from it has the same outline, and no minimum is lost.
"""

import errno
import math
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from io import FileIO
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from charloom.errors import CharloomError
from charloom.files import read_bytes, replace_file

LARGEST_BYTES = 2**23  # at which a file is thinned
NEWEST_LINES = 10_000  # that stay, if they have no more than half of those bytes
STRETCHES = 2_000  # of steps, of which extremes stay
LOSSES = {"loss", "validation"}
USUAL = {"step", "characters", "seconds", "loss", "smooth", "rate", "validation", "gradient_norm"}
_READ_BYTES = 2**28  # at most: what older versions wrote was not thinned
_CHUNK_BYTES = 2**12

Line = tuple[bytes, dict[str, Any]]


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line in one write; NaN and infinity become null. Raises OSError.

    An end of the file that was cut short, by a crash or a full disk, is removed before.
    """
    line = msgspec.json.encode(record) + b"\n"
    if path.exists() and path.stat().st_size > LARGEST_BYTES:
        replace_file(path, b"".join(line + b"\n" for line in _thinned(path.read_bytes())))
    with path.open("ab+", buffering=0) as file:
        _cut_torn(file)
        if file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def lines(path: Path) -> list[Line]:
    """Return each whole line with what it says; one cut short at the end is left out.

    Raises CharloomError if a line before the last is damaged.
    """
    if not path.exists():
        return []
    *whole, _torn = read_bytes(path, _READ_BYTES).split(b"\n")
    found: list[Line] = []
    for number, line in enumerate(whole, 1):
        if (record := _record(line)) is None:
            message = f"{path} is damaged in line {number}: delete that line"
            raise CharloomError(message, "damaged", path=str(path), line=number)
        found.append((line, record))
    return found


def truncate(path: Path, step: int) -> None:
    """Remove the lines after `step`. Raises CharloomError and OSError."""
    if path.exists():
        kept = [line for line, record in lines(path) if record["step"] <= step]
        replace_file(path, b"".join(line + b"\n" for line in kept))


def _record(line: bytes) -> dict[str, Any] | None:
    """Return what a line says; None if it is damaged."""
    try:
        record = msgspec.json.decode(line, type=dict[str, Any])
        return record | {"step": operator.index(record["step"])}
    except (ValueError, RecursionError, KeyError, TypeError):
        return None


def _cut_torn(file: FileIO) -> None:
    """Remove what follows the last end of a line."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _CHUNK_BYTES)
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
    while newest and len(whole) - newest < NEWEST_LINES and size < LARGEST_BYTES // 2:
        newest -= 1
        size += len(whole[newest])
    yield from _extremes(whole[:newest])
    yield from whole[newest:]


def _extremes(older: Sequence[bytes]) -> Iterator[bytes]:
    """Yield, of each stretch of steps, the lines of lowest and highest losses, and unusual ones."""
    records = [_record(line) for line in older]
    steps = [record["step"] for record in records if record]
    width = (max(steps) - min(steps)) // STRETCHES + 1 if steps else 1
    extremes: dict[tuple[int, str, int], tuple[float, int]] = {}  # of the loss, or of minus it
    rare: set[int] = set()
    for place, record in enumerate(records):
        if record is None or record.keys() - USUAL:
            rare.add(place)
            continue
        for name, sign in product(LOSSES & record.keys(), (1, -1)):
            loss = math.inf if record[name] is None else record[name]
            found, key = (sign * loss, place), (record["step"] // width, name, sign)
            extremes[key] = min(extremes.get(key, found), found)
    yield from (older[place] for place in sorted(rare | {place for _, place in extremes.values()}))
