"""Simple features of a text, one number for each character, that a cell may correlate with.

Each is computed from the characters up to and including its own, which is all that a cell knows.
"""

import unicodedata
from collections.abc import Callable
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

MIN_OCCURRENCES = 20  # of a feature's commonest value, and of all others

OPENING = {"“": "”", "«": "»", "„": "“"}  # quotation marks that say which end they are
BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
MAX_DEPTH = 10  # so that brackets that are never closed do not add up

Values = NDArray[np.float64]


def features(text: str) -> dict[str, Values]:
    """Return the features (N,) of a text of N characters, by name; yes is 1 and no is 0.

    "position in line" is 0 for a line break and 1 for the first character of a line; "position in
    word" counts from the last white space. "in capitals" holds from the second capital in a row
    on. "inside quotes" is from an opening quotation mark up to the closing one, or to the end of
    the paragraph if there is none; apostrophes are no quotation marks. "bracket depth" counts
    (, [ and {. "indentation" is how much white space the line begins with.
    """
    is_break = _where(text, lambda c: c == "\n")
    is_space = _where(text, str.isspace)
    is_capital = _where(text, str.isupper)
    line = _since(is_break)
    found = {
        "position in line": line,
        "position in line, log": np.log1p(line),
        "new line": is_break,
        "first of a line": line == 1,
        "position in word": _since(is_space),
        "space": is_space & ~is_break,
        "vowel": _where(text, _is_vowel),
        "capital": is_capital,
        "in capitals": is_capital & np.append(False, is_capital[:-1]),
        "digit": _where(text, str.isdigit),
        "punctuation": _where(text, lambda c: unicodedata.category(c)[0] == "P"),
        "inside quotes": _inside_quotes(text),
        "bracket depth": _bracket_depth(text),
        "indentation": _indentation(is_break, is_space),
    }
    return {name: values.astype(np.float64) for name, values in found.items()}


def varies(values: Values) -> bool:
    """Return whether a feature varies enough: its commonest value, and others, 20 times each."""
    commonest = int(np.unique(values, return_counts=True)[1].max(initial=0))
    return min(commonest, len(values) - commonest) >= MIN_OCCURRENCES


def _where(text: str, holds: Callable[[str], bool]) -> NDArray[np.bool_]:
    """Return whether `holds` is true of each character (N,); asked once for each different one."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    different, places = np.unique(codes, return_inverse=True)
    return np.array([holds(chr(code)) for code in different.tolist()], np.bool_)[places]


def _is_vowel(character: str) -> bool:
    return unicodedata.normalize("NFD", character)[0].lower() in "aeiou"


def _since(marks: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return how many characters ago the last mark was, 0 at a mark; one is before the text."""
    places = np.arange(len(marks))
    last: NDArray[np.intp] = np.maximum.accumulate(np.where(marks, places, -1))
    return places - last


def _inside_quotes(text: str) -> NDArray[np.bool_]:
    inside = np.zeros(len(text), np.bool_)
    closing, before = "", ""
    for place, character in enumerate(text):
        if closing and (character == closing or character == before == "\n"):
            closing = ""
        elif not closing and character == '"':
            closing = character
        elif not closing:
            closing = OPENING.get(character, "")
        inside[place] = bool(closing)
        before = character
    return inside


def _bracket_depth(text: str) -> NDArray[np.int64]:
    steps = (BRACKETS.get(character, 0) for character in text)
    depths = accumulate(steps, lambda d, step: min(MAX_DEPTH, max(0, d + step)), initial=0)
    return np.fromiter(depths, np.int64)[1:]


def _indentation(is_break: NDArray[np.bool_], is_space: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return how much white space the line so far begins with."""
    N, places = len(is_break), np.arange(len(is_break))
    begins = places - _since(is_break) + 1
    next_word = np.minimum.accumulate(np.append(np.where(is_space, N, places), N)[::-1])[::-1]
    found: NDArray[np.intp] = np.minimum(places + 1, next_word[begins]) - begins
    return found
