"""Subwords to ids and back: the alphabet of a pretrained model, or one that a run has learned.

A token is a string of bytes; those of a text's tokens, one after another, are its UTF-8. A token
stands for the characters that begin in it, so that a loss over tokens has a mean per character.
"""

import codecs
import json
import math
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charloom.data.boundary import BOUNDARY, visible
from charloom.data.tokenizer import Ids, find
from charloom.data.vocabulary import UnknownCharacterError
from charloom.errors import CharloomError, needs_extra
from charloom.files import one_line

_PIECE = 1 << 20  # characters encoded at once, and about as many more
# No pattern of GPT-2's kind reaches over the end of a word at the end of a line, so a text that is
# cut there has the tokens of the whole.
_CUT = re.compile(r"[^\W\d_](?=\n)")
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_MOST = 2**22  # tokens: the largest vocabularies have a quarter of that
_MOST_FOLD = 2**8  # that normalizing may make a text longer

Json = Any


@dataclass(unsafe_hash=True)
class Subwords:
    """A Tokenizer of V tokens, as a tokenizer.json of Hugging Face's `tokenizers` has them.

    `special` (V,) marks tokens that stand for no bytes and end a text; `begin` (0,) or (1,) is
    the one that is read before a text. A token that is added for the boundary between documents
    is that. Raises CharloomError if `document` is not that, or
    `tokenizers` is not installed.
    """

    unit: ClassVar[Literal["tokens"]] = "tokens"
    characters: ClassVar[tuple[str, ...]] = ()

    document: str = field(repr=False)

    def __post_init__(self) -> None:
        tokenizer = _load(self.document)
        known = json.loads(self.document)
        if known.get("truncation") or known.get("padding"):
            raise _refused("it cuts texts or fills them up")
        if _fold(known.get("normalizer")) > _MOST_FOLD:
            raise _refused("it makes texts much longer")
        added = {token["id"]: token for token in known.get("added_tokens", [])}
        cuts = _names(known.get("pre_tokenizer")) >= {"ByteLevel"}
        to_bytes = _byte_level if cuts or "ByteLevel" in _names(known.get("decoder")) else _plain
        V = max(tokenizer.get_vocab().values(), default=-1) + 1
        if V > _MOST:
            raise _refused(f"it has a token {V - 1:,}")
        contents = [b""] * V
        for token, place in tokenizer.get_vocab().items():
            if place not in added:
                contents[place] = to_bytes(token)
            elif not added[place]["special"]:
                contents[place] = token.encode()
        lengths = [sum(byte & 0xC0 != 0x80 for byte in content) for content in contents]
        self.lengths = np.array(lengths, np.int32)
        self.special = np.array([not content for content in contents])
        begin = tokenizer.encode("").ids
        if len(begin) > 1 or not all(place < V for place in begin):
            raise _refused("it begins a text with other than one of its tokens")
        self.begin = np.array(begin, np.int32)
        tokenizer.encode_special_tokens = True  # a text that spells <|endoftext|> means the letters
        self._bytes, self._tokenizer, self._cuts = contents, tokenizer, cuts
        ends = (place for place, token in added.items() if token["content"] == BOUNDARY)
        self.boundary: int | None = next(ends, None)  # its id

    @classmethod
    def adapt(cls, document: str, begin: Sequence[str | int | None] = ()) -> Self:
        """Take a model's own tokenizer.json, without what would change a text.

        That is cutting, padding, and the space that some put before the first word. The first of
        `begin`, names or ids, that is a special token is read before a text. Raises CharloomError.
        """
        known = json.loads(_load(document).to_str())
        known |= {"truncation": None, "padding": None, "post_processor": None}
        for part in ("normalizer", "pre_tokenizer"):
            known[part] = _without_space(known.get(part))
        special = [(t["id"], t["content"]) for t in known["added_tokens"] if t["special"]]
        firsts = (pair for wanted in begin for pair in special if wanted in pair)
        if first := next(firsts, None):
            known["post_processor"] = _beginning(*first)
        return cls.from_json(json.dumps(known))

    @classmethod
    def from_json(cls, document: str) -> Self:
        """Read what `to_json` wrote; raises CharloomError if it is not a tokenizer."""
        return cls(document)

    def to_json(self) -> str:
        """Return a tokenizer.json, in ASCII."""
        return self.document

    def __len__(self) -> int:
        return len(self.lengths)

    def encode(self, text: str) -> NDArray[np.int32]:
        """Text -> ids (N,), which decode to it; raises UnknownCharacterError."""
        ids = [np.empty(0, np.int32)]
        try:
            content = text.encode()
            for piece in _pieces(text) if self._cuts else [text]:
                encoding = self._tokenizer.encode(piece, add_special_tokens=False)
                ids.append(np.array(encoding.ids, np.int32))
        except UnicodeEncodeError as error:
            raise UnknownCharacterError(text[error.start], error.start) from None
        found = np.concatenate(ids)
        if self.utf8(found) != content:
            raise self._unknown(text, found)
        return found

    def whole(self, text: str) -> NDArray[np.int32]:
        """Return the ids (N,) of a text from its beginning: `begin`, and those of `encode`."""
        return np.concatenate([self.begin, self.encode(text)])

    def prompt(self, text: str) -> NDArray[np.int32]:
        """Return the ids (N,), at least one, of a prompt.

        An empty one becomes a boundary, or a line break if there is none.
        """
        ids = self.whole(text)
        if len(ids):
            return ids
        return self.encode("\n" if self.boundary is None else BOUNDARY)

    def utf8(self, ids: ArrayLike) -> bytes:
        """Ids (N,) -> the text in UTF-8; raises IndexError if one is not in [0, V)."""
        places = np.asarray(ids, np.intp)
        if places.size and (places.min() < 0 or places.max() >= len(self)):
            raise IndexError(f"ids go from {places.min()} to {places.max()}, but V is {len(self)}")
        return b"".join([self._bytes[place] for place in places.tolist()])

    def decode(self, ids: ArrayLike) -> str:
        """Ids (N,) -> text; bytes that are no UTF-8 become U+FFFD. Raises as `utf8` does."""
        text = self.utf8(ids).decode(errors="replace")
        return text if self.boundary is None else visible(text)

    def decoder(self) -> "SubwordDecoder":
        """Return a decoder for a text that comes a piece at a time."""
        return SubwordDecoder(self)

    def count(self, ids: NDArray[np.integer]) -> int:
        """Return how many characters ids (N,) stand for."""
        steps = range(0, len(ids), _PIECE)
        return sum(int(self.lengths[ids[start : start + _PIECE]].sum()) for start in steps)

    def find(self, ids: Ids, cuts: Sequence[int]) -> tuple[int, ...]:
        """Return where in ids (N,), a text's, each of `cuts` is, a place between characters.

        `begin` stands before the first character of each part of a text.
        """
        return tuple(place - len(self.begin) for place in find(ids, cuts, self.lengths))

    def unknown(self, alphabet: Collection[str]) -> tuple[str, ...]:
        """Return the characters of `alphabet` that cannot be encoded, sorted."""
        if self._has("".join(sorted(alphabet))):
            return ()
        return tuple(character for character in sorted(alphabet) if not self._has(character))

    def _has(self, text: str) -> bool:
        try:
            self.encode(text)
        except UnknownCharacterError:
            return False
        return True

    def _unknown(self, text: str, ids: NDArray[np.int32]) -> UnknownCharacterError:
        told = self.decode(ids)
        pairs = enumerate(zip(text, told, strict=False))
        position = next((i for i, (a, b) in pairs if a != b), min(len(told), len(text) - 1))
        return UnknownCharacterError(text[position], position)


