"""Discounts that suit text which was not counted: estimated, and made into probabilities.

    P(c | h) = (a(hc) - D(hc) + (sum of D(hx) over x) P(c | h without its first character)) / a(h.)

a is the count of n-grams of the model's order and in a context that is the whole text so far; that
of shorter ones is `between` Kneser-Ney's and it. D depends on the length, on which a it is, on
whether one character follows h or several, and on a itself, up to 3.

Kneser-Ney's formula estimates D from how many n-grams came once to four times in the whole text.
But much of a text comes twice in one scene or article and never again, so too little is discounted.
Here the last tenth of the training text is held out and the rest is counted, and D gives the tenth
the highest probability (as in Chen & Goodman 1999, by other means). Then all of it is counted.

D is found by expectation maximisation (Dempster, Laird & Rubin 1977). Take P(c | h) as two draws: x
with probability a(hx) / a(h.), and then, with probability D(hx) / a(hx), to forget x and draw from
the shorter context. Given c, how likely it is that x was forgotten says how often it happened.
"""

import numpy as np
from numpy.typing import NDArray

from charloom.models.jit import inner_strict_kernel
from charloom.models.jit import strict_kernel as kernel
from charloom.models.ngram.kernels import child
from charloom.models.ngram.smoothing import Counts, Floats, Integers, Terms

SHARE = 10  # one character in so many is held out
PLACES = 10_000  # at most are looked at, evenly spread
STEPS = 15  # of expectation maximisation
FIRST = (0.8, 1.2, 1.5)  # D of short texts, and
KNOWN = 10  # as how many draws it counts
POWER = 0.2
TIE = 1e-9  # what an a may lack of 2 or 3 by rounding
WHOLE, SHORTER = 0, 1  # which a

Seen = tuple[Floats, Floats, Floats, NDArray[np.int8]]


