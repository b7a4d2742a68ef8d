"""Suffix arrays: where a passage of one text occurs in another.

A suffix array holds the places of a text in the order of what begins there (Manber & Myers 1990),
so that all occurrences of a passage lie side by side.
"""

from array import array
from bisect import bisect_left, bisect_right
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charloom.errors import CharloomError

LARGEST = 2**25  # characters in all: sorting takes about 75 bytes for each

Places = NDArray[np.int32]
Wide = NDArray[np.signedinteger[Any]]


class Matches(NamedTuple):
    """For each place of a text (m,), the longest passage from there that the source holds too."""

    length: Places  # (m,) characters; 0 if the source has not even the first
    place: Places  # (m,) where such a passage begins in the source; -1 if length is 0


def suffix_array(text: str, depth: int | None = None) -> Places:
    """Return the places (n,) of a text in the order of its suffixes; one that ends is the least.

    The order is that of code points. With `depth`, no more than so many characters of each need
    be in order. With `pydivsufsort` installed it is found in a fifth of the time. Raises
    CharloomError if the text is longer than 33,554,432 characters.
    """
    ids, V = _ids(text)
    return _sorted(ids, V, depth)


def match(text: str, source: str) -> Matches:
    """Find, for each place of `text`, the longest passage from there that `source` holds too.

    Those are the matching statistics of Chang & Lawler 1994. Both texts are sorted as one; the
    longest match is with one of the two suffixes of the source that stand next to the place's
    own, and one character on it is shorter by 1 at most, so that each is compared only once
    (Kasai et al. 2001). Raises CharloomError if both together are too long.
    """
    if not text or not source:
        return Matches(np.zeros(len(text), np.int32), np.full(len(text), -1, np.int32))
    ids, V = _ids(text, source)
    neighbours = _neighbours(_sorted(ids, V, None), len(text))
    above, below = (_lengths(text, source, places) for places in neighbours)
    length = np.maximum(above, below)
    place = np.where(above >= below, *neighbours)
    return Matches(length, np.where(length > 0, place, -1).astype(np.int32))


class Continuations:
    """What comes after a passage of `depth` characters wherever a source holds it."""

    def __init__(self, source: str, depth: int) -> None:
        self.source, self.depth = source, depth
        self._places = array("i", suffix_array(source, depth + 1).tobytes())

    def holds(self, passage: str) -> bool:
        """Whether the source has `passage`, of `depth` + 1 characters."""
        places, source, length = self._places, self.source, self.depth + 1
        here = bisect_left(places, passage, key=lambda i: source[i : i + length])
        return here < len(places) and source.startswith(passage, places[here])

    def after(self, passage: str) -> set[str]:
        """Return each character that follows `passage`, of `depth` characters, in the source."""
        places, source, depth = self._places, self.source, self.depth
        here = bisect_left(places, passage, key=lambda i: source[i : i + depth])
        found = set()
        while here < len(places):
            longer = source[places[here] : places[here] + depth + 1]
            if not longer.startswith(passage):
                break
            found.add(longer[depth:])
            here = bisect_right(places, longer, here, key=lambda i: source[i : i + depth + 1])
        return found - {""}


def _ids(*texts: str) -> tuple[NDArray[np.int32], int]:
    """Texts -> ids (N,) from 1 to V in the order of code points, and V; a 0 between two texts."""
    total = sum(map(len, texts)) + len(texts) - 1
    if total > LARGEST:
        message = (
            f"{total:,} characters are too many to search for copies: take a part of the text, "
            f"at most {LARGEST:,}"
        )
        raise CharloomError(message, "unsupported", characters=total, limit=LARGEST)
    codes = [np.frombuffer(t.encode("utf-32-le", "surrogatepass"), "<u4") for t in texts]
    highest = max((int(part.max()) for part in codes if len(part)), default=0)
    seen = np.zeros(highest + 2, np.int32)  # of code point + 1
    for part in codes:
        seen[part + 1] = 1
    numbers = np.cumsum(seen, dtype=np.int32)
    ids = np.zeros(max(0, total), np.int32)
    start = 0
    for part in codes:
        ids[start : start + len(part)] = numbers[part + 1]
        start += len(part) + 1
    return ids, int(numbers[-1])