class SubwordDecoder:
    """A Decoder of tokens: a character is complete with its last byte.

    A special token ends the text; what follows it is left out.
    """

    def __init__(self, tokens: Subwords) -> None:
        self.ended = False
        self._tokens = tokens
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, ids: NDArray[np.integer]) -> str:
        """Take the next ids (N,) and return the characters that are complete."""
        if self.ended:
            return ""
        ends = np.flatnonzero(self._tokens.special[ids])
        self.ended = len(ends) > 0
        before = ids[: ends[0]] if self.ended else ids
        text = self._utf8.decode(self._tokens.utf8(before), self.ended)
        return text if self._tokens.boundary is None else visible(text)


def needs_tokenizers() -> AbstractContextManager[None]:
    """Raise CharloomError within, if the library is not installed that cuts a text into tokens."""
    return needs_extra("subwords", "a model of tokens")


def _load(document: str) -> Any:
    with needs_tokenizers():
        from tokenizers import Tokenizer
    try:
        return Tokenizer.from_str(document)
    except BaseException as error:  # a panic of the library is none of Python's own kinds
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise CharloomError(f"not a tokenizer.json ({one_line(error)})", "damaged") from None


def _refused(problem: str) -> CharloomError:
    return CharloomError(f"not a tokenizer.json that can be used ({problem})", "damaged")


