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

SHINGLE = 12  # characters: fewer are common, and of more an edit spoils too many
SKETCH = 256  # hashes of a document
LIKE = 0.25  # from which on two documents are much alike: 5% of the characters changed give 0.37
NEARLY = 0.5  # from which on they are nearly the same: 5% of the words changed give 0.78
SHORT = 64  # characters: documents that are shorter are not compared, except exactly
MOST_DOCUMENTS = 2**17  # that are compared nearly: 256 MiB of hashes
LOOKED_UP = 64  # of a document's hashes, by which others like it are found
CROWD = 20  # documents that share a hash, above which each is compared only with the first
TRIES = 10  # documents, at most, that one is compared with: those that share most hashes
PASSAGE = 500  # characters, from which on a repeated passage is long
ANCHOR = 64  # characters
ANCHORS = 6  # bits: one of 64 windows is looked for, chosen by what it says

Hashes = NDArray[np.uint64]


class Pair(NamedTuple):
    """Two documents by number, first < second, and how alike they are: 1 if they are equal."""

    first: int
    second: int
    likeness: float


class Documents:
    """Compares documents that are added one by one; their texts are not kept."""

    def __init__(self) -> None:
        self.count = 0
        self._exact: dict[bytes, int] = {}
        self._copies = list[Pair]()
        self._numbers, self._sketches = array("q"), list[Hashes]()

    def add(self, text: str) -> int | None:
        """Add a document; return the number of an equal one before it, if there is one.

        White space at the ends does not matter.
        """
        number, text = self.count, text.strip()
        self.count += 1
        original = self._exact.setdefault(digest(text), number)
        if original != number:
            self._copies.append(Pair(original, number, 1.0))
            return original
        if len(text) >= SHORT and len(self._sketches) < MOST_DOCUMENTS:
            self._numbers.append(number)
            self._sketches.append(sketch(text))
        return None

    def equal(self) -> list[Pair]:
        """Return each copy with the first document that it is equal to."""
        return self._copies

    def near(self) -> list[Pair]:
        """Return each document that is much like one before it, with that one.

        The most alike come first.
        """
        found, tried = dict[int, Pair](), Counter[int]()
        for one, two in _candidates(self._sketches):
            if two in found or tried[two] == TRIES:
                continue
            tried[two] += 1
            alike = likeness(self._sketches[one], self._sketches[two])
            if alike >= LIKE:
                found[two] = Pair(self._numbers[one], self._numbers[two], alike)
        return sorted(found.values(), key=lambda pair: (-pair.likeness, pair.first, pair.second))


def digest(text: str) -> bytes:
    """Return 16 bytes that texts share if they are equal but for white space at the ends."""
    return blake2b(text.strip().encode("utf-8", "surrogatepass"), digest_size=16).digest()


def sketch(text: str) -> Hashes:
    """Return the 256 smallest hashes of a text's passages of 12 characters, sorted.

    They are all of them if it has no more, and none if it is shorter than 12.
    """
    if len(text) < SHINGLE:
        return np.empty(0, np.uint64)
    hashes = np.unique(_mixed(rolling_hashes(code_points(text), SHINGLE)))
    return hashes[:SKETCH]


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


def _candidates(sketches: list[Hashes]) -> Iterator[tuple[int, int]]:
    """Yield the pairs that share a fifth of the hashes that they would if much alike.

    Those of one document with others before it come with the one that shares most hashes first.
    """
    if len(sketches) < 2:
        return
    sketches = [hashes[:LOOKED_UP] for hashes in sketches]
    sizes = np.array([len(hashes) for hashes in sketches])
    owners = np.repeat(np.arange(len(sketches)), sizes)
    hashes = np.concatenate(sketches)
    order = np.argsort(hashes, kind="stable")
    hashes, owners = hashes[order], owners[order]
    ends = np.flatnonzero(np.append(hashes[1:] != hashes[:-1], True)) + 1
    starts = np.append(0, ends[:-1])
    crowded = ends - starts > CROWD
    keys = [_with_first(owners, starts[crowded], ends[crowded], len(sketches))]
    starts, ends = starts[~crowded], ends[~crowded]
    for place in range(CROWD - 1):
        for other in range(place + 1, CROWD):
            here = starts[starts + other < ends]
            if not len(here):
                break
            keys.append(owners[here + place] * len(sketches) + owners[here + other])
    pairs, times = np.unique(np.concatenate(keys), return_counts=True)
    ones, twos = np.divmod(pairs, len(sketches))
    enough = times >= LIKE / 5 * np.minimum(sizes[ones], sizes[twos])
    ones, twos, times = ones[enough], twos[enough], times[enough]
    order = np.lexsort((ones, -times, twos))
    yield from zip(ones[order].tolist(), twos[order].tolist(), strict=True)


def _with_first(
    owners: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64], documents: int
) -> NDArray[np.int64]:
    """Return the pairs of the first owner of each group with all others in it, as numbers."""
    groups = [owners[start:end] for start, end in zip(starts, ends, strict=True)]
    pairs = [group[0] * documents + group[1:] for group in groups]
    return np.concatenate([np.empty(0, np.int64), *pairs])


def _mixed(hashes: Hashes) -> Hashes:
    """Spread hashes evenly over 64 bits: the last step of SplitMix64 (Steele et al. 2014)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))
