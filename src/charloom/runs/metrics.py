"""metrics.jsonl: one object a line, by step. Old lines are thinned, so that the file stays small.

A file of more than LARGEST_BYTES keeps all of its newest lines; of the older ones, in each of
some thousand equal stretches of steps, those of the lowest and highest losses. So a curve that is
drawn from it has the same outline, and no minimum is lost.
"""

import errno
import math
import os
from collections.abc import Iterator, Sequence
from itertools import product, takewhile
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from charloom.errors import CharloomError
from charloom.files import damaged, one_line, open_plain, read_bytes, replace_file
from charloom.runs.meta import Count, Word

LARGEST_BYTES = 2**23  # at which a file is thinned
NEWEST_LINES = 10_000  # that stay, if they have no more than half of those bytes
STRETCHES = 2_000  # of steps, of which extremes stay
_READ_BYTES = 2**28  # at most: what older versions wrote was not thinned


class Setback(msgspec.Struct, frozen=True):
    """A return from step `at`, at which training diverged, to the checkpoint of step `to`."""

    at: Count
    to: Count
    loss: Word = ""  # that showed it, as text: JSON has no NaN


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known after `step` updates; a line may lack anything but the step.

    `loss` is the mean over the updates since the line before, `validation` that of an evaluation
    at this step, and `smooth` is min-char-rnn's: nats per character. `rate` is the learning rate,
    `seconds` the training time so far. Fields that a later version may add are passed over.
    """

    step: Count
    characters: Count | None = None
    seconds: float | None = None
    loss: float | None = None
    smooth: float | None = None
    rate: float | None = None
    gradient_norm: float | None = None
    validation: float | UnsetType | None = UNSET  # None if it is infinite: JSON has no such number
    setbacks: tuple[Setback, ...] = ()

    @property
    def validation_loss(self) -> float | None:
        """The validation loss in nats per character, infinite or not; None if it is unknown."""
        if self.validation is UNSET:
            return None
        return math.inf if self.validation is None else self.validation


_decoder = msgspec.json.Decoder(Line)
_USUAL = {*Line.__struct_fields__} - {"setbacks"}


def append(path: Path, line: Line) -> None:
    """Add one line in one write; NaN and infinity become null. Raises OSError, and adds nothing.

    What a crash has cut short is removed by `truncate`, with which every trainer begins.
    """
    content = msgspec.json.encode(line) + b"\n"
    if path.exists() and path.stat().st_size > LARGEST_BYTES:
        replace_file(path, b"".join(line + b"\n" for line in _thinned(path.read_bytes())))
    with path.open("ab", buffering=0) as file:
        end = file.tell()
        if file.write(content) != len(content):
            file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def lines(path: Path) -> list[Line]:
    """Return each whole line; one cut short at the end is left out.

    Raises CharloomError if a line before the last is damaged.
    """
    return [line for _, line in _read(path)]


class Tail:
    """The lines of a file that grows, each read once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place, self._last = 0, b""  # the end of what was read, and the last line of it

    def read(self) -> tuple[list[Line], bool]:
        """Return the whole lines since the last call, and whether they begin anew.

        They do if what was read is no longer there: it was thinned, or training went back.
        Raises CharloomError if a line is damaged, or the file is.
        """
        if not self._path.exists():
            anew = self._place > 0
            self._place, self._last = 0, b""
            return [], anew
        with open_plain(self._path) as file:
            file.seek(self._place - len(self._last))
            anew = file.read(len(self._last)) != self._last
            if anew:
                self._place, self._last = file.seek(0), b""
            content = file.read(_READ_BYTES)
        content = content[: content.rfind(b"\n") + 1]
        self._place += len(content)
        found = content.splitlines(keepends=True)
        self._last = found[-1] if found else self._last
        return [_decoded(self._path, line) for line in found], anew


def _decoded(path: Path, content: bytes) -> Line:
    try:
        return _decoder.decode(content)
    except (ValueError, RecursionError) as error:
        raise damaged(path, one_line(error), "delete the line that is") from None


def truncate(path: Path, step: int) -> None:
    """Remove the lines after `step`, where they are: a full disk has no room for another file.

    Raises CharloomError and OSError.
    """
    kept = takewhile(lambda pair: pair[1].step <= step, _read(path))
    size = sum(len(content) + 1 for content, _ in kept)
    if path.exists() and path.stat().st_size > size:
        os.truncate(path, size)


def _read(path: Path) -> list[tuple[bytes, Line]]:
    """Return each whole line as it is and with what it says; raises CharloomError."""
    if not path.exists():
        return []
    *whole, _torn = read_bytes(path, _READ_BYTES).split(b"\n")
    found: list[tuple[bytes, Line]] = []
    for number, content in enumerate(whole, 1):
        try:
            found.append((content, _decoder.decode(content)))
        except (ValueError, RecursionError) as error:
            message = f"{path} is damaged in line {number} ({one_line(error)}): delete that line"
            raise CharloomError(message, "damaged", path=str(path), line=number) from None
    return found


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
    lines = [_usual(content) for content in older]
    steps = [line.step for line in lines if line]
    width = (max(steps) - min(steps)) // STRETCHES + 1 if steps else 1
    extremes: dict[tuple[int, str, int], tuple[float, int]] = {}  # of the loss, or of minus it
    rare: set[int] = set()
    for place, line in enumerate(lines):
        if line is None:
            rare.add(place)
            continue
        losses = {"loss": line.loss, "validation": line.validation_loss}
        for (name, loss), sign in product(losses.items(), (1, -1)):
            if loss is not None:
                found, key = (sign * loss, place), (line.step // width, name, sign)
                extremes[key] = min(extremes.get(key, found), found)
    yield from (older[place] for place in sorted(rare | {place for _, place in extremes.values()}))


def _usual(content: bytes) -> Line | None:
    """Return a line that says nothing but figures; None for a damaged one, too."""
    try:
        names = msgspec.json.decode(content, type=dict[str, Any]).keys()
        return None if names - _USUAL else _decoder.decode(content)
    except (ValueError, RecursionError):
        return None
