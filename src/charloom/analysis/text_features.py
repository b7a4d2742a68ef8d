"""Simple features of a text, one number for each character: what a cell may turn out to follow.

They are of the characters up to and with the one at a place, as a cell has read them, too.
"""

import unicodedata
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FEWEST = 20  # characters for which a yes-or-no feature must be true, and false

OPENING = {"“": "”", "«": "»", "„": "“"}  # quotation marks that say which end they are
BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
DEEPEST = 10  # an opened bracket that nobody closes should not count for ever

Codes = NDArray[np.uint32]
Values = NDArray[np.float64]


def features(text: str) -> dict[str, Values]:
    """Return the features (N,) of a text of N characters, by name; yes is 1 and no is 0.

    "position in line" counts from the line break, which is 0, and the first character of a line,
    which is 1; "position in word" from the last white space. "in capitals" holds from the second
    capital in a row on. "inside quotes" is from an opening quotation mark up to the closing one,
    or to the end of the paragraph, where a lone mark would turn all that follows; apostrophes are
    none. "bracket depth" is of (, [ and {. "indentation" is of the line, in white space at its
    beginning.
    """
    N = len(text)
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
        "indentation": _indentation(is_space & ~is_break, is_break),
    }
    assert all(values.shape == (N,) for values in found.values())
    return {name: values.astype(np.float64) for name, values in found.items()}


def varies(values: Values) -> bool:
    """Whether a feature says enough on a text: its commonest value, and others, 20 times each."""
    _, counts = np.unique(values, return_counts=True)
    return len(values) - int(counts.max(initial=0)) >= FEWEST and counts.max() >= FEWEST


def _where(text: str, holds: Callable[[str], bool]) -> NDArray[np.bool_]:
    """Whether it holds of each character: asked once for each different one."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    different, places = np.unique(codes, return_inverse=True)
    return np.array([holds(chr(code)) for code in different.tolist()], np.bool_)[places]


def _is_vowel(character: str) -> bool:
    return unicodedata.normalize("NFD", character)[0].lower() in "aeiou"


def _since(marks: NDArray[np.bool_]) -> NDArray[np.intp]:
    """How many characters ago the last mark was (0 at a mark); as if one stood before the text."""
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
    depth = np.zeros(len(text), np.int64)
    now = 0
    for place, character in enumerate(text):
        if character in BRACKETS:
            now = min(DEEPEST, max(0, now + BRACKETS[character]))
        depth[place] = now
    return depth


def _indentation(is_space: NDArray[np.bool_], is_break: NDArray[np.bool_]) -> NDArray[np.int64]:
    """White space at the beginning of the line so far."""
    inner = np.where(is_space, 0, 1)
    inner[is_break] = 0
    text_before = np.cumsum(inner)
    places = np.arange(len(inner))
    begin = np.maximum.accumulate(np.where(is_break, places, -1))  # its line break, or -1
    at_begin = np.append(text_before, 0)[begin]  # what had been before the line; index -1 is the 0
    leading = is_space & (text_before == at_begin)
    spaces = np.cumsum(leading)
    spaces_before: NDArray[np.int64] = np.append(spaces, 0)[begin]
    return spaces - spaces_before
