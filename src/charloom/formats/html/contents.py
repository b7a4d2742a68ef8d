"""A model in; what a page says of it, and its arrays as text, out: what assets/page/model.js opens.

Arrays stand one behind another, little endian, compressed as gzip does, in base64.
"""

import base64
import gzip
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charloom.formats.html.pruning import Pruned
from charloom.models.ngram import NgramModel

Arrays = dict[str, NDArray[Any]]

_TYPES = {"i1": "<i1", "u1": "<u1", "u2": "<u2", "u4": "<u4", "f4": "<f4"}


class Packed(NamedTuple):
    """The name, type and length of each array, and their text."""

    arrays: list[tuple[str, str, int]]
    text: str


def pack(arrays: Arrays) -> Packed:
    """Return arrays as text; each has one of the types that a browser knows."""
    listed = [(name, array.dtype.str[1:], array.size) for name, array in arrays.items()]
    content = b"".join(
        np.ascontiguousarray(arrays[name], _TYPES[kind]).tobytes() for name, kind, _ in listed
    )
    packed = gzip.compress(content, 9, mtime=0)  # no time: the same run makes the same file
    return Packed(listed, base64.b64encode(packed).decode("ascii"))


def counted(model: NgramModel) -> Arrays:
    """Return the arrays of an n-gram model, without those of the empty n-gram, as ngram.js says."""
    trie = model.trie
    shape = {
        "children": _small(np.diff(trie.first)),
        "character": _small(trie.character[1:]),
    }
    if isinstance(model, Pruned):
        return shape | {"code": model.codes[1:]}
    return shape | {
        "weight": trie.weight[1:].astype(np.float32),
        "wholeWeight": trie.whole_weight[1:].astype(np.float32),
    }


def _small(values: NDArray[np.integer]) -> NDArray[np.integer]:
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))
