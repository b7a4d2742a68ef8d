"""Which column of a table has the text, and which its title, author and date."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]

PROSE = 20  # characters, at least, of what is text although its column is not called so

TEXTS = (
    *("text", "content", "contents", "body", "full_text", "message", "selftext", "post", "story"),
    *("lyrics", "lyric", "poem", "tweet", "toot", "review", "comment", "article", "chapter"),
    *("transcript", "dialogue", "dialog", "utterance", "line", "sentence", "quote", "joke"),
    *("texte", "texto", "testo", "tekst", "inhalt", "nachricht", "mensaje", "mensagem", "текст"),
    *("plot", "recipe", "instructions", "essay", "document", "paragraph", "entry", "note"),
    *("caption", "abstract", "summary", "description", "answer", "question", "txt"),
)
TITLES = ("title", "headline", "subject", "song", "track", "titel", "titre", "titulo", "titolo")
AUTHORS = (
    *("author", "artist", "poet", "creator", "username", "user", "from", "sender", "speaker"),
    *("by", "screen_name", "character", "autor", "auteur", "autore"),
)
DATES = (
    *("date", "created_at", "published", "published_at", "pubdate", "timestamp", "datetime"),
    *("created", "created_utc", "time", "year", "datum", "fecha"),
)
_SURE = TEXTS[:15]  # called so, hardly anything is not text
_WORDS = re.compile(r"[^\W_]+?(?=[A-Z][a-z]|[\W_]|$)")


def columns_of(sample: Iterable[Row]) -> list[str]:
    """Return the names of all columns, with a dot those of objects in objects."""
    found: dict[str, None] = {}
    for row in sample:
        for key, value in row.items():
            below = value if isinstance(value, dict) else None
            found |= dict.fromkeys([f"{key}.{name}" for name in below] if below else [key])
    return list(found)


def value_of(row: Row, column: str) -> object:
    """Return what is in a column, None if there is nothing."""
    if column in row:
        return row[column]
    above, _, below = column.partition(".")
    value = row.get(above)
    return value.get(below) if isinstance(value, dict) else None


def text_column(sample: Sequence[Row]) -> str:
    """Return the column that has the text: by its name, or else the longest prose, if any."""
    lengths = {column: _length(sample, column) for column in columns_of(sample)}
    strings = [column for column, length in lengths.items() if length]
    if named := called(strings, TEXTS):
        return named
    longest = max(strings, key=lambda column: lengths[column], default="")
    return longest if longest and (len(lengths) == 1 or lengths[longest] >= PROSE) else ""


def is_prose(sample: Sequence[Row]) -> bool:
    """Whether a table has a text in it for sure, for what may be settings or results of tests."""
    prose = [column for column in columns_of(sample) if _length(sample, column) >= PROSE]
    return called(prose, _SURE) != ""


def called(columns: Iterable[str], names: Sequence[str]) -> str:
    """Return the column with the first of these names, or else one whose last word is; or ""."""
    columns = list(columns)
    for form in (_plain, _last_word):
        known = {form(column): column for column in reversed(columns)}
        for name in names:
            if name in known:
                return known[name]
    return ""


def _plain(column: str) -> str:
    return column.strip().lower()


def _last_word(column: str) -> str:
    words: list[str] = _WORDS.findall(column)
    return words[-1].lower() if words else ""


def _length(sample: Iterable[Row], column: str) -> float:
    """Return the mean length of a column's strings: 0 if they are not words, 1 if single ones."""
    found = (value_of(row, column) for row in sample)
    values = [value for value in found if isinstance(value, str) and value.strip()]
    words = [value for value in values if any(map(str.isalpha, value)) and "://" not in value[:9]]
    if not words or 2 * len(words) < len(values):
        return 0
    several = sum(" " in value or not value.isascii() for value in words)
    return sum(map(len, words)) / len(words) if 2 * several >= len(words) else 1
