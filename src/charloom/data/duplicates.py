"""Which documents are there twice, exactly or nearly, and which long passages are repeated.

Two documents are alike as far as they have the same passages of 12 characters: the Jaccard index
of the two sets of them. It is estimated from each set's 256 smallest hashes, which are a random
sample of it, the same for equal passages (Broder 1997; bottom-k as in Cohen & Kaplan 2007).
"""

from array import array
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charloom.data.overlap import code_points, rolling_hashes
from charloom.data.spool import Spool

SHINGLE = 12  # characters: fewer are common, and of more an edit spoils too many
SKETCH = 256  # hashes of a document
LIKE = 0.25  # from which on two documents are much alike: 5% of the characters changed give 0.37
NEARLY = 0.5  # from which on they are nearly the same: 5% of the words changed give 0.78
SHORT = 64  # characters: documents that are shorter are not compared, except exactly
SKETCHED_AT_ONCE = 2**18  # characters
MOST_DOCUMENTS = 2**17  # that are compared nearly; a power of 2
LOOKED_UP = 64  # of a document's hashes, by which others like it are found
CROWD = 20  # documents that share a hash, above which each is compared only with the first
PAIRS_AT_ONCE = 2**21  # that are counted: 50 MB of memory
TRIES = 10  # documents, at most, that one is compared with: those that share most hashes
DOCUMENT_READ = 2**24  # characters of one document that it is compared by
PASSAGE = 500  # characters, from which on a repeated passage is long
ANCHOR = 64  # characters
ANCHORS = 6  # bits: one of 64 windows is looked for, chosen by what it says

Hashes = NDArray[np.uint64]
_HASH_BYTES = 8
_OWNER = np.uint64(MOST_DOCUMENTS - 1)  # the bits of a hash that say whose it is


class Pair(NamedTuple):
    """Two documents by number, first < second, and how alike they are: 1 if they are equal."""

    first: int
    second: int
    likeness: float


class Documents:
    """Compares documents that are added one by one; their texts are not kept.

    All are compared exactly, and the first 131,072 different ones nearly, by 64 MiB of hashes in
    memory and 256 MiB on disk; `passed_over` counts the others.
    """

    def __init__(self) -> None:
        self.passed_over = 0
        self._digests = array("Q")  # of every document
        self._sketched = set[int]()
        self._numbers, self._ends = array("q"), array("q", [0])  # of those with a sketch
        self._first = array("Q")  # hashes of each, by which others like it are found
        self._sketches = Spool()

    def add(self, text: str) -> int:
        """Add a document; return a number that equal ones share.

        White space at the ends does not matter.
        """
        number, text = len(self._digests), text.strip()
        said = digest(text)
        self._digests.append(said)
        if len(text) < SHORT or said in self._sketched:
            return said
        if len(self._numbers) == MOST_DOCUMENTS:
            self.passed_over += 1
        else:
            hashes = sketch(text)
            self._sketched.add(said)
            self._numbers.append(number)
            self._first.frombytes(hashes[:LOOKED_UP].tobytes())
            self._sketches.write(hashes.tobytes())
            self._ends.append(self._sketches.size // _HASH_BYTES)
        return said

    def originals(self) -> NDArray[np.int64]:
        """Return for each document (N,) the number of the first one that it is equal to."""
        digests = np.frombuffer(self._digests, np.uint64)
        _, first, which = np.unique(digests, return_index=True, return_inverse=True)
        return first[which]

    def equal(self) -> list[Pair]:
        """Return each copy with the first document that it is equal to."""
        first = self.originals()
        copies = np.flatnonzero(first < np.arange(len(first))).tolist()
        return [Pair(int(first[copy]), copy, 1.0) for copy in copies]

    def near(self) -> list[Pair]:
        """Return each document that is much like one before it, with that one.

        The most alike come first.
        """
        found, tried = dict[int, Pair](), Counter[int]()
        sizes = np.minimum(np.diff(np.frombuffer(self._ends, np.int64)), LOOKED_UP)
        for one, two in _candidates(np.frombuffer(self._first, np.uint64), sizes):
            if two in found or tried[two] == TRIES:
                continue
            tried[two] += 1
            alike = likeness(self._sketch(one), self._sketch(two))
            if alike >= LIKE:
                found[two] = Pair(self._numbers[one], self._numbers[two], alike)
        return sorted(found.values(), key=lambda pair: (-pair.likeness, pair.first, pair.second))

    def _sketch(self, place: int) -> Hashes:
        start, end = self._ends[place] * _HASH_BYTES, self._ends[place + 1] * _HASH_BYTES
        data = self._sketches.read_all(start, end - start)
        return np.frombuffer(data, np.uint64)


def digest(text: str) -> int:
    """Return 64 bits that texts share if they are equal but for white space at the ends."""
    data = text.strip().encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=_HASH_BYTES).digest())


def sketch(text: str) -> Hashes:
    """Return the 256 smallest hashes of a text's passages of 12 characters, sorted.

    They are all of them if it has no more, and none if it is shorter than 12.
    """
    smallest = np.empty(0, np.uint64)
    for start in range(0, len(text) - SHINGLE + 1, SKETCHED_AT_ONCE):
        piece = text[start : start + SKETCHED_AT_ONCE + SHINGLE - 1]
        hashes = _mixed(rolling_hashes(code_points(piece), SHINGLE))
        if len(smallest) == SKETCH:
            hashes = hashes[hashes < smallest[-1]]
        smallest = np.union1d(smallest, hashes)[:SKETCH]
    return smallest


