"""The file that holds a compressed one: what the decoder has to know, a checksum, and the code.

    magic  4 bytes      version  1 byte      CRC-32 of all that follows  4 bytes
    length of the header  4 bytes            header  MessagePack         code

Numbers are little-endian. The version is that of the model's arithmetic, too: PLAIN starts from
nothing, and PRIMED from what a run knows or the file brings.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Annotated, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from charloom.compression.prior import MOST_READ
from charloom.errors import CharloomError
from charloom.models.mixing.model import LONGEST_TEXT

MAGIC = b"\xc7lm\x1a"
PLAIN, PRIMED = 1, 2
LARGEST = LONGEST_TEXT - MOST_READ  # bytes
_START = struct.Struct("<4sBI")
_LENGTH = struct.Struct("<I")

H = TypeVar("H")
Amount = Annotated[int, Meta(ge=0, le=LARGEST)]


class Content(NamedTuple):
    """A compressed file that is opened: its header, still packed, and its code."""

    version: int
    header: bytes
    code: bytes


def close(version: int, header: object, code: Iterable[bytes]) -> bytes:
    """Return a file with this header and code."""
    head = msgspec.msgpack.encode(header)
    rest = b"".join([_LENGTH.pack(len(head)), head, *code])
    return _START.pack(MAGIC, version, zlib.crc32(rest)) + rest


def open_file(packed: bytes, name: str) -> Content:
    """Check a file and take it apart; raises CharloomError that calls it `name`."""
    if not packed.startswith(MAGIC):
        message = f"{name} is not a file that charloom compressed: give one that is"
        raise CharloomError(message, "bad-setting", path=name)
    try:
        _, version, checksum = _START.unpack_from(packed)
        if version > PRIMED:
            message = f"{name} was compressed by a newer charloom: install that"
            raise CharloomError(message, "newer-format", path=name, found=version)
        rest = packed[_START.size :]
        if zlib.crc32(rest) != checksum:
            raise damaged(name, "its checksum is another one")
        (length,) = _LENGTH.unpack_from(rest)
    except struct.error:
        raise damaged(name, "its header is not whole") from None
    begin = _LENGTH.size
    return Content(version, rest[begin:][:length], rest[begin + length :])


def read_header(content: Content, kind: type[H]) -> H:
    """Decode a header strictly as `kind`; raises ValueError."""
    try:
        return msgspec.msgpack.decode(content.header, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise ValueError("its header is not whole") from None


def digest(content: bytes) -> bytes:
    """Return the first half of the SHA-256."""
    return hashlib.sha256(content).digest()[:16]


def ids_of(text: str, symbols: Sequence[str]) -> NDArray[np.int32]:
    """Return the place of each character of text (N,) in `symbols`, where all of them are."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    known = [*map(ord, symbols)]
    places = np.zeros(max(known, default=0) + 1, np.int32)
    places[known] = np.arange(len(symbols))
    return places[codes]


def content_of(pieces: Iterable[NDArray[np.int32]], symbols: Sequence[str], is_text: bool) -> bytes:
    """Return the bytes of ids: characters in UTF-8, or one of Latin-1 for each byte.

    Raises ValueError if that is not possible.
    """
    codec = "utf-8" if is_text else "latin-1"
    codes = np.frombuffer("".join(symbols).encode("utf-32-le"), np.uint32)
    return b"".join(codes[ids].tobytes().decode("utf-32-le").encode(codec) for ids in pieces)


def damaged(name: str, reason: str) -> CharloomError:
    """Return the error that a file is damaged."""
    message = f"{name} is damaged ({reason}): restore it from a copy"
    return CharloomError(message, "damaged", path=name)
