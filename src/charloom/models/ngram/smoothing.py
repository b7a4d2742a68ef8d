"""Counts in, probabilities out: every smoothing as one recursion with two terms.

    P(c | h) = weight(hc) + backoff(h) P(c | h without its first character)

down to the empty context, whose own suffix is the uniform distribution 1/V. Where h is all that
there is before c, the first step has terms of its own. What reads the model need not know which
smoothing it has.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charloom.config import Smoothing

Integers = NDArray[np.int32]
Floats = NDArray[np.float64]

CERTAIN = 1e-9  # nats for each place


@dataclass(frozen=True)
class Counts:
    """How often each n-gram was seen. Node 0 is the empty one; the first C nodes are contexts."""

    count: Integers  # (M,)
    character: Integers  # (M,) the n-gram's last one
    first: Integers  # (C + 1,) the children of context h are first[h] .. first[h + 1] - 1
    suffix: Integers  # (M,) the n-gram without its first character
    levels: list[int]  # (order + 2,) the n-grams of length k are levels[k] .. levels[k + 1] - 1

    @property
    def contexts(self) -> int:
        """C: how many n-grams are shorter than the model's order."""
        return self.levels[-2]

    @property
    def shorter(self) -> "Counts":
        """Those of a model whose order is lower by 1: the contexts."""
        C = self.contexts
        first = self.first[: self.levels[-3] + 1]
        return Counts(self.count[:C], self.character[:C], first, self.suffix[:C], self.levels[:-1])

    @cached_property
    def parent(self) -> Integers:
        """The n-gram without its last character, (M - 1,) of node 1 on."""
        return np.repeat(np.arange(self.contexts, dtype=np.int32), np.diff(self.first))

    def lengths(self) -> Iterator[slice]:
        """Yield where the n-grams of 1 character are, of 2, and so on."""
        yield from map(slice, self.levels[1:-1], self.levels[2:])

    def after(self, values: NDArray[Any]) -> Floats:
        """Sum values (M,) over all hc, for each context h (C,)."""
        sums = np.bincount(self.parent, values[1:], minlength=self.contexts)
        return sums.astype(np.float64, copy=False)

    def before(self, values: NDArray[Any]) -> Floats:
        """Sum values (M,) over all xw, for each n-gram w (M,)."""
        sums = np.bincount(self.suffix[1:], values[1:], minlength=self.count.size)
        return sums.astype(np.float64, copy=False)


class Terms(NamedTuple):
    """The two terms of the recursion; those of order n - 1 have M = C and C = C', and so on."""

    weight: Floats  # (M,) an n-gram's own share of P(last character | those before); 0 is unused
    backoff: Floats  # (C,) the share of that probability which the context's suffix decides


def smooth(counts: Counts, smoothing: Smoothing, V: int) -> tuple[Terms, Terms]:
    """Return the terms, and those (C,) and (C',) of a context that is the whole text so far.

    C' is how many contexts are shorter than order - 1 characters: only such a one can be all
    there is and yet not be as long as the model looks back.
    """
    if smoothing == "kneser-ney":
        terms = _kneser_ney(counts, _adjusted(counts))
        return terms, _whole(counts, terms, V)
    terms = _markov(counts) if smoothing == "none" else _witten_bell(counts)
    C = counts.contexts
    return terms, Terms(terms.weight[:C], terms.backoff[: counts.levels[-3]])


def _markov(counts: Counts) -> Terms:
    """P(c | h) = n(hc) / n(h.), or P(c | suffix of h) if nothing ever followed h."""
    total = counts.after(counts.count)
    return _shares(counts, counts.count.astype(np.float64), np.zeros_like(total), total)


def _witten_bell(counts: Counts) -> Terms:
    """Witten & Bell 1991, method C, in the interpolated form of Chen & Goodman 1999.

    P(c | h) = (n(hc) + N1+(h.) P(c | suffix of h)) / (n(h.) + N1+(h.)), where N1+(h.) is the
    number of different characters that follow h.
    """
    kinds = counts.after(np.ones(counts.count.size))
    total = counts.after(counts.count) + kinds
    return _shares(counts, counts.count.astype(np.float64), kinds, total)


def _kneser_ney(counts: Counts, adjusted: Integers) -> Terms:
    """Interpolated modified Kneser-Ney (Chen & Goodman 1999).

    P(c | h) = (a(hc) - D(a(hc)) + (sum of D(a(hx)) over x) P(c | suffix of h)) / a(h.)

    with a the count for n-grams of the model's order, and for shorter ones the number of
    different characters before them (`_adjusted`). D depends on the length too (`discounts`).
    """
    discount = np.zeros(adjusted.size)
    for level in counts.lengths():
        discount[level] = discounts(adjusted[level])[np.minimum(adjusted[level], 3)]
    return _shares(counts, adjusted - discount, counts.after(discount), counts.after(adjusted))


