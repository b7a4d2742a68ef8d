"""metrics.jsonl: one object a line, by step, append only."""

import errno
import operator
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from charloom.errors import CharloomError
from charloom.files import read_bytes, replace_file

_LARGEST = 2**40  # bytes


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line in one write; NaN and infinity become null. Raises OSError."""
    line = msgspec.json.encode(record) + b"\n"
    with path.open("ab", buffering=0) as file:
        if file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Return each whole line with what it says; one cut short at the end is left out.

    Raises CharloomError where a line before the last is damaged.
    """
    if not path.exists():
        return []
    *whole, _torn = read_bytes(path, _LARGEST).split(b"\n")
    found: list[tuple[bytes, dict[str, Any]]] = []
    for number, line in enumerate(whole, 1):
        try:
            record = msgspec.json.decode(line, type=dict[str, Any])
            found.append((line, record | {"step": operator.index(record["step"])}))
        except (ValueError, RecursionError, KeyError, TypeError):
            raise CharloomError(f"{path} is damaged in line {number}: delete that line") from None
    return found


def truncate(path: Path, step: int) -> None:
    """Forget the lines after `step`. Raises CharloomError and OSError."""
    if path.exists():
        kept = [line for line, record in lines(path) if record["step"] <= step]
        replace_file(path, b"".join(line + b"\n" for line in kept))