def estimate(counts: Counts, ids: Integers, V: int) -> Floats:
    """Return D (order, 2, 2, 3) for ids (N,), of which `counts` are.

    D[k - 1, i, j, m - 1] is for n-grams of length k; i is WHOLE or SHORTER; j is 0 if only one
    character follows the context, 1 if several; m is 1, 2, or 3 for all a from 3 on. The a of
    the longest is never SHORTER.
    """
    order, held_out = len(counts.levels) - 2, ids.size // SHARE
    most, start = np.array([1.0, 2.0, 3.0]), ids.size - held_out
    D = np.empty((order, 2, 2, 3))
    D[:] = FIRST
    if held_out:
        trie = counts.first, counts.character, counts.suffix
        count, contexts = counts.count.copy(), np.empty(held_out, np.int32)
        _hold_out(*trie, count, ids, start, order, contexts)
        both = count.astype(np.float64), between(count, counts.suffix)
        some = slice(None, None, -(-held_out // PLACES))
        places = contexts[some].copy(), ids[start:][some].copy()
        seen = _nothing_seen(places[0].size, order)
        _look(*trie, *both, *places, seen[0], seen[1], seen[2], seen[3])
        for _ in range(STEPS):
            forgotten, kept = np.zeros(D.shape), np.zeros(D.shape)
            _expect(*seen, 1 / V, D, forgotten, kept, np.empty(order + 1))
            D = (most * forgotten + KNOWN * np.array(FIRST)) / (forgotten + kept + KNOWN)
    return D


def terms(counts: Counts, D: Floats) -> tuple[Terms, Terms]:
    """Return what `smoothing.smooth` does, with the discounts that `estimate` returned."""
    levels, which = np.array(counts.levels), np.full(D.shape[0], SHORTER)
    which[-1] = WHOLE
    usual = between(counts.count, counts.suffix), D[np.arange(D.shape[0]), which]
    whole = counts.count[: counts.contexts].astype(np.float64), D[:-1, WHOLE]
    return _terms(counts.first, levels, *usual), _terms(counts.first, levels, *whole)


def _terms(first: Integers, levels: Integers, a: Floats, D: Floats) -> Terms:
    """Return the two terms of n-grams with a (M,), by the D (order, 2, 3) of each length."""
    found = Terms(np.zeros(a.size), np.ones(levels[len(D)]))
    _shares(first, levels, a, D, *found)
    return found


def between(count: Integers, suffix: Integers) -> Floats:
    """Return a(w), the sum of n(xw)^0.2 over x, for each n-gram w (M,), and n(w) for the longest.

    With exponent 0 it would be Kneser-Ney's count, in how many different characters w was seen, and
    with 1 how often w was. The draws of the hierarchical Pitman-Yor process that reach a shorter
    context grow like such a power (Teh 2006). That w begins the text counts 1 more.
    """
    a = count.astype(np.float64)
    _between(a, count, suffix, np.arange(1000.0) ** POWER)
    return a


@kernel
def _between(a: Floats, count: Integers, suffix: Integers, power: Floats) -> None:
    """Turn a (M,) from n(w), with power[n] n^0.2; it is the sum of n(xw), and 1 if w begins all."""
    for node in range(1, count.size):
        n = count[node]
        a[suffix[node]] += (power[n] if n < power.size else n**POWER) - n


@kernel
def _hold_out(
    first: Integers,
    character: Integers,
    suffix: Integers,
    count: Integers,
    ids: Integers,
    start: int,
    order: int,
    contexts: Integers,
) -> None:
    """Take the n-grams that end in ids[start:] from count (M,), and fill contexts (N - start,).

    A context is the longest one before each of those characters, at most order - 1 long.
    """
    context = 0
    for t in range(max(0, start - order), ids.size):
        node = child(first, character, context, ids[t])
        if t >= start:
            contexts[t - start] = context
        context = node if node < first.size - 1 else suffix[node]
        while t >= start and node > 0:
            count[node] -= 1
            node = suffix[node]


def _nothing_seen(n: int, order: int) -> Seen:
    """Return zeros for `_look` to count in."""
    return (
        np.zeros((n, order, 2, 3)),
        np.zeros((n, order, 2)),
        np.zeros((n, order, 2)),
        np.zeros((n, order), np.int8),
    )


@kernel
def _look(
    first: Integers,
    character: Integers,
    suffix: Integers,
    count: Floats,
    shorter: Floats,
    contexts: Integers,
    following: Integers,
    kinds: Floats,
    own: Floats,
    total: Floats,
    several: NDArray[np.int8],
) -> None:
    """Fill the last four with what both a, count and shorter (M,), say followed contexts (n,).

    After each number of characters there are of both a: how many x have which D, kinds (n, order,
    2, 3), a(hc), own (n, order, 2), and a(h.), total (n, order, 2). several (n, order) is 1 if
    there are several x. All are 0 if the context is not known.
    """
    for i in range(contexts.size):
        k, h = 0, contexts[i]
        while h > 0:
            k, h = k + 1, suffix[h]
        h = contexts[i]
        while k >= 0:
            different = 0
            for node in range(first[h], first[h + 1]):
                if count[node] > 0:
                    different += 1
                    kinds[i, k, WHOLE, _bucket(count[node])] += 1
                    kinds[i, k, SHORTER, _bucket(shorter[node])] += 1
                    total[i, k, WHOLE] += count[node]
                    total[i, k, SHORTER] += shorter[node]
                    if character[node] == following[i]:
                        own[i, k, WHOLE], own[i, k, SHORTER] = count[node], shorter[node]
            several[i, k] = different > 1
            k, h = k - 1, suffix[h]


@kernel
def _expect(
    kinds: Floats,
    own: Floats,
    total: Floats,
    several: NDArray[np.int8],
    uniform: float,
    D: Floats,
    forgotten: Floats,
    kept: Floats,
    p: Floats,
) -> None:
    """Add how often characters were forgotten, and how often they could be but were not (kept).

    Both have the shape of D (order, 2, 2, 3). A draw of hx with a(hx) above 3 could be forgotten in
    3 of a(hx) cases. SHORTER ones count as often as longer contexts led to h, and WHOLE ones as if
    h were all there is. In p (order + 1,) p[k] is the probability in n-grams of length k.
    """
    n, order = several.shape
    for i in range(n):
        p[0] = uniform
        for k in range(order):
            a = WHOLE if k == order - 1 else SHORTER
            p[k + 1] = p[k]
            if total[i, k, a] > 0:
                given, passed_on = _parts(kinds, own, D, i, k, a, several[i, k])
                p[k + 1] = (given + passed_on * p[k]) / total[i, k, a]
        led_here = 1.0  # how likely all longer contexts have led to this one
        for k in range(order - 1, -1, -1):
            led_on = led_here
            for a in range(2 if total[i, k, WHOLE] > 0 else 0):
                if a == SHORTER and k == order - 1:
                    continue
                j = several[i, k]
                given, passed_on = _parts(kinds, own, D, i, k, a, j)
                times = (1.0 if a == WHOLE else led_here) / (given + passed_on * p[k])
                if own[i, k, a] > 0:
                    m = _bucket(own[i, k, a])
                    kept[k, a, j, m] += times * (m + 1 - D[k, a, j, m])
                for m in range(3):
                    forgotten[k, a, j, m] += times * kinds[i, k, a, m] * D[k, a, j, m] * p[k]
                led_on = times * passed_on * p[k]
            led_here = led_on


@inner_strict_kernel
def _parts(
    kinds: Floats, own: Floats, D: Floats, i: int, k: int, a: int, j: int
) -> tuple[float, float]:
    """Return a(hc) - D(hc), and the sum of D(hx) over x, at place i after k characters."""
    passed_on = 0.0
    for m in range(3):
        passed_on += kinds[i, k, a, m] * D[k, a, j, m]
    given = own[i, k, a]
    return given - D[k, a, j, _bucket(given)] if given > 0 else 0.0, passed_on


@kernel
def _shares(
    first: Integers, levels: Integers, a: Floats, D: Floats, weight: Floats, backoff: Floats
) -> None:
    """Fill the two terms, of zeros and of ones, as `_terms` says."""
    for k in range(D.shape[0]):
        for h in range(levels[k], levels[k + 1]):
            children = range(first[h], first[h + 1])
            d = D[k, int(len(children) > 1)]
            total = passed_on = 0.0
            for node in children:
                total += a[node]
                passed_on += d[_bucket(a[node])]
            for node in children:
                weight[node] = (a[node] - d[_bucket(a[node])]) / total
            if total > 0:
                backoff[h] = passed_on / total


@inner_strict_kernel
def _bucket(a: float) -> int:
    """Return the last index of D for a, which is at least 1."""
    return min(int(a + TIE), 3) - 1
