"""Characters to ids and back: the alphabet of a model."""

import json
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charloom.errors import CharloomError

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


@dataclass(frozen=True)
class Vocabulary:
    """V distinct characters in the order of their code points; an id is a place in that order.

    Raises CharloomError where `characters` are not that.
    """

    unit: ClassVar[Literal["characters"]] = "characters"

    characters: tuple[str, ...]
    lengths: NDArray[np.int32] = field(init=False, repr=False, compare=False)
    _ids: NDArray[np.int32] = field(init=False, repr=False, compare=False)
    _codes: NDArray[np.uint32] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self.characters)
        codes = np.fromiter(map(ord, self.characters), np.uint32, len(self.characters))
        # Code point -> id. The last entry, one past the largest character, stands for all above it.
        ids = np.full(int(codes.max(initial=0)) + 2, -1, np.int32)
        ids[codes] = np.arange(len(codes), dtype=np.int32)
        object.__setattr__(self, "lengths", np.ones(len(codes), np.int32))
        object.__setattr__(self, "_codes", codes)
        object.__setattr__(self, "_ids", ids)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the characters of `text`; raises CharloomError where it has fewer than two."""
        return cls.from_alphabet(set(text), len(text))

    @classmethod
    def from_alphabet(cls, alphabet: Collection[str], count: int) -> Self:
        """Return the characters of a text of `count` characters, `alphabet` the different ones.

        Raises CharloomError where they are fewer than two.
        """
        characters = tuple(sorted(alphabet))
        if len(characters) < 2:
            held = "empty"
            if characters:
                held = f"{count:,} characters, all of them {describe(characters[0])}"
            raise CharloomError(
                f"the text is {held}: there is nothing to learn, give one with more to it"
            )
        return cls(characters)

    def unknown(self, alphabet: Collection[str]) -> str:
        """Name the first of what is in `alphabet` and not here; empty where all is here."""
        others = sorted({*alphabet} - {*self.characters})
        more = f" and {len(others) - 1:,} more" if len(others) > 1 else ""
        return describe(others[0]) + more if others else ""

    @classmethod
    def from_json(cls, document: str) -> Self:
        """Read what `to_json` wrote; raises CharloomError where it is not a vocabulary."""
        try:
            characters = json.loads(document)
        except (ValueError, RecursionError) as error:
            raise CharloomError(
                f"the vocabulary is not JSON ({error}): the file is damaged"
            ) from None
        if not isinstance(characters, list):
            raise CharloomError("the vocabulary is not a list of characters: the file is damaged")
        return cls(tuple(characters))

    def to_json(self) -> str:
        """Return the characters as a JSON list, in ASCII, so that no encoding can harm it."""
        return json.dumps(self.characters)

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> NDArray[np.int32]:
        """Text of N characters -> ids (N,); raises UnknownCharacterError."""
        ids = np.empty(len(text), np.int32)
        for start in range(0, len(text), _CHUNK):
            chunk = text[start : start + _CHUNK].encode("utf-32-le", "surrogatepass")
            codes = np.frombuffer(chunk, "<u4")
            part = ids[start : start + _CHUNK]
            np.take(self._ids, codes, out=part, mode="clip")
            if part.min() < 0:
                position = start + int(np.argmax(part < 0))
                raise UnknownCharacterError(text[position], position)
        return ids

    def whole(self, text: str) -> NDArray[np.int32]:
        """Return the ids (N,) of a text from its beginning: those of its characters."""
        return self.encode(text)

    def prompt(self, text: str) -> NDArray[np.int32]:
        """Return the ids (N,), one at least, that a text which goes on from `text` is read from.

        An empty one is a new line, as far as can be told: a line break, or a space where there is
        none here, or else the first character. Raises UnknownCharacterError.
        """
        known = [c for c in ("\n", " ") if c in self.characters]
        return self.encode(text or (known or self.characters)[0])

    def utf8(self, ids: ArrayLike) -> bytes:
        """Ids (N,) -> the text in UTF-8; raises as `decode` does."""
        return self.decode(ids).encode()

    def decoder(self) -> "CharacterDecoder":
        """Return what decodes one text that comes a piece at a time."""
        return CharacterDecoder(self)

    def count(self, ids: NDArray[np.integer]) -> int:
        """Return how many characters ids (N,) stand for: N."""
        return len(ids)

    def find(self, ids: NDArray[np.integer], cuts: Sequence[int]) -> tuple[int, ...]:
        """Return where in ids (N,) each of `cuts` is, a place between characters: there."""
        return tuple(cuts)

    def decode(self, ids: ArrayLike) -> str:
        """Ids (N,) -> text of N characters; raises IndexError where one is not in [0, V)."""
        places = np.asarray(ids)
        if places.dtype.kind not in "iu":
            places = places.astype(np.intp)
        if places.size and (places.min() < 0 or places.max() >= len(self)):
            raise IndexError(f"ids go from {places.min()} to {places.max()}, but V is {len(self)}")
        return str(np.ascontiguousarray(self._codes[places], "<u4").data, "utf-32-le")


@dataclass(frozen=True)
class CharacterDecoder:
    """Ids to text as they come; `ended` is for tokens, some of which say that a text ends."""

    _vocabulary: Vocabulary
    ended: bool = False

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
            problem = f"{describe(character)} is not above {describe(previous)} before it"
        else:
            previous = character
            continue
        raise CharloomError(f"entry {place} of the vocabulary is wrong: {problem}")


def describe(character: str) -> str:
    """Name a character: 'é' -> "'é' (U+00E9 LATIN SMALL LETTER E WITH ACUTE)"."""
    name = unicodedata.name(character, "")
    return f"{character!r} (U+{ord(character):04X}{' ' + name if name else ''})"