def _fold(part: Json) -> int:
    """Return how many times as long a normalizer makes a text, at most, by what it replaces."""
    if isinstance(part, list):
        return math.prod(map(_fold, part))
    if not isinstance(part, dict):
        return 1
    fold = _fold(part.get("normalizers"))
    if part.get("type") == "Replace":
        grows = len(part["content"])
        fold *= max(1, grows) if part["pattern"].get("String") else 1 + grows  # or between any two
    return fold


def _names(part: Json) -> set[str]:
    """Return the types of all that a part of a tokenizer.json is put together from."""
    if isinstance(part, list):
        return set().union(*map(_names, part))
    if not isinstance(part, dict):
        return set()
    return {part.get("type", "")}.union(*map(_names, part.values()))


def _without_space(part: Json) -> Json:
    """Return a normalizer or pre-tokenizer that puts nothing before the first word."""
    if isinstance(part, list):
        return [p for p in map(_without_space, part) if p is not None]
    if not isinstance(part, dict):
        return part
    match part.get("type"):
        case "Sequence":
            return {name: _without_space(value) for name, value in part.items()}
        case "Prepend":
            return None
        case "ByteLevel":
            return part | {"add_prefix_space": False}
        case "Metaspace":
            kept = {name: value for name, value in part.items() if name != "add_prefix_space"}
            return kept | {"prepend_scheme": "never"}
    return part


def _beginning(place: int, token: str) -> Json:
    """Return the post-processor that puts a token before the text."""
    text = {"Sequence": {"id": "A", "type_id": 0}}
    special = {"SpecialToken": {"id": token, "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [special, text],
        "pair": [special, text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {token: {"id": token, "ids": [place], "tokens": [token]}},
    }


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while found := _CUT.search(text, start + _PIECE):
        yield text[start : found.end()]
        start = found.end()
    yield text[start:]


def _byte_level(token: str) -> bytes:
    """Read a token whose characters stand for bytes, as in GPT-2's vocab.json (Radford 2019)."""
    if all(character in _BYTES for character in token):
        return bytes(_BYTES[character] for character in token)
    return token.encode()


def _plain(token: str) -> bytes:
    """Read a token as SentencePiece writes it: its sign for a space, <0x0A> for a byte."""
    if found := _BYTE.fullmatch(token):
        return bytes([int(found[1], 16)])
    return token.replace("\u2581", " ").encode()


def _byte_characters() -> dict[str, int]:
    """Return GPT-2's character for each byte: its own if visible, else the next from U+0100."""
    seen = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in seen]
    return {chr(b): b for b in seen} | {chr(0x100 + i): b for i, b in enumerate(others)}


_BYTES = _byte_characters()