def _sorted(ids: NDArray[np.int32], V: int, depth: int | None) -> Places:
    """Ids (N,) in [0, V] -> their suffix array, by `pydivsufsort` where it can."""
    if V < 2**8 and len(ids) > 1 and (sort := _divsufsort()):
        places: Places = sort(ids.astype(np.uint8))
        return places
    return double(ids, V, depth)


def _divsufsort() -> Any:
    try:
        from pydivsufsort import divsufsort
    except ImportError:
        return None
    return divsufsort


def double(ids: Places, V: int, depth: int | None = None) -> Places:
    """Ids (N,) in [0, V] -> their suffix array (N,), by prefix doubling.

    Places are sorted by some ids from there on. Those that are alike are sorted by the rank of
    what comes so far behind them, which doubles the length that is in order, until all differ
    (Larsson & Sadakane 1999) or `depth` is reached.
    """
    N = len(ids)
    first, second, length = _packed(ids, V)
    places, differs = _order(first, second, N)
    slots = np.arange(N, dtype=np.int32)  # of what is not yet in its place, in the array
    rank = np.empty(N + 1, np.int32)
    rank[N] = -1  # past the end
    own = places
    while True:
        begins = np.append(True, differs)[:N]  # of those that are alike
        rank[own] = np.maximum.accumulate(np.where(begins, slots, 0))
        slots = slots[~(begins & np.append(begins[1:], True)[:N])]
        if not len(slots) or (depth is not None and length >= depth):
            return places
        own = places[slots]
        behind = np.minimum(own + np.int64(length), N)
        order, differs = _order(rank[own], rank[behind] + 1, N)
        own = own[order]
        places[slots] = own
        length *= 2


def _order(first: Wide, second: Wide, N: int) -> tuple[Places, NDArray[np.bool_]]:
    """Two keys (n,), n <= N, of as many bits as an index of N leaves free -> the order by both.

    Returns it (n,), and where it has something else than before (n - 1,). NumPy sorts numbers
    several times faster than it sorts places by them.
    """
    keys = _sort(second, N)
    by_second = (keys & ((1 << N.bit_length()) - 1)).astype(np.int32)
    keys >>= N.bit_length()
    again = _sort(first[by_second], N)
    order = (again & ((1 << N.bit_length()) - 1)).astype(np.int32)
    again >>= N.bit_length()
    second = keys[order]
    return by_second[order], (again[1:] != again[:-1]) | (second[1:] != second[:-1])


def _sort(keys: Wide, N: int) -> NDArray[np.int64]:
    """Keys (n,) -> in ascending order, with the place of each in the lowest bits."""
    wide = keys.astype(np.int64)
    wide <<= N.bit_length()
    wide |= np.arange(len(keys), dtype=np.int32)
    wide.sort()
    return wide


def _packed(ids: Places, V: int) -> tuple[Wide, Wide, int]:
    """Pack what comes from each place on into two keys (N,); less is what ends there.

    Each has as many ids as `_order` can sort. Returns them and how many ids are in both.
    """
    N, bits = len(ids), (V + 1).bit_length()
    count = (63 - N.bit_length()) // bits
    keys = np.zeros(N + count, np.int64)
    for j in range(count):
        keys <<= bits
        keys[: max(0, N - j)] += ids[j:] + 1
    return keys[:N], keys[count:], 2 * count


def _neighbours(places: Places, m: int) -> tuple[Places, Places]:
    """For each place (m,) of the first text, the suffixes of the second above and below it.

    They are places in the second text; where there is none, its length.
    """
    N, start = len(places), m + 1
    own = np.flatnonzero(places < m)
    slots = np.arange(N, dtype=np.int32)
    of_source = places >= start
    found = []
    above = np.maximum.accumulate(np.where(of_source, slots, -1))[own]
    below = np.minimum.accumulate(np.where(of_source, slots, N)[::-1])[::-1][own]
    for slot, there in ((above, above >= 0), (below, below < N)):
        places_of = np.full(m, N - start, np.int32)
        places_of[places[own]] = np.where(there, places[slot % N] - start, N - start)
        found.append(places_of)
    return found[0], found[1]


def _lengths(text: str, source: str, places: Places) -> Places:
    """Return how many characters of the text from each place (m,) are those from `places`."""
    lengths = np.empty(len(text), np.int32)
    m, n, k = len(text), len(source), 0
    for i, p in enumerate(places.tolist()):
        while i + k < m and p + k < n and text[i + k] == source[p + k]:
            k += 1
        lengths[i] = k
        if k:
            k -= 1
    return lengths
