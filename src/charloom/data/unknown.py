"""The characters of a text that a model has never seen: counted, named and left out."""

from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

import numpy as np

from charloom.data.text import Text
from charloom.data.tokenizer import Tokenizer
from charloom.data.vocabulary import describe
from charloom.errors import CharloomError
from charloom.formatting import count

MOST_NAMED = 8

OnUnknown = Literal["error", "skip"]


class Unknown(NamedTuple):
    """Characters with how often each occurs, the most frequent first.

    `position` is where the first `character` of them is in the text, from 0, `line` from 1.
    """

    counts: dict[str, int]
    character: str
    position: int
    line: int

    def __str__(self) -> str:
        """Return how many there are, and which."""
        named = [
            f"{describe(character)} {'once' if number == 1 else f'{number:,} times'}"
            for character, number in [*self.counts.items()][:MOST_NAMED]
        ]
        rest = len(self.counts) - len(named)
        named += [f"{rest:,} other{'s' * (rest > 1)}"] if rest else []
        return (
            f"{count(sum(self.counts.values()), 'character')} that the model has never seen: "
            + (", ".join(named))
        )


def unknown_characters(text: Text, vocabulary: Tokenizer) -> Unknown | None:
    """Find the characters of a text that are not in a vocabulary; None if all are."""
    characters = vocabulary.unknown(text.alphabet)
    if not characters:
        return None
    codes = np.array([*map(ord, characters)])
    is_unknown = np.zeros(0x110000, np.bool_)
    is_unknown[codes] = True
    counts = np.zeros(len(codes), np.int64)
    first, position, line, read = "", -1, 1, 0
    for piece in text.pieces():
        found = np.frombuffer(piece.encode("utf-32-le", "surrogatepass"), "<u4")
        places = np.flatnonzero(is_unknown[found])
        counts += np.bincount(np.searchsorted(codes, found[places]), minlength=len(codes))
        if not first:
            end = int(places[0]) if len(places) else len(piece)
            line += piece.count("\n", 0, end)
            first, position = piece[end : end + 1], read + end
        read += len(piece)
    order = np.argsort(-counts, kind="stable").tolist()
    return Unknown({characters[i]: int(counts[i]) for i in order}, first, position, line)


def check_known(
    text: Text, vocabulary: Tokenizer, name: str, unknown: OnUnknown | None = None
) -> Unknown | None:
    """Return what of a text, called `name`, is to be left out: with "skip" what is unknown.

    With "error" that raises CharloomError, which names all of it; None is the same for those who
    cannot skip. Raises CharloomError, too, if `unknown` is another word.
    """
    if unknown not in (None, *get_args(OnUnknown)):
        message = f"unknown is {unknown!r}, but it must be {' or '.join(get_args(OnUnknown))}"
        raise CharloomError(message, "bad-setting", field="unknown")
    found = unknown_characters(text, vocabulary)
    if found is None or unknown == "skip":
        return found
    option = " with --unknown skip" if unknown else ""
    cure = f"leave them out{option}, or train on text that has them"
    where = f"the first is character {found.position + 1:,} of it, in line {found.line:,}"
    message = f"{name}: {found}; {where}: {cure}"
    facts = {"character": found.character, "position": found.position, "line": found.line}
    raise CharloomError(message, "unknown-character", **facts, counts=found.counts)


def without(text: str, characters: Iterable[str]) -> str:
    """Return a text without some characters."""
    return text.translate(dict.fromkeys(map(ord, characters)))