def _whole(counts: Counts, terms: Terms, V: int) -> Terms:
    """Kneser-Ney's terms of the context h of a text that is no longer than h.

    They are of hc itself as often as it was seen, as in a model of order |h| + 1. How many
    characters came before hc says how likely c is where what came before is known and new; here
    nothing did. Few counts make three discounts uncertain, and those of 3 on so large that half
    of the text's first characters would come from single characters. So of each length it is
    `discounts` or `one_discount`, whichever tells more of the text.
    """
    shorter = counts.shorter
    total = shorter.after(shorter.count)
    lower = _probabilities(shorter, terms, V)[shorter.suffix]
    discount = np.zeros(lower.size)
    for level in shorter.lengths():
        n, parent = shorter.count[level], shorter.parent[level.start - 1 : level.stop - 1]
        several, one = (
            _left_out(n, parent, D, total, lower[level]) for D in (discounts(n), one_discount(n))
        )
        # Equal ones differ in their last bits.
        better = one_discount if one - several > CERTAIN * n.sum() else discounts
        discount[level] = better(n)[np.minimum(n, 3)]
    return _shares(shorter, shorter.count - discount, shorter.after(discount), total)


def _left_out(n: Integers, parent: Integers, D: Floats, total: Floats, lower: Floats) -> float:
    """Sum log P over all places of n-grams hc of one length, without what is counted there.

    They were seen n times (N,), and c has the probability `lower` (N,) after the suffix of h.

    P(c | h) = (n - 1 - D(n - 1) + (D(n - 1) - D(n) + sum of D(n(hx)) over x) lower) / (n(h.) - 1)
    """
    d, d_without = D[np.minimum(n, 3)], D[np.minimum(n - 1, 3)]
    passed_on = np.bincount(parent, d)[parent] - d + d_without
    left = total[parent] - 1
    p = (n - 1 - d_without + passed_on * lower) / np.maximum(left, 1)
    return float((n * np.log(np.where(left, p, lower))).sum())


def _probabilities(counts: Counts, terms: Terms, V: int) -> Floats:
    """Return P(last character | those before) of each n-gram (M,), and 1/V for the empty one."""
    p = np.full(counts.count.size, 1 / V)
    for level in counts.lengths():
        before = terms.backoff[counts.parent[level.start - 1 : level.stop - 1]]
        p[level] = terms.weight[level] + before * p[counts.suffix[level]]
    return p


def _adjusted(counts: Counts) -> Integers:
    """Return a(w) = N1+(.w) + n(w) - n(.w) for each n-gram w (M,); n(.w) is the sum of n(xw).

    If w is shorter than the order, n(w) - n(.w) is 1 if w begins the text, else 0: the text's
    start counts as one more character before it. The longest have no xw, so a(w) = n(w).
    """
    different = counts.before(np.ones(counts.count.size))
    return (different + counts.count - counts.before(counts.count)).astype(np.int32)


def discounts(adjusted: Integers) -> Floats:
    """Return D(0) = 0, D(1), D(2) and D(3), the last for all counts above 2, of one length.

    Chen & Goodman 1999: Y = n1 / (n1 + 2 n2), D(k) = k - (k + 1) Y n(k+1) / n(k),
    with n(k) the number of n-grams counted k times. If an n(k) is 0 or a D(k) is not above 0, as
    in short texts or among single characters, they are 0.5, 1 and 1.5, as in KenLM.
    """
    n = np.bincount(np.minimum(adjusted, 5), minlength=6)[1:5].astype(np.float64)
    if n.all():
        k = np.arange(1, 4)
        estimate = k - (k + 1) * n[0] / (n[0] + 2 * n[1]) * n[1:] / n[:3]
        if (estimate > 0).all():
            return np.concatenate([[0.0], estimate])
    return np.array([0.0, 0.5, 1.0, 1.5])


def one_discount(counts: Integers) -> Floats:
    """Return D(0) = 0 and D(1) = D(2) = D(3) = Y of `discounts`, 0.5 if it cannot be estimated.

    Ney, Essen & Kneser 1994: absolute discounting.
    """
    once, twice = (counts == 1).sum(), (counts == 2).sum()
    Y = once / (once + 2 * twice) if once and twice else 0.5
    return np.array([0.0, Y, Y, Y])


def _shares(counts: Counts, kept: Floats, passed_on: Floats, total: Floats) -> Terms:
    """Divide by the context's total; a context that nothing follows passes everything on."""
    weight = np.zeros(counts.count.size)
    weight[1:] = kept[1:] / total[counts.parent]
    empty = total == 0
    return Terms(weight, np.where(empty, 1.0, passed_on / np.where(empty, 1.0, total)))
