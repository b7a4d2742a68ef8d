"""Bytes in, a compressed file out, and back."""

import math
from pathlib import Path
from typing import NamedTuple

from charloom.compression import plain, primed
from charloom.compression.container import LARGEST, PLAIN, damaged, digest, open_file
from charloom.compression.prior import Prior
from charloom.errors import CharloomError
from charloom.files import unreadable
from charloom.progress import Tell, say_nothing


class Compressed(NamedTuple):
    """A compressed file, and how many `symbols` it holds: characters if it is text, else bytes.

    `brought` is how many bytes of it are a network.
    """

    packed: bytes
    symbols: int
    is_text: bool
    brought: int = 0

    @property
    def nats(self) -> float:
        """The size of the file for each symbol, in nats."""
        return 8 * len(self.packed) * math.log(2) / self.symbols


def compress(
    content: bytes, tell: Tell = say_nothing, prior: Prior | None = None, embed: bool = False
) -> Compressed:
    """Compress at most LARGEST bytes: as characters if they are UTF-8.

    With a `prior`, a run's, decompressing needs that run, or if it is to `embed`, its network is in
    the file. The same bytes give the same file on every computer. Raises CharloomError if there is
    no network to embed.
    """
    text, is_text = _text_of(content)
    if prior is None:
        return Compressed(plain.compress(content, text, is_text, tell), len(text), is_text)
    read, as_text = (content.decode("latin-1"), False) if prior.by_bytes else (text, is_text)
    packed, brought = primed.compress(content, read, as_text, prior, embed, tell)
    return Compressed(packed, len(text), is_text, brought)


def decompress(packed: bytes, name: str, tell: Tell = say_nothing, run: str | None = None) -> bytes:
    """Return what `compress` was given; `run` is the one that it was given, if it was.

    Raises CharloomError that names the file `name` if `compress` did not write it, if it is damaged
    or cut short, or needs another run.
    """
    opened = open_file(packed, name)
    try:
        if opened.version == PLAIN:
            content, checksum = plain.decompress(opened, tell)
        else:
            content, checksum = primed.decompress(opened, name, run, tell)
    except CharloomError:
        raise
    except ValueError as error:
        raise damaged(name, str(error)) from None
    if digest(content) != checksum:
        raise damaged(name, "what it holds has another checksum")
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


def _text_of(content: bytes) -> tuple[str, bool]:
    """Return a text, or a character of Latin-1 for each byte."""
    try:
        return content.decode(), True
    except UnicodeDecodeError:
        return content.decode("latin-1"), False
