"""Characters to ids and back: the alphabet of a model that charloom trains."""

import json
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from charloom.data.boundary import BOUNDARY, visible
from charloom.data.tokenizer import Ids
from charloom.errors import CharloomError
from charloom.files import one_line

_ASCII = 128
_CHUNK = 1 << 16  # characters encoded at once: the pieces in between stay in the cache


class UnknownCharacterError(CharloomError):
    """A text holds a character that is not in the vocabulary.

    `character` is that character and `position` its index in the text.
    """

    def __init__(self, character: str, position: int) -> None:
        super().__init__(
            f"character {position + 1:,} of the text is {describe(character)}, which the model has "
            "never seen: leave it out, or train on text that has it",
            "unknown-character",
            character=character,
            position=position,
        )
        self.character = character
        self.position = position

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.character, self.position)


@dataclass(unsafe_hash=True)
class Vocabulary:
    """A Tokenizer of V different characters; an id is a place in the order of their code points.

    One of them may be the boundary between documents, which `decode` shows as a line end. Raises
    CharloomError if `characters` are not in that order.
    """

    unit: ClassVar[Literal["characters"]] = "characters"

    characters: tuple[str, ...]

    def __post_init__(self) -> None:
        _check(self.characters)
        self._codes = codes = np.fromiter(map(ord, self.characters), np.uint32)
        # Code point -> id. The last entry, one past the largest character, stands for all above it.
        self._ids = np.full(int(codes.max(initial=0)) + 2, -1, np.int32)
        self._ids[codes] = np.arange(len(codes), dtype=np.int32)
        self._is_ascii = bool(codes.max(initial=0) < _ASCII)
        if self._is_ascii:  # the same by byte; V stands for what is not in the vocabulary
            self._bytes = np.full(_ASCII, len(codes), np.uint8)
            self._bytes[codes] = np.arange(len(codes))
        self.lengths = np.ones(len(codes), np.int32)
        self.boundary = 0 if BOUNDARY in self.characters else None  # its id

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the characters of `text`; raises CharloomError if it has fewer than two."""
        return cls.from_alphabet(set(text), len(text))

    @classmethod
    def from_alphabet(cls, alphabet: Collection[str], count: int) -> Self:
        """Return the vocabulary of a text of `count` characters, `alphabet` the different ones.

        Raises CharloomError if they are fewer than two.
        """
        characters = tuple(sorted(alphabet))
        if len(characters) < 2:
            problem = "is empty"
            if characters:
                some = f"{count:,} character{'s' * (count > 1)}"
                problem = f"of {some} has only {describe(characters[0])}"
            message = f"the text {problem}: there is nothing to learn, give one with more to it"
            raise CharloomError(message, "no-text", characters=count)
        return cls(characters)

    @classmethod
    def from_json(cls, document: str) -> Self:
        """Read what `to_json` wrote; raises CharloomError if it is not a vocabulary."""
        try:
            return cls(msgspec.json.decode(document, type=tuple[str, ...]))
        except (msgspec.MsgspecError, RecursionError) as error:
            problem = f"the vocabulary is not a list of characters ({one_line(error)})"
            raise CharloomError(problem, "damaged") from None

    def to_json(self) -> str:
        """Return the characters as a JSON list, in ASCII, so that no encoding can harm it."""
        return json.dumps(self.characters)

    def __len__(self) -> int:
        return len(self.characters)

    def unknown(self, alphabet: Collection[str]) -> tuple[str, ...]:
        """Return the characters of `alphabet` that are not here, sorted."""
        return tuple(sorted({*alphabet} - {*self.characters}))

    def encode(self, text: str) -> NDArray[np.int32]:
        """Text of N characters -> ids (N,); raises UnknownCharacterError."""
        ids = np.empty(len(text), np.int32)
        for start in range(0, len(text), _CHUNK):
            chunk = text[start : start + _CHUNK].encode("utf-32-le", "surrogatepass")
            part = ids[start : start + _CHUNK]
            np.take(self._ids, np.frombuffer(chunk, "<u4"), out=part, mode="clip")
            if part.min() < 0:
                position = start + int(np.argmax(part < 0))
                raise UnknownCharacterError(text[position], position)
        return ids

    def whole(self, text: str) -> Ids:
        """Return the ids (N,) of a text from its beginning: those of its characters."""
        if self._is_ascii and text.isascii():  # most texts, in half the time
            ids = np.take(self._bytes, np.frombuffer(text.encode(), np.uint8), mode="clip")
            if not text or ids.max() < len(self):
                return ids
        return self.encode(text)

    def prompt(self, text: str) -> NDArray[np.int32]:
        """Return the ids (N,), at least one, of a prompt; raises UnknownCharacterError.

        An empty one becomes a boundary, or if there is none here a line break, or a space, or else
        the first character: a new document or line, as far as the model knows.
        """
        known = [c for c in (BOUNDARY, "\n", " ") if c in self.characters]
        return self.encode(text or (known or self.characters)[0])

    def decode(self, ids: ArrayLike) -> str:
        """Ids (N,) -> text of N characters to show; raises IndexError if one is not in [0, V)."""
        return visible(self._text(ids))

    def _text(self, ids: ArrayLike) -> str:
        places = np.asarray(ids)
        if places.dtype.kind not in "iu":
            places = places.astype(np.intp)
        if places.size and (places.min() < 0 or places.max() >= len(self)):
            raise IndexError(f"ids go from {places.min()} to {places.max()}, but V is {len(self)}")
        return str(np.ascontiguousarray(self._codes[places], "<u4").data, "utf-32-le")

    def utf8(self, ids: ArrayLike) -> bytes:
        """Ids (N,) -> the text in UTF-8; raises as `decode` does."""
        places = np.asarray(ids)
        if self._is_ascii and places.dtype == np.uint8 and places.max(initial=0) < len(self):
            return np.take(self._codes.astype(np.uint8), places, mode="clip").tobytes()
        return self._text(places).encode()

    def decoder(self) -> "CharacterDecoder":
        """Return a decoder for a text that comes a piece at a time."""
        return CharacterDecoder(self)

    def count(self, ids: NDArray[np.integer]) -> int:
        """Return how many characters ids (N,) stand for: N."""
        return len(ids)

    def find(self, ids: Ids, cuts: Sequence[int]) -> tuple[int, ...]:
        """Return `cuts`: each character is an id."""
        return tuple(cuts)


@dataclass(frozen=True)
class CharacterDecoder:
    """A Decoder of characters, none of which ends a text."""

    _vocabulary: Vocabulary
    ended: ClassVar[bool] = False

    def add(self, ids: NDArray[np.integer]) -> str:
        """Take the next ids (N,) and return their characters."""
        return self._vocabulary.decode(ids)


def _check(characters: Iterable[object]) -> None:
    previous = ""
    for place, character in enumerate(characters):
        if not isinstance(character, str) or len(character) != 1:
            problem = f"{character!r:.40} is not one character"
        elif "\ud800" <= character <= "\udfff":
            problem = f"{describe(character)} is half a character, a lone surrogate"
        elif character <= previous:
            problem = f"{describe(character)} must come before {describe(previous)}"
        else:
            previous = character
            continue
        message = f"entry {place} of the vocabulary is wrong: {problem}"
        raise CharloomError(message, "damaged", entry=place)


def describe(character: str) -> str:
    """Name a character: 'é' -> "'é' (U+00E9 LATIN SMALL LETTER E WITH ACUTE)"."""
    name = unicodedata.name(character, "")
    return f"{character!r} (U+{ord(character):04X}{' ' + name if name else ''})"
