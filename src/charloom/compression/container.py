"""The file that holds a compressed one: what the decoder has to know, checksums, and the code.

    magic  4 bytes      version  1 byte      CRC-32 of all that follows  4 bytes
    length of the header  4 bytes            header  MessagePack         code

Numbers are little-endian. The version is that of the model's arithmetic, too.
"""

import hashlib
import math
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Annotated, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from charloom.errors import CharloomError
from charloom.files import unreadable
from charloom.formatting import duration
from charloom.models.mixing import ContextMixer, code_lengths, letters_of
from charloom.models.mixing.model import LONGEST_TEXT, PIECE
from charloom.progress import Tell, say_nothing

MAGIC = b"\xc7lm\x1a"
VERSION = 1
LARGEST = LONGEST_TEXT  # bytes
_START = struct.Struct("<4sBI")
_LENGTH = struct.Struct("<I")

T = TypeVar("T")
Amount = Annotated[int, Meta(ge=0, le=LONGEST_TEXT)]


class Header(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What the decoder has to know.

    `symbols` are characters of UTF-8, or bytes as the characters of Latin-1; they are sorted by the
    lengths of their codes, and lengths[n] of them have n bits. `digest` is the first half of the
    content's SHA-256.
    """

    is_text: bool
    count: Amount  # of symbols in the content
    lengths: list[Amount]
    symbols: str
    digest: bytes


class Compressed(NamedTuple):
    """A compressed file, and how many `symbols` it holds: characters if it is text, else bytes."""

    packed: bytes
    symbols: int
    is_text: bool

    @property
    def nats(self) -> float:
        """The size of the file for each symbol, in nats."""
        return 8 * len(self.packed) * math.log(2) / self.symbols


def compress(content: bytes, tell: Tell = say_nothing) -> Compressed:
    """Compress at most LARGEST bytes: as characters if they are UTF-8.

    The same bytes give the same file on every computer.
    """
    text, is_text = _symbols(content)
    counts = Counter(text)
    known = sorted(counts)
    coded = sorted(zip(code_lengths([counts[symbol] for symbol in known]), known, strict=True))
    lengths, symbols = [length for length, _ in coded], [symbol for _, symbol in coded]
    per_length = np.bincount(lengths).tolist() if lengths else []
    digest = hashlib.sha256(content).digest()[:16]
    head = msgspec.msgpack.encode(Header(is_text, len(text), per_length, "".join(symbols), digest))
    mixer = ContextMixer(lengths, letters_of(symbols), len(text))
    code = b"".join(_told(mixer.encode(_ids(text, symbols)), "compressing", len(text), tell))
    rest = _LENGTH.pack(len(head)) + head + code
    return Compressed(_START.pack(MAGIC, VERSION, zlib.crc32(rest)) + rest, len(text), is_text)


def decompress(packed: bytes, name: str, tell: Tell = say_nothing) -> bytes:
    """Return what `compress` was given.

    Raises CharloomError that names the file `name` if `compress` did not write it, or if it is
    damaged or cut short.
    """
    header, code = _opened(packed, name)
    codec = "utf-8" if header.is_text else "latin-1"
    symbols = np.frombuffer(header.symbols.encode("utf-32-le"), np.uint32)
    lengths = np.repeat(np.arange(len(header.lengths)), header.lengths).tolist()
    try:
        mixer = ContextMixer(lengths, letters_of(header.symbols), header.count)
        pieces = _told(mixer.decode(code), "decompressing", header.count, tell)
        content = b"".join(
            symbols[ids].tobytes().decode("utf-32-le").encode(codec) for ids in pieces
        )
    except ValueError as error:
        raise _damaged(name, str(error)) from None
    if hashlib.sha256(content).digest()[:16] != header.digest:
        raise _damaged(name, "what it holds has another checksum")
    return content


def read_file(path: Path) -> bytes:
    """Read a file to compress or decompress, or a pipe; raises CharloomError."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise unreadable(path, error) from None
    if len(content) > LARGEST:
        message = f"{path} has more than {LARGEST:,} bytes, the most for one file: split it"
        raise CharloomError(message, "unsupported", path=str(path))
    return content


def _symbols(content: bytes) -> tuple[str, bool]:
    try:
        return content.decode(), True
    except UnicodeDecodeError:
        return content.decode("latin-1"), False


def _ids(text: str, symbols: Sequence[str]) -> NDArray[np.int32]:
    """Return the place of each character of text (N,) in `symbols`."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    places = np.zeros(int(codes.max(initial=0)) + 1, np.int32)
    places[[*map(ord, symbols)]] = np.arange(len(symbols))
    return places[codes]


def _opened(packed: bytes, name: str) -> tuple[Header, bytes]:
    """Check and read what is before the code."""
    if not packed.startswith(MAGIC):
        message = f"{name} is not a file that charloom compressed: give one that is"
        raise CharloomError(message, "bad-setting", path=name)
    try:
        _, version, checksum = _START.unpack_from(packed)
        if version > VERSION:
            message = f"{name} was compressed by a newer charloom: install that"
            raise CharloomError(message, "newer-format", path=name, found=version)
        rest = packed[_START.size :]
        if zlib.crc32(rest) != checksum:
            raise _damaged(name, "its checksum is another one")
        (length,) = _LENGTH.unpack_from(rest)
        head, code = rest[_LENGTH.size :][:length], rest[_LENGTH.size + length :]
        header = msgspec.msgpack.decode(head, type=Header)
    except (struct.error, msgspec.MsgspecError, UnicodeDecodeError):
        raise _damaged(name, "its header is not whole") from None
    if sum(header.lengths) != len(header.symbols) or (header.count > 0) != bool(header.symbols):
        raise _damaged(name, "its header contradicts itself")
    return header, code


def _damaged(name: str, reason: str) -> CharloomError:
    message = f"{name} is damaged ({reason}): restore it from a copy"
    return CharloomError(message, "damaged", path=name)


def _told(pieces: Iterator[T], what: str, total: int, tell: Tell) -> Iterator[T]:
    """Pass pieces on, and tell how much is done and how long the rest will take."""
    began = perf_counter()
    for number, piece in enumerate(pieces, 1):
        yield piece
        done = min(number * PIECE / max(total, 1), 1.0)
        tell(f"{what}: {done:.0%}, {duration((perf_counter() - began) * (1 / done - 1))} left")
