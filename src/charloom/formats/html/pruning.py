"""An n-gram model in; a smaller one out, without the n-grams that tell least.

    P(c | h) = weight(hc) + backoff(h) P(c | h without its first character)

Without hc, its weight goes to backoff(h): probabilities still sum to 1. On the training text that
costs about count(hc) log(P before / P after), the weighted difference of Seymore & Rosenfeld 1996,
"Scalable backoff language models". An n-gram stays as long as one does that begins or ends with it,
because the trie is read by these.

What is kept has weights in 8 bits, exp(-code / 22), which are rounded down and so never add up to
more than 1; backoffs follow. A text begins as if it went on from another.
"""

import numpy as np
from numpy.typing import NDArray

from charloom.models.ngram import NgramModel
from charloom.models.ngram.smoothing import Floats, Integers

Flags = NDArray[np.bool_]

CODES_A_NAT = 22


class Pruner:
    """The n-grams of a model in the order in which they are worth keeping."""

    def __init__(self, model: NgramModel) -> None:
        self._model = model
        self._parent = np.repeat(np.arange(model.trie.backoff.size), np.diff(model.trie.first))
        self._order = np.argsort(-self._costs(), kind="stable")  # of equals, what others need

    def keep(self, most: int) -> NgramModel:
        """Return a model of at most so many n-grams; the model itself if it has no more."""
        if most >= self._model.parameter_count:
            return self._model
        kept = np.zeros(self._order.size, bool)
        kept[self._order[: most + 1]] = True  # with the empty one, which comes first
        return Pruned(self._model, kept, self._parent)

    def _costs(self) -> Floats:
        """Return what each n-gram (M,) is worth in nats, or what needs it, if that is more."""
        trie, parent = self._model.trie, self._parent
        C, M = trie.backoff.size, trie.weight.size
        count = self._model.arrays()["count"]
        p, costs, levels = np.full(M, 1 / len(self._model.vocabulary)), np.zeros(M), []
        begin, end = 1, int(trie.first[1])
        while begin < end:
            level, above = slice(begin, end), parent[begin - 1 : end - 1]
            levels.append(level)
            lower = p[trie.suffix[level]]
            p[level] = trie.weight[level] + trie.backoff[above] * lower
            after = (trie.weight[level] + trie.backoff[above]) * lower
            costs[level] = count[begin - 1 : end - 1] * np.log(p[level] / after)
            begin, end = end, int(trie.first[min(end, C)])
        costs = np.maximum(costs, 0)
        for level in reversed(levels):
            np.maximum.at(costs, trie.suffix[level], costs[level])
            np.maximum.at(costs, parent[level.start - 1 : level.stop - 1], costs[level])
        costs[0] = np.inf
        return costs


class Pruned(NgramModel):
    """A model of the n-grams that are `kept` (M,), whose weights have `codes` (M',)."""

    def __init__(self, model: NgramModel, kept: Flags, parent: NDArray[np.integer]) -> None:
        from charloom.models.ngram import kernels

        self.config, self.vocabulary, self._discount = model.config, model.vocabulary, None
        self._count = np.insert(model.arrays()["count"], 0, 0)[kept].astype(np.int32)
        trie, C = model.trie, model.trie.backoff.size
        children = np.bincount(parent[kept[1:]], minlength=C)[kept[:C]]
        first = np.concatenate([[1], 1 + np.cumsum(children)]).astype(np.int32)
        character = trie.character[kept]
        with np.errstate(divide="ignore"):
            codes = np.ceil(-CODES_A_NAT * np.log(trie.weight[kept]))
        self.codes = np.clip(codes, 0, 255).astype(np.uint8)
        weight = np.exp(self.codes / -CODES_A_NAT)
        weight[0] = 0
        above = np.repeat(np.arange(children.size), children)
        backoff = np.maximum(1 - np.bincount(above, weight[1:], minlength=children.size), 0)
        suffix = kernels.link(first, character)
        shorter = int(kept[: trie.whole_backoff.size].sum())
        whole = weight[: children.size], backoff[:shorter]
        self.trie = kernels.Trie(first, character, suffix, weight, backoff, *whole)

    def start(self, lanes: int) -> Integers:
        """Return the state (B,) after a text that is not known."""
        return np.zeros(lanes, np.int32)
