"""How much of a text stands word for word in another: a text that was learned is not held out."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

WINDOW = 64  # characters in a row that two texts of different authors hardly share; a power of 2
MOST = 2**16  # windows of a text that are looked for: of a longer one, every so many
_BASE = 0x9E3779B97F4A7C15  # odd

Hashes = NDArray[np.uint64]


def overlap(text: str, source: Iterable[str]) -> float:
    """Return the share of the passages of `text` that stand in `source`, from 0 to 1.

    A passage is 64 characters in a row, or less where the text is shorter. `source` comes a piece
    at a time, and what reaches from one to the next counts. Passages are found by a hash of 64
    bits (Karp & Rabin 1987).
    """
    window = WINDOW
    while window > len(text):
        window //= 2
    if not window:
        return 0.0
    hashes = _hashes(text, window)
    wanted, times = np.unique(hashes[:: -(-len(hashes) // MOST)], return_counts=True)
    found = np.zeros(len(wanted), np.bool_)
    end = ""
    for piece in source:
        end += piece
        if len(end) >= window:
            here = _hashes(end, window)
            places = np.minimum(np.searchsorted(wanted, here), len(wanted) - 1)
            found[places[wanted[places] == here]] = True
            end = end[len(here) :]
    return float(times[found].sum() / times.sum())


def _hashes(text: str, window: int) -> Hashes:
    """Text (N,) -> (N - window + 1,), modulo 2^64; a window is put together from two halves.

    h(ab) = h(a) BASE^|b| + h(b)
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    hashes = codes.astype(np.uint64) + np.uint64(1)
    length, factor = 1, _BASE
    while length < window:
        hashes = hashes[:-length] * np.uint64(factor) + hashes[length:]
        length, factor = 2 * length, factor * factor % 2**64
    return hashes
