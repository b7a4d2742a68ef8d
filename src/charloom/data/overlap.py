"""How much of one text stands word for word in another, by hashes of all its passages."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from charloom.data.tokenizer import Ids

WINDOW = 64  # characters in a row that two authors hardly ever share; a power of 2
MAX_WINDOWS = 2**16  # of a text that are looked for; of a longer one, every so many
_BASE = 0x9E3779B97F4A7C15  # odd
_FILTER_BITS = 20


def overlap(text: Ids, source: Iterable[Ids]) -> float:
    """Return the share of the passages of `text` (N,) that are in `source`, from 0 to 1.

    Both are code points or ids. A passage is 64 of them in a row, or fewer if the text is shorter.
    `source` comes a piece at a time, and passages that reach from one to the next count. Passages
    are found by a hash of 64 bits (Karp & Rabin 1987).
    """
    window = WINDOW
    while window > len(text):
        window //= 2
    if not window:
        return 0.0
    hashes = rolling_hashes(text, window)
    wanted, times = np.unique(hashes[:: -(-len(hashes) // MAX_WINDOWS)], return_counts=True)
    may_be = np.zeros(2**_FILTER_BITS, np.bool_)  # most passages are ruled out without a search
    may_be[_short(wanted)] = True
    found = np.zeros(len(wanted), np.bool_)
    end = np.empty(0, np.int64)
    for piece in source:
        end = np.concatenate([end, piece])
        if len(end) >= window:
            hashes = rolling_hashes(end, window)
            end = end[len(hashes) :]
            here = hashes[may_be[_short(hashes)]]
            places = np.minimum(np.searchsorted(wanted, here), len(wanted) - 1)
            found[places[wanted[places] == here]] = True
    return float(times[found].sum() / times.sum())


def code_points(text: str) -> NDArray[np.uint32]:
    """Text -> the numbers (N,) of its characters in Unicode."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _short(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return hashes >> np.uint64(64 - _FILTER_BITS)


def rolling_hashes(text: Ids, window: int) -> NDArray[np.uint64]:
    """Text (N,) -> (N - window + 1,), modulo 2^64; a window is put together from powers of 2.

    h(ab) = h(a) BASE^|b| + h(b)
    """
    powers = text.astype(np.uint64) + np.uint64(1)
    size, factor = 1, _BASE  # of each of these, and BASE^size
    found, length, shift = np.zeros(len(text) + 1, np.uint64), 0, 1
    while length < window:
        if window & size:
            found = powers[: len(powers) - length] * np.uint64(shift) + found[size:]
            length, shift = length + size, shift * factor % 2**64
        if length < window:
            powers = powers[:-size] * np.uint64(factor) + powers[size:]
            size, factor = 2 * size, factor * factor % 2**64
    return found