def likeness(one: Hashes, two: Hashes) -> float:
    """Return an estimate of the Jaccard index of two texts, from 0 to 1, by their sketches."""
    both = np.union1d(one, two)[:SKETCH]
    shared = np.intersect1d(one, two, assume_unique=True)
    return float(np.isin(shared, both, assume_unique=True).sum() / max(1, len(both)))


class Passage(NamedTuple):
    """A long passage of a text that stands in it again: both places and its length."""

    place: int
    again: int
    length: int


def repeated_passages(text: str) -> list[Passage]:
    """Return the passages of 500 characters or more that are repeated, in order of `again`.

    No two of them overlap where they stand again. One of 500 characters is missed in one case of
    a thousand, a longer one less often.
    """
    if len(text) < PASSAGE:
        return []
    points = code_points(text)
    hashes = _mixed(rolling_hashes(points, ANCHOR))
    places = np.flatnonzero(hashes >> np.uint64(64 - ANCHORS) == 0)
    _, first, which = np.unique(hashes[places], return_index=True, return_inverse=True)
    earlier = places[first[which]]
    found, end = list[Passage](), 0
    for place, again in zip(earlier.tolist(), places.tolist(), strict=True):
        if place < again and again >= end:
            before = _same(points, place, again, -1, again - end)
            after = _same(points, place, again, 1, len(text) - again)
            if before + after >= PASSAGE:
                found.append(Passage(place - before, again - before, before + after))
                end = again + after
    return found


def _same(points: NDArray[np.uint32], place: int, again: int, step: int, most: int) -> int:
    """Return how many characters from two places on, or before them, are the same."""
    length, size = 0, 256
    most = min(most, place) if step < 0 else most
    while length < most:
        size = min(size, most - length)
        if step > 0:
            one = points[place + length : place + length + size]
            two = points[again + length : again + length + size]
        else:
            one = points[place - length - size : place - length][::-1]
            two = points[again - length - size : again - length][::-1]
        differ = np.flatnonzero(one != two)
        if len(differ):
            return length + int(differ[0])
        length, size = length + size, 2 * size
    return length


def _candidates(hashes: Hashes, sizes: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield the pairs that share a fifth of the hashes that they would if much alike.

    `sizes` (N,) say how many of the hashes each of N documents has, which is in their low bits
    now, so that they are sorted in place. Those of one document with others before it come with
    the one that shares most hashes first.
    """
    N = len(sizes)
    keys = hashes & ~_OWNER
    keys |= np.repeat(np.arange(N, dtype=np.uint64), sizes)
    keys.sort()
    owners = (keys & _OWNER).astype(np.int32)
    keys &= ~_OWNER
    same = np.zeros(len(keys) + 1, np.bool_)  # as the one before
    same[1:-1] = keys[1:] == keys[:-1]
    del keys
    starts = np.flatnonzero(~same[:-1] & same[1:])
    ends = np.flatnonzero(same[:-1] & ~same[1:]) + 1
    times = np.zeros(N, np.int64)
    for _, twos in _sharing(owners, starts, ends):
        np.add.at(times, twos, 1)
    shares = np.cumsum(times) // PAIRS_AT_ONCE
    for share in np.unique(shares):
        first, last = np.searchsorted(shares, share), np.searchsorted(shares, share, "right")
        found = []
        for ones, twos in _sharing(owners, starts, ends):
            here = (twos >= first) & (twos < last)
            found.append(twos[here].astype(np.int64) * N + ones[here])
        yield from _enough(np.concatenate([np.empty(0, np.int64), *found]), sizes)


def _sharing(
    owners: NDArray[np.int32], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Yield pairs of owners that share a hash, the lesser and the greater one of each.

    In a crowd they are the first one and each of the others.
    """
    crowded = ends - starts > CROWD
    for start, end in zip(starts[crowded].tolist(), ends[crowded].tolist(), strict=True):
        yield np.full(end - start - 1, owners[start]), owners[start + 1 : end]
    starts, ends = starts[~crowded], ends[~crowded]
    for place in range(CROWD - 1):
        for other in range(place + 1, CROWD):
            here = starts[starts + other < ends]
            if not len(here):
                break
            yield owners[here + place], owners[here + other]


def _enough(pairs: NDArray[np.int64], sizes: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield the pairs that are there often enough, in the order that `_candidates` says."""
    different, times = np.unique(pairs, return_counts=True)
    twos, ones = np.divmod(different, len(sizes))
    enough = times >= LIKE / 5 * np.minimum(sizes[ones], sizes[twos])
    ones, twos, times = ones[enough], twos[enough], times[enough]
    order = np.lexsort((ones, -times, twos))
    yield from zip(ones[order].tolist(), twos[order].tolist(), strict=True)


def _mixed(hashes: Hashes) -> Hashes:
    """Spread hashes evenly over 64 bits: the last step of SplitMix64 (Steele et al. 2014)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))
