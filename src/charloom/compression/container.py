"""The file that holds a compressed one: what the decoder has to know, checksums, and the code.

    magic  4 bytes      version  1 byte      CRC-32 of all that follows  4 bytes
    length of the header  4 bytes            header  MessagePack         code

Numbers are little-endian. The version is that of the model's arithmetic, too.
"""

import hashlib
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from charloom.errors import CharloomError
from charloom.formatting import duration
from charloom.models.mixing import ContextMixer, code_lengths
from charloom.models.mixing.model import LONGEST_TEXT
from charloom.progress import Tell, say_nothing

MAGIC = b"\xc7lm\x1a"
VERSION = 1
_START = struct.Struct("<4sBI")
_LENGTH = struct.Struct("<I")
_FIRST_ABOVE_ASCII = "\x80"

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


def compress(content: bytes, tell: Tell = say_nothing) -> bytes:
    """Compress any bytes: as characters if they are UTF-8.

    Raises CharloomError if they are more than LONGEST_TEXT characters.
    """
    text, is_text = _symbols(content)
    if len(text) > LONGEST_TEXT:
        message = f"{len(text):,} characters are too many to compress at once: split the file"
        raise CharloomError(message, "unsupported", found=len(text))
    counts = Counter(text)
    known = sorted(counts)
    lengths = code_lengths([counts[symbol] for symbol in known])
    symbols = [symbol for _, symbol in sorted(zip(lengths, known, strict=True))]
    lengths.sort()
    digest = hashlib.sha256(content).digest()[:16]
    header = Header(
        is_text,
        len(text),
        np.bincount(lengths).tolist() if lengths else [],
        "".join(symbols),
        digest,
    )
    code = bytearray()
    telling = _Progress(tell, "compressing", len(text))
    for piece in ContextMixer(lengths, letters(symbols), len(text)).encode(_ids(text, symbols)):
        code += piece
        telling.move()
    head = msgspec.msgpack.encode(header)
    rest = _LENGTH.pack(len(head)) + head + code
    return _START.pack(MAGIC, VERSION, zlib.crc32(rest)) + rest


def decompress(packed: bytes, name: str, tell: Tell = say_nothing) -> Iterator[bytes]:
    """Yield the content, piece by piece.

    Raises CharloomError that names the file `name` if it is not one that `compress` wrote, or not
    whole; what is wrong with the content alone shows after its last piece.
    """
    header, code = _opened(packed, name)
    try:
        lengths = np.repeat(np.arange(len(header.lengths)), header.lengths).tolist()
        mixer = ContextMixer(lengths, letters(header.symbols), header.count)
    except ValueError as error:
        raise _damaged(name, str(error)) from None
    symbols = np.frombuffer(header.symbols.encode("utf-32-le"), np.uint32)
    codec = "utf-8" if header.is_text else "latin-1"
    digest = hashlib.sha256()
    telling = _Progress(tell, "decompressing", header.count)
    try:
        for ids in mixer.decode(code):
            piece = symbols[ids].tobytes().decode("utf-32-le").encode(codec)
            digest.update(piece)
            yield piece
            telling.move()
    except ValueError as error:
        raise _damaged(name, str(error)) from None
    if digest.digest()[:16] != header.digest:
        raise _damaged(name, "what was decoded has another checksum")


def letters(symbols: Sequence[str]) -> NDArray[np.bool_]:
    """Return which symbols (V,) are of words, by a rule that no version of Unicode changes."""
    return np.array(
        [s >= _FIRST_ABOVE_ASCII or s.isalnum() or s == "'" for s in symbols], np.bool_
    )


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


class _Progress:
    """Tells how far it has come and how long it will take, a piece at a time."""

    def __init__(self, tell: Tell, what: str, total: int) -> None:
        from charloom.models.mixing.model import PIECE

        self._tell, self._what, self._total, self._piece = tell, what, total, PIECE
        self._began, self._done = perf_counter(), 0

    def move(self) -> None:
        self._done = min(self._done + self._piece, self._total)
        if self._done:
            left = (perf_counter() - self._began) * (self._total / self._done - 1)
            self._tell(f"{self._what}: {self._done / self._total:.0%}, {duration(left)} left")
