"""The trie of n-grams, compiled by numba: how it is counted, linked and read.

Nodes are n-grams, numbered by length, then parent, then last character; 0 is the empty one.
The first C nodes are contexts: shorter than the model's order, so they may have children. The
state of a text is a context; ~context, below 0, says that this is the whole text so far, and
shorter than the model looks back.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charloom.models.draw_kernel import draw_by
from charloom.models.jit import inner_strict_kernel, strict_kernel
from charloom.models.ngram.smoothing import Floats, Integers
from charloom.models.prefetch import prefetch


class Trie(NamedTuple):
    """What reading needs: n-grams by number, and the two terms of the smoothing."""

    first: Integers  # (C + 1,) the children of context h are first[h] .. first[h + 1] - 1
    character: Integers  # (M,) the n-gram's last character
    suffix: Integers  # (M,) the n-gram without its first character
    weight: Floats  # (M,) its own share of P(last character | those before)
    backoff: Floats  # (C,) the share of that probability which its suffix decides
    whole_weight: Floats  # (C,) the same for a context that is the whole text so far
    whole_backoff: Floats  # (C',) of the contexts that are shorter than order - 1


def tally(keys: NDArray[np.int64], bits: int, order: int) -> tuple[Integers, Integers, Integers]:
    """Count every n-gram of up to `order` characters with which one of sorted keys (N,) begins.

    A key is `order` numbers of so many bits, each a character's id + 1, or 0 beyond the text's end.
    Returns how many children each context has, and the character and count of each n-gram.
    """
    grams = np.zeros(order + 1, np.int64)
    grams[0] = 1
    _tally_lengths(keys, bits, grams)
    latest = np.cumsum(grams) - grams - 1
    latest[0] = 0
    contexts, size = int(grams[:-1].sum()), int(grams[1:].sum())
    children, character = np.zeros(contexts, np.int32), np.empty(size, np.int32)
    count = np.zeros(size, np.int32)
    _tally(keys, bits, latest, children, character, count)
    return children, character, count


@strict_kernel
def _tally_lengths(keys: NDArray[np.int64], bits: int, grams: NDArray[np.int64]) -> None:
    """Add to grams (order + 1,) how many there are of each length."""
    order, before = grams.size - 1, 0
    for key in keys:
        for k in range(_same(before, key, bits, order), order):
            grams[k + 1] += _number(key, bits, order, k) > 0
        before = key


@strict_kernel
def _tally(
    keys: NDArray[np.int64],
    bits: int,
    latest: NDArray[np.int64],
    children: Integers,
    character: Integers,
    count: Integers,
) -> None:
    """Fill the last three; latest (order + 1,) is the n-gram of each length that was met last."""
    order, before = latest.size - 1, 0
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


@inner_strict_kernel
def _number(key: int, bits: int, order: int, k: int) -> int:
    return (key >> bits * (order - 1 - k)) & ((1 << bits) - 1)


@inner_strict_kernel
def _same(key: int, other: int, bits: int, order: int) -> int:
    """Return how many numbers two keys both begin with."""
    for k in range(order):
        if key >> bits * k == other >> bits * k:
            return order - k
    return 0


def lengthen(
    ids: Integers, positions: Integers, gram: Integers, length: int, grams: int
) -> tuple[Integers, Integers, Integers]:
    """Count every n-gram of `length` together with the character that follows it.

    gram[i] of gram (N,) is the rank of ids[i : i + length] among the `grams` different ones; it is
    overwritten with the rank at length + 1. Returns how many children each n-gram has (grams,),
    and the character and count of each child. A parent meets its children in sorted order,
    because `positions` are sorted by character.
    """
    last, children = np.full(grams, -1, np.int32), np.zeros(grams, np.int32)
    _count_children(ids, positions, gram, length, last, children)
    newest, size = np.cumsum(children) - children - 1, int(children.sum())
    last[:] = -1
    character, count = np.empty(size, np.int32), np.zeros(size, np.int32)
    _lengthen(ids, positions, gram, length, last, newest, character, count)
    return children, character, count


@strict_kernel
def _count_children(
    ids: Integers,
    positions: Integers,
    gram: Integers,
    length: int,
    last: Integers,
    children: Integers,
) -> None:
    """Count the children of each n-gram; last (grams,) is -1, the character met last."""
    for end in positions:
        if end >= length:
            parent, c = gram[end - length], ids[end]
            if last[parent] != c:
                last[parent] = c
                children[parent] += 1


@strict_kernel
def _lengthen(
    ids: Integers,
    positions: Integers,
    gram: Integers,
    length: int,
    last: Integers,
    newest: NDArray[np.int64],
    character: Integers,
    count: Integers,
) -> None:
    """Fill `gram`, `character` and `count`; newest (grams,) is the child that was met last."""
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


@inner_strict_kernel
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


def link(first: Integers, character: Integers) -> Integers:
    """Return each n-gram's suffix (M,); -1 if the trie does not have it."""
    suffix = np.zeros(character.size, np.int32)
    _link(first, character, suffix)
    return suffix


