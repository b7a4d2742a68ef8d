"""Bytes of UTF-8 to ids and back: an alphabet of 256 that knows every text."""

import codecs
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from charloom.data.boundary import BOUNDARY, visible
from charloom.data.tokenizer import Ids, find
from charloom.data.vocabulary import UnknownCharacterError
from charloom.errors import CharloomError
from charloom.files import one_line

_PIECE = 1 << 20  # ids that are counted at once


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    unit: Literal["byte"]
    boundary: bool


@dataclass(frozen=True)
class ByteVocabulary:
    """A Tokenizer of the 256 bytes: an id is the value of one.

    A byte stands for the character that begins in it, if one does, so that a loss over bytes has a
    mean per character. Byte 0, which is in no text, is the boundary between documents if the text
    `has_boundary`.
    """

    unit: ClassVar[Literal["bytes"]] = "bytes"
    characters: ClassVar[tuple[str, ...]] = ()

    has_boundary: bool = False

    @property
    def boundary(self) -> int | None:
        """The id of the boundary between documents; None if there is none."""
        return 0 if self.has_boundary else None

    @property
    def lengths(self) -> NDArray[np.int32]:
        """How many characters begin in each byte (V,): 0 in one that continues another's."""
        return np.array([byte & 0xC0 != 0x80 for byte in range(len(self))], np.int32)

    @classmethod
    def from_json(cls, document: str) -> Self:
        """Read what `to_json` wrote; raises CharloomError if it is something else."""
        try:
            return cls(msgspec.json.decode(document, type=_Document).boundary)
        except (msgspec.MsgspecError, RecursionError) as error:
            problem = f"the vocabulary is not that of bytes ({one_line(error)})"
            raise CharloomError(problem, "damaged") from None

    def to_json(self) -> str:
        """Return that these are bytes, and whether there is a boundary."""
        return msgspec.json.encode(_Document("byte", self.has_boundary)).decode()

    def __len__(self) -> int:
        return 256

    def unknown(self, alphabet: Collection[str]) -> tuple[str, ...]:
        """Return the characters of `alphabet` that have no UTF-8, sorted: lone surrogates."""
        return tuple(sorted(c for c in alphabet if "\ud800" <= c <= "\udfff"))

    def encode(self, text: str) -> NDArray[np.int32]:
        """Text -> ids (N,); raises UnknownCharacterError for a lone surrogate."""
        return self.whole(text).astype(np.int32)

    def whole(self, text: str) -> Ids:
        """Return the ids (N,) of a text from its beginning: its bytes."""
        try:
            return np.frombuffer(text.encode(), np.uint8)
        except UnicodeEncodeError as error:
            raise UnknownCharacterError(text[error.start], error.start) from None

    def prompt(self, text: str) -> NDArray[np.int32]:
        """Return the ids (N,), at least one, of a prompt.

        An empty one becomes a boundary, or a line break if there is none.
        """
        return self.encode(text or (BOUNDARY if self.has_boundary else "\n"))

    def utf8(self, ids: ArrayLike) -> bytes:
        """Ids (N,) -> the text in UTF-8; raises IndexError if one is not in [0, V)."""
        places = np.asarray(ids)
        if places.dtype != np.uint8:
            if places.size and (places.min() < 0 or places.max() >= len(self)):
                found = f"from {places.min()} to {places.max()}"
                raise IndexError(f"ids go {found}, but V is {len(self)}")
            places = places.astype(np.uint8)
        return places.tobytes()

    def decode(self, ids: ArrayLike) -> str:
        """Ids (N,) -> text; bytes that are no UTF-8 become U+FFFD. Raises as `utf8` does."""
        return visible(self.utf8(ids).decode(errors="replace"))

    def decoder(self) -> "ByteDecoder":
        """Return a decoder for a text that comes a piece at a time."""
        return ByteDecoder(self)

    def count(self, ids: NDArray[np.integer]) -> int:
        """Return how many characters ids (N,) stand for."""
        pieces = (ids[start : start + _PIECE] for start in range(0, len(ids), _PIECE))
        return sum(int(np.count_nonzero(piece & 0xC0 != 0x80)) for piece in pieces)

    def find(self, ids: Ids, cuts: Sequence[int]) -> tuple[int, ...]:
        """Return where in ids (N,), a text's, each of `cuts` is, a place between characters."""
        return find(ids, cuts, self.lengths)


class ByteDecoder:
    """A Decoder of bytes: a character is complete with its last one. None ends a text."""

    ended: ClassVar[bool] = False

    def __init__(self, vocabulary: ByteVocabulary) -> None:
        self._vocabulary = vocabulary
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, ids: NDArray[np.integer]) -> str:
        """Take the next ids (N,) and return the characters that are complete."""
        return visible(self._utf8.decode(self._vocabulary.utf8(ids)))
