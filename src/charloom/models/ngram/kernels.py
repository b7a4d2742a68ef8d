"""The trie of n-grams, compiled by numba: how it is counted, linked and read.

Nodes are n-grams, numbered by length, then parent, then last character; 0 is the empty one.
The first C nodes are contexts: shorter than the model's order, so they may have children. The
state of a text is a context; ~context, below 0, says that this is the whole text so far, and
shorter than the model looks back.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charloom.models.draw_kernel import draw, draw_by
from charloom.models.jit import allocating_kernel as kernel
from charloom.models.ngram.smoothing import Floats, Integers


class Trie(NamedTuple):
    """What reading needs: n-grams by number, and the two terms of the smoothing."""

    first: Integers  # (C + 1,) the children of context h are first[h] .. first[h + 1] - 1
    character: Integers  # (M,) the n-gram's last character
    suffix: Integers  # (M,) the n-gram without its first character
    weight: Floats  # (M,) its own share of P(last character | those before)
    backoff: Floats  # (C,) the share of that probability which its suffix decides
    whole_weight: Floats  # (C,) the same for a context that is the whole text so far
    whole_backoff: Floats  # (C',) of the contexts that are shorter than order - 1


@kernel
def tally(keys: NDArray[np.int64], bits: int, order: int) -> tuple[Integers, Integers, Integers]:
    """Count every n-gram of up to `order` characters with which one of sorted keys (N,) begins.

    A key is `order` numbers of so many bits, each a character's id + 1, or 0 beyond the text's end.
    Returns how many children each context has, and the character and count of each n-gram.
    """
    grams = np.zeros(order + 1, np.int64)  # of each length
    grams[0] = 1
    before = 0
    for key in keys:
        for k in range(_same(before, key, bits, order), order):
            grams[k + 1] += _number(key, bits, order, k) > 0
        before = key
    latest = np.cumsum(grams) - grams - 1  # of each length, the one that was met last
    latest[0] = 0
    children = np.zeros(grams[:-1].sum(), np.int32)
    character = np.empty(grams[1:].sum(), np.int32)
    count = np.zeros(grams[1:].sum(), np.int32)
    before = 0
    for key in keys:
        same = _same(before, key, bits, order)
        for k in range(order):
            number = _number(key, bits, order, k)
            if number == 0:
                break
            if k >= same:
                children[latest[k]] += 1
                latest[k + 1] += 1
                character[latest[k + 1] - 1] = number - 1
            count[latest[k + 1] - 1] += 1
        before = key
    return children, character, count


@kernel
def _number(key: int, bits: int, order: int, k: int) -> int:
    return (key >> bits * (order - 1 - k)) & ((1 << bits) - 1)


@kernel
def _same(key: int, other: int, bits: int, order: int) -> int:
    """Return how many numbers two keys both begin with."""
    for k in range(order):
        if key >> bits * k == other >> bits * k:
            return order - k
    return 0


@kernel
def lengthen(
    ids: Integers, positions: Integers, gram: Integers, length: int, grams: int
) -> tuple[Integers, Integers, Integers]:
    """Count every n-gram of `length` together with the character that follows it.

    gram[i] of gram (N,) is the rank of ids[i : i + length] among the `grams` different ones; it is
    overwritten with the rank at length + 1. Returns how many children each n-gram has (grams,),
    and the character and count of each child. A parent meets its children in sorted order,
    because `positions` are sorted by character.
    """
    last = np.full(grams, -1, np.int32)
    children = np.zeros(grams, np.int32)
    for end in positions:
        if end >= length:
            parent, c = gram[end - length], ids[end]
            if last[parent] != c:
                last[parent] = c
                children[parent] += 1
    newest = np.cumsum(children) - children - 1
    last[:] = -1
    size = children.sum()
    character = np.empty(size, np.int32)
    count = np.zeros(size, np.int32)
    for end in positions:
        if end >= length:
            parent, c = gram[end - length], ids[end]
            if last[parent] != c:
                last[parent] = c
                newest[parent] += 1
                character[newest[parent]] = c
            child = newest[parent]
            gram[end - length] = child
            count[child] += 1
    return children, character, count


@kernel
def child(first: Integers, character: Integers, node: int, c: int) -> int:
    """Return the n-gram that is `node` followed by `c`, or -1: a binary search."""
    low, high = first[node], first[node + 1]
    end = high
    while low < high:
        middle = (low + high) // 2
        if character[middle] < c:
            low = middle + 1
        else:
            high = middle
    return low if low < end and character[low] == c else -1


@kernel
def link(first: Integers, character: Integers) -> Integers:
    """Return each n-gram's suffix (M,); -1 if the trie does not have it.

    suffix(hc) = suffix(h)c, and a shorter n-gram has a lower number.
    """
    suffix = np.zeros(character.size, np.int32)
    for node in range(1, first.size - 1):
        for j in range(first[node], first[node + 1]):
            shorter = suffix[node]
            suffix[j] = -1 if shorter < 0 else child(first, character, shorter, character[j])
    return suffix


@kernel
def follow(trie: Trie, state: int, c: int) -> int:
    """Return the state after `c`: the longest known context that the text so far ends with."""
    context = ~state if state < 0 else state
    node = child(trie.first, trie.character, context, c)
    if state < 0 and 0 <= node < trie.whole_backoff.size:
        return ~node
    while node < 0 and context > 0:
        context = trie.suffix[context]
        node = child(trie.first, trie.character, context, c)
    if node < 0:
        return 0
    return node if node < trie.backoff.size else trie.suffix[node]


@kernel
def predict(trie: Trie, state: int, out: Floats) -> None:
    """Write P(c | state) to out (V,).

    P(c | h) = weight(hc) + backoff(h) P(c | suffix of h), and 1/V below the empty context.
    """
    out[:] = 0
    share = 1.0
    weight, backoff = trie.weight, trie.backoff
    if state < 0:
        weight, backoff = trie.whole_weight, trie.whole_backoff
    context = ~state if state < 0 else state
    while True:
        for j in range(trie.first[context], trie.first[context + 1]):
            out[trie.character[j]] += share * weight[j]
        share *= backoff[context]
        weight, backoff = trie.weight, trie.backoff
        if context == 0 or share == 0:
            break
        context = trie.suffix[context]
    out += share / out.size


@kernel
def read(trie: Trie, ids: Integers, states: Integers, out: Floats) -> Integers:
    """Write log P after each of ids (B, T) to out (B, T, V); return the states (B,) after."""
    after = states.copy()
    for b in range(ids.shape[0]):
        for t in range(ids.shape[1]):
            after[b] = follow(trie, after[b], ids[b, t])
            predict(trie, after[b], out[b, t])
            for c in range(out.shape[2]):  # an array in one go takes 2 seconds to compile
                out[b, t, c] = np.log(out[b, t, c])
    return after


@kernel
def generate(
    trie: Trie,
    ids: Integers,
    states: Integers,
    uniforms: Floats,
    filters: tuple[float, int, float, float],
    V: int,
) -> tuple[Integers, Integers]:
    """Read ids (B,), then draw n characters in each lane with uniforms (B, n).

    filters are temperature, top_k, top_p and min_p. Returns the drawn ids (B, n) and the
    states (B,) before the last of them.
    """
    B, n = uniforms.shape
    drawn = np.empty((B, n), np.int32)
    after = states.copy()
    log_probs, scratch = np.empty(V), np.empty((2, V))
    for b in range(B):
        c = ids[b]
        for t in range(n):
            after[b] = follow(trie, after[b], c)
            predict(trie, after[b], log_probs)
            for v in range(V):
                log_probs[v] = np.log(log_probs[v])
            c = draw(log_probs, filters, uniforms[b, t], scratch)
            drawn[b, t] = c
    return drawn, after


@kernel
def write(
    trie: Trie, ids: Integers, states: Integers, uniforms: Floats, rules: Any, out: Floats
) -> tuple[Integers, Integers]:
    """Do what `generate` does, each lane by its own rules.

    out (B, n, V) becomes the log-probabilities that were drawn from; it may be (B, 0, V).
    """
    (B, n), V = uniforms.shape, out.shape[2]
    drawn = np.empty((B, n), np.int32)
    after = states.copy()
    log_probs, scratch = np.empty(V), np.empty((3, V))
    for b in range(B):
        c = ids[b]
        for t in range(n):
            after[b] = follow(trie, after[b], c)
            predict(trie, after[b], log_probs)
            for v in range(V):
                log_probs[v] = np.log(log_probs[v])
            c = draw_by(log_probs, rules, b, uniforms[b, t], scratch)
            drawn[b, t] = c
            if out.shape[1]:
                for v in range(V):
                    out[b, t, v] = log_probs[v]
    return drawn, after
