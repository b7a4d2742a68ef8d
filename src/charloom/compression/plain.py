"""Compressing from nothing: what the decoder has to know is in the file."""

from collections import Counter

import msgspec
import numpy as np

from charloom.compression.container import (
    PLAIN,
    Amount,
    Content,
    close,
    content_of,
    digest,
    ids_of,
    read_header,
)
from charloom.compression.telling import told
from charloom.models.mixing import ContextMixer, code_lengths, letters_of
from charloom.models.mixing.model import PIECE
from charloom.progress import Tell, say_nothing


class Header(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What the decoder has to know.

    `symbols` are characters of UTF-8, or bytes as the characters of Latin-1; they are sorted by the
    lengths of their codes, and lengths[n] of them have n bits. `digest` is that of the content.
    """

    is_text: bool
    count: Amount  # of symbols in the content
    lengths: list[Amount]
    symbols: str
    digest: bytes


def compress(content: bytes, text: str, is_text: bool, tell: Tell = say_nothing) -> bytes:
    """Return the file that holds some content, which is this text."""
    counts = Counter(text)
    known = sorted(counts)
    coded = sorted(zip(code_lengths([counts[symbol] for symbol in known]), known, strict=True))
    lengths, symbols = [length for length, _ in coded], [symbol for _, symbol in coded]
    per_length = np.bincount(lengths).tolist() if lengths else []
    header = Header(is_text, len(text), per_length, "".join(symbols), digest(content))
    mixer = ContextMixer(lengths, letters_of(symbols), len(text))
    code = told(mixer.encode(ids_of(text, symbols)), PIECE, "compressing", len(text), tell)
    return close(PLAIN, header, code)


def header_of(content: Content) -> Header:
    """Read and check a header; raises ValueError."""
    header = read_header(content, Header)
    if sum(header.lengths) != len(header.symbols) or (header.count > 0) != bool(header.symbols):
        raise ValueError("its header contradicts itself")
    return header


def decompress(content: Content, tell: Tell = say_nothing) -> tuple[bytes, bytes]:
    """Return what a file holds, and the digest that it should have; raises ValueError."""
    header = header_of(content)
    lengths = np.repeat(np.arange(len(header.lengths)), header.lengths).tolist()
    mixer = ContextMixer(lengths, letters_of(header.symbols), header.count)
    pieces = told(mixer.decode(content.code), PIECE, "decompressing", header.count, tell)
    return content_of(pieces, header.symbols, header.is_text), header.digest