@strict_kernel
def _link(first: Integers, character: Integers, suffix: Integers) -> None:
    """Fill suffix (M,): suffix(hc) = suffix(h)c, and a shorter n-gram has a lower number."""
    for node in range(1, first.size - 1):
        for j in range(first[node], first[node + 1]):
            shorter = suffix[node]
            suffix[j] = -1 if shorter < 0 else child(first, character, shorter, character[j])


@inner_strict_kernel
def begin(trie: Trie, state: int, contexts: Integers) -> None:
    """Write to contexts (order,) all that the text of a state ends with, the longest first.

    They end with 0, the empty one. The first may be ~context, as a state.
    """
    contexts[0] = state
    context, k = ~state if state < 0 else state, 0
    while context > 0:
        context, k = trie.suffix[context], k + 1
        contexts[k] = context


@strict_kernel
def follow(trie: Trie, contexts: Integers, ids: Integers) -> None:
    """Turn the contexts (B, order) of lanes, as `begin` wrote them, into those after ids (B,).

    They are those that an id was seen after: where the processor reads one, it need not wait for
    the one before. Memory is slow, and what `predict` reads of all lanes is asked for together.
    """
    for b in range(ids.size):
        _follow(trie, contexts[b], ids[b])
    for b in range(ids.size):
        context, k = 1, 0
        while context > 0:
            context = ~contexts[b, k] if contexts[b, k] < 0 else contexts[b, k]
            k += 1
            prefetch(trie.character, trie.first[context])
            prefetch(trie.weight, trie.first[context])


@inner_strict_kernel
def _follow(trie: Trie, contexts: Integers, c: int) -> None:
    """Do it in one lane: contexts (order,)."""
    known, k, empty = 0, 0, False
    while not empty:
        state = contexts[k]
        context = ~state if state < 0 else state
        node = child(trie.first, trie.character, context, c)
        if 0 <= node < trie.backoff.size:
            contexts[known] = ~node if state < 0 and node < trie.whole_backoff.size else node
            prefetch(trie.first, node)
            prefetch(trie.backoff, node)
            known += 1
        empty, k = context == 0, k + 1
    contexts[known] = 0


@strict_kernel
def predict(trie: Trie, contexts: Integers, out: Floats) -> None:
    """Write P(c | the text that has these contexts) to out (V,).

    P(c | h) = weight(hc) + backoff(h) P(c | suffix of h), and 1/V below the empty context.
    """
    out[:] = 0
    share, k = 1.0, 0
    weight, backoff = trie.weight, trie.backoff
    if contexts[0] < 0:
        weight, backoff = trie.whole_weight, trie.whole_backoff
    context = ~contexts[0] if contexts[0] < 0 else contexts[0]
    while True:
        for j in range(trie.first[context], trie.first[context + 1]):
            out[trie.character[j]] += share * weight[j]
        share *= backoff[context]
        weight, backoff = trie.weight, trie.backoff
        if context == 0 or share == 0:
            break
        k += 1
        context = contexts[k]
    out += share / out.size


@strict_kernel
def begin_each(trie: Trie, states: Integers, contexts: Integers) -> None:
    """Do what `begin` does for each of states (B,): contexts (B, order)."""
    for b in range(states.size):
        begin(trie, states[b], contexts[b])


@strict_kernel
def read(trie: Trie, ids: Integers, contexts: Integers, out: Floats) -> None:
    """Write log P after each of ids (T, B) to out (B, T, V), going on from contexts (B, order)."""
    for t in range(ids.shape[0]):
        follow(trie, contexts, ids[t])
        for b in range(ids.shape[1]):
            predict(trie, contexts[b], out[b, t])
            for c in range(out.shape[2]):  # an array in one go takes 2 seconds to compile
                out[b, t, c] = np.log(out[b, t, c])


@strict_kernel
def write(
    trie: Trie,
    latest: Integers,
    contexts: Integers,
    uniforms: Floats,
    drawn: Integers,
    rules: Any,
    out: Floats,
    scratch: Floats,
) -> None:
    """Read latest (B,), then draw n characters in each lane with uniforms (B, n), by its rules.

    drawn (B, n) becomes their ids, out (B, n, V) the log-probabilities that were drawn from; it may
    be (B, 0, V). On return contexts (B, order) are those before the last of them; scratch (4, V).
    """
    log_probs = scratch[3]
    for t in range(drawn.shape[1]):
        follow(trie, contexts, latest)
        for b in range(drawn.shape[0]):
            predict(trie, contexts[b], log_probs)
            for v in range(log_probs.size):
                log_probs[v] = np.log(log_probs[v])
            latest[b] = drawn[b, t] = draw_by(log_probs, rules, b, uniforms[b, t], scratch)
            if out.shape[1]:
                for v in range(log_probs.size):
                    out[b, t, v] = log_probs[v]
