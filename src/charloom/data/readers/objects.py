"""JSON as programs write it: not always UTF-8, with NaN, or with one half of a surrogate pair."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, TypeVar

import msgspec

from charloom.data.readers import Head
from charloom.data.readers.plain import read_whole
from charloom.errors import CharloomError

FILE_BYTES = 2**30  # of a file that is read as a whole

Object = dict[str, Any]
T = TypeVar("T")

_LONE = re.compile(rb"\\(?:ud[89ab]..\\ud[c-f]..|(ud[89a-f]..)|.)")


def parsed(data: bytes | msgspec.Raw, kind: type[T]) -> T:
    """Return what JSON says, as that type; raises ValueError.

    Halves of surrogate pairs become U+FFFD, and NaN becomes None.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError):
        try:
            return msgspec.json.decode(_mended(bytes(data)), type=kind)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None


def each(
    found: Iterable[bytes | msgspec.Raw], left_out: Counter[str], noun: str
) -> Iterator[Object]:
    """Yield the objects that JSON says one by one; those that are damaged are counted."""
    for data in found:
        try:
            yield parsed(data, Object)
        except ValueError:
            left_out[noun] += 1


def whole(file: BinaryIO, label: str, kind: type[T]) -> T:
    """Return what a JSON file says, as that type; raises CharloomError."""
    data = read_whole(file, label, FILE_BYTES, "split it, or export less")
    return whole_bytes(data, label, kind)


def whole_bytes(data: bytes, label: str, kind: type[T]) -> T:
    """Return what the bytes of a JSON file say, as that type; raises CharloomError."""
    try:
        return parsed(data, kind)
    except ValueError as error:
        message = f"{label} is damaged ({error}): export it again"
        raise CharloomError(message, "damaged", why="damaged", path=label) from None


def string(value: object) -> str:
    """Return a value if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def mapping(value: object) -> Object:
    """Return a value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> list[Object]:
    """Return the objects in a value if it is a list, else none."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def begins(head: Head) -> bytes:
    """Return the beginning of a file without a byte-order mark and white space."""
    return head.start.removeprefix(b"\xef\xbb\xbf").lstrip()


def _mended(data: bytes) -> bytes:
    """Return JSON again, as Python's library reads it, which takes more than is allowed."""
    value = json.loads(data, strict=False, parse_constant=lambda _: None)
    return _LONE.sub(lambda m: b"\\ufffd" if m[1] else m[0], json.dumps(value).encode())
