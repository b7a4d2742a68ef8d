"""The characters of a model in the order of its ids: from a file beside it, or from its text."""

import json
from typing import Any

from charloom.data.boundary import BOUNDARY
from charloom.data.text import Text
from charloom.formats.old.found import MalformedError, characters
from charloom.formats.old.pickled import read_pickle

BOUND = "<s>"  # textgenrnn's, before and behind each of its texts


def read_vocabulary(content: bytes) -> tuple[str, ...] | bytes:
    """Return the characters in a pickle or in JSON; raises MalformedError and RefusedError.

    They are a list, a map of characters to ids or of ids to characters, or beside others in one.
    """
    if content[:1] in (b"{", b"[") and not content.endswith(b"."):
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            raise MalformedError("it is not JSON") from None
    else:
        document = read_pickle(content)
    found = _characters(document)
    if found is None:
        raise MalformedError("it holds no list of characters")
    return characters([_character(token) for token in found])


def _characters(document: Any) -> list[Any] | None:
    """Find a list of single characters, or a map of them, in a document or one level below."""
    for part in (document, *_parts(document)):
        if isinstance(part, list | tuple) and part and all(_is_character(one) for one in part):
            return [*part]
        if isinstance(part, dict):
            for pairs in (part.items(), [(value, key) for key, value in part.items()]):
                ids = {_id(value): token for token, value in pairs}
                first = min((id_ for id_ in ids if id_ is not None), default=-1)
                wanted = range(first, first + len(part))
                if (
                    first in (0, 1)
                    and {*ids} == {*wanted}
                    and all(map(_is_character, ids.values()))
                ):
                    return [ids[number] for number in wanted]
    return None


def _parts(document: Any) -> list[Any]:
    if isinstance(document, dict):
        named = [document.get(name) for name in ("idx_to_token", "itos", "int2char", "chars")]
        return [part for part in named if part is not None]
    return [*document] if isinstance(document, list | tuple) else []


def _is_character(token: Any) -> bool:
    return (isinstance(token, str | bytes) and len(token) == 1) or (
        isinstance(token, str) and (token == BOUND or _byte(token) is not None)
    )


def _byte(token: str) -> int | None:
    """Return the byte that torch-rnn's preprocessing writes as "[237]"; None for anything else."""
    digits = token[1:-1]
    if len(token) == 5 and token == f"[{digits}]" and digits.isascii() and digits.isdecimal():
        return int(digits) if 128 <= int(digits) < 256 else None
    return None


def _character(token: str | bytes) -> str | int:
    if isinstance(token, bytes):
        return token.decode() if token < b"\x80" else token[0]
    if token == BOUND:
        return BOUNDARY
    return token if len(token) == 1 else (_byte(token) or 0)


def _id(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def of_lines(text: Text) -> tuple[str, ...]:
    """Return the line end and the sorted characters of a text's lines, without spaces around."""
    return ("\n", *sorted({*"".join(line.strip() for line in text.content.splitlines())}))


def of_text(text: Text, size: int) -> tuple[tuple[str, ...], bool] | None:
    """Return the sorted characters of a text, and whether in lower case; None if not so many."""
    lowered = tuple(sorted({*"".join(text.alphabet).lower()}))
    if len(lowered) == size:
        return lowered, True
    return (text.alphabet, False) if len(text.alphabet) == size else None
