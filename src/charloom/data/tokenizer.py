"""The protocol of a model's alphabet: what turns text into ids and back."""

from collections.abc import Collection, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ids = NDArray[np.integer[Any]]
_PIECE = 1 << 20  # ids that are counted at once


class Decoder(Protocol):
    """Ids to text as they come, a piece at a time."""

    @property
    def ended(self) -> bool:
        """Whether an id has come that ends a text."""

    def add(self, ids: NDArray[np.integer]) -> str:
        """Take the next ids (N,) and return the characters that they complete."""


class Tokenizer(Protocol):
    """V entries that ids stand for: characters (Vocabulary), bytes (ByteVocabulary) or subwords."""

    @property
    def unit(self) -> Literal["characters", "bytes", "tokens"]:
        """What ids stand for."""

    @property
    def characters(self) -> tuple[str, ...]:
        """The character of each id (V,); empty if ids stand for others."""

    @property
    def boundary(self) -> int | None:
        """The id of the boundary between documents; None if there is none."""

    @property
    def lengths(self) -> NDArray[np.int32]:
        """How many characters each id stands for (V,): those that begin in it."""

    def __len__(self) -> int: ...

    def to_json(self) -> str:
        """Return what a run keeps in vocabulary.json, in ASCII."""

    def encode(self, text: str) -> NDArray[np.int32]:
        """Text -> ids (N,), which decode to it; raises UnknownCharacterError."""

    def whole(self, text: str) -> Ids:
        """Text -> its ids (N,), behind the one that begins a text, if there is one."""

    def prompt(self, text: str) -> NDArray[np.int32]:
        """Text -> ids (N,), at least one, for a model to go on from."""

    def utf8(self, ids: ArrayLike) -> bytes:
        """Ids (N,) -> the text in UTF-8; raises IndexError if one is not in [0, V)."""

    def decode(self, ids: ArrayLike) -> str:
        """Ids (N,) -> text to show, with line ends for boundaries; raises as `utf8` does."""

    def decoder(self) -> Decoder:
        """Return a decoder for a text that comes a piece at a time."""

    def count(self, ids: NDArray[np.integer]) -> int:
        """Return how many characters ids (N,) stand for."""

    def find(self, ids: Ids, cuts: Sequence[int]) -> tuple[int, ...]:
        """Return where in ids (N,), a text's, each of `cuts` is, a place between characters."""

    def unknown(self, alphabet: Collection[str]) -> tuple[str, ...]:
        """Return the characters of `alphabet` that cannot be encoded, sorted."""


def find(ids: Ids, cuts: Sequence[int], lengths: NDArray[np.integer]) -> tuple[int, ...]:
    """Return the place in ids (N,) of the one in which character number `cut` begins, for each cut.

    `lengths` (V,) is how many characters begin in each id; cuts are less than all of them.
    """
    found, before = list[int](), 0
    for start in range(0, len(ids), _PIECE):
        after = before + np.cumsum(lengths[ids[start : start + _PIECE]])
        here = [cut for cut in cuts if before <= cut < after[-1]]
        found += (start + np.searchsorted(after, here, "right")).tolist()
        before = int(after[-1])
    return tuple(found)
