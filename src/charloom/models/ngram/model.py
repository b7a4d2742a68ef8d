"""The n-gram model: how often each character came after the last few."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charloom.config import NgramConfig
from charloom.data.tokenizer import Tokenizer
from charloom.errors import CharloomError
from charloom.models.lanes import Rules
from charloom.models.learner_arrays import check_ids
from charloom.models.ngram.smoothing import Counts, Floats, Integers, smooth
from charloom.models.weights import check_names

State = Integers
Arrays = dict[str, NDArray[Any]]

LARGEST = 2**31 - 1  # n-grams are numbered by int32


class NgramModel:
    """Predicts each character from the `config.order` - 1 before it, by counting.

    `fit` counts a text, `from_arrays` opens what `arrays` saved; it is read like any
    LanguageModel. Log-probabilities are natural, float64, and every distribution sums to 1.

    A state (B,) is one context for each lane: the longest one of at most order - 1 characters
    that is in the training text and that the text so far ends with. At the start, and after a
    character never seen, it is the empty one. No more is needed, because nothing was counted
    after longer contexts, except to know whether a shorter one is all there is: then its
    complement ~context, below 0, is the state. (Nothing followed the very end of the training
    text: a context that is only there is replaced by its suffix.)

    Smoothing:

    - "held-out", interpolated Kneser-Ney whose discounts are estimated on held-out text (see
      held_out.py), "kneser-ney", interpolated modified Kneser-Ney with discounts by formula (Chen &
      Goodman 1999), and "witten-bell" (Witten & Bell 1991, method C, interpolated) give every
      character of the vocabulary a probability above 0.
    - "none" is the plain Markov chain: the counts in the longest known context and nothing else.
      What never came there has probability 0, log-probability -inf.

    After a text of m characters, fewer than order - 1, counts are those of order m + 1. That
    matters to both Kneser-Neys, whose shorter n-grams are counted for texts that go further back.

    "held-out" of order 8 is the default: of texts of 1 KB to 3.2 MB it gave each less loss than the
    others, by 0.01 to 0.04 nats than "kneser-ney" (docs/LOG.md), and too high an order hardly harms
    it. Witten-Bell gives half of the probability to what followed a context that was seen once.
    """

    def __init__(
        self, config: NgramConfig, vocabulary: Tokenizer, counts: Counts, discount: Floats | None
    ) -> None:
        from charloom.models.ngram import held_out, kernels

        self.config = config
        self.vocabulary = vocabulary
        self._count, self._discount = counts.count, discount
        if discount is None:
            terms, whole = smooth(counts, config.smoothing, len(vocabulary))
        else:
            terms, whole = held_out.terms(counts, discount)
        # for other kernels, which call kernels.follow and kernels.predict
        self.trie = kernels.Trie(counts.first, counts.character, counts.suffix, *terms, *whole)

    @classmethod
    def fit(cls, ids: NDArray[np.integer], vocabulary: Tokenizer, config: NgramConfig) -> Self:
        """Count the n-grams of every length up to `config.order` in ids (N,).

        Time and memory grow with N x order. Raises CharloomError unless ids are of one dimension,
        at least one, and in [0, V).
        """
        V = len(vocabulary)
        if ids.ndim != 1 or ids.size == 0:
            raise CharloomError(
                f"ids have shape {ids.shape}: an n-gram model counts (N,), N > 0",
                "bad-array",
                found=ids.shape,
            )
        check_ids(ids, V)
        ids = _owned(ids)
        counts, discount = _opened(_count(ids, V, config.order), config.order), None
        if config.smoothing == "held-out":
            from charloom.models.ngram import held_out

            discount = held_out.estimate(counts, ids, V)
        return cls(config, vocabulary, counts, discount)

    @classmethod
    def from_arrays(
        cls, config: NgramConfig, vocabulary: Tokenizer, arrays: Mapping[str, NDArray[Any]]
    ) -> Self:
        """Open what `arrays` gave; raises CharloomError if they are not such counts."""
        _check_arrays(arrays, len(vocabulary), config)
        counts = _opened(arrays, config.order)
        _check_counts(counts)
        discount = arrays.get("discount")
        if discount is not None:
            discount = np.array(discount, np.float64, order="C")
        return cls(config, vocabulary, counts, discount)

    @property
    def parameter_count(self) -> int:
        """How many n-grams are counted, of all lengths together."""
        return self._count.size - 1

    def seen(self, node: int) -> int:
        """Return how often an n-gram of `trie` is in the text."""
        return int(self._count[node])

    def arrays(self) -> Arrays:
        """Return the counts, each array in the smallest unsigned type that fits, and discounts.

        N-grams are sorted by length, then parent (the n-gram without its last character), then
        last character: `character` (n,) is the last one and `count` (n,) how often the n-gram was
        seen. `children` (C,) is how many n-grams continue each context: the empty one, then all
        that are shorter than the order. With held-out smoothing, `discount` (order, 2, 2, 3) is
        what `held_out.estimate` returned.
        """
        values = {
            "character": self.trie.character[1:],
            "count": self._count[1:],
            "children": np.diff(self.trie.first),
        }
        arrays: Arrays = {n: a.astype(np.min_scalar_type(a.max())) for n, a in values.items()}
        return arrays if self._discount is None else arrays | {"discount": self._discount}

    def start(self, lanes: int) -> State:
        """Return the state (B,) before any character."""
        return np.full(lanes, ~0, np.int32)

    def step(self, ids: NDArray[np.integer], state: State) -> tuple[NDArray[np.float64], State]:
        """Read ids (B,): log-probabilities (B, V) of the next character, and the state after."""
        log_probs, state = self.log_probs(ids[:, None], state)
        return log_probs[:, 0], state

    def log_probs(
        self, ids: NDArray[np.integer], state: State
    ) -> tuple[NDArray[np.float64], State]:
        """Read ids (B, T): (B, T, V), entry t the log-probabilities after ids[:, : t + 1]."""
        from charloom.models.ngram import kernels

        out, contexts = np.empty((*ids.shape, len(self.vocabulary))), self.contexts(state)
        kernels.read(self.trie, _owned(ids.T), contexts, out)
        return out, contexts[:, 0].copy()

    def contexts(self, state: State) -> Integers:
        """Return the contexts (B, order) that kernels go on from; column 0 is the state."""
        from charloom.models.ngram import kernels

        contexts = np.empty((len(state), self.config.order), np.int32)
        kernels.begin_each(self.trie, state, contexts)
        return contexts

    def join(self, states: Sequence[State]) -> State:
        """See `WritesLanes`."""
        return np.concatenate(states)

    def pick(self, state: State, lanes: NDArray[np.intp]) -> State:
        """See `WritesLanes`."""
        return state[lanes]

    def write(
        self,
        ids: NDArray[np.integer],
        state: State,
        uniforms: NDArray[np.float64],
        rules: Rules,
        log_probs: Floats | None = None,
    ) -> tuple[Integers, State]:
        """See `WritesLanes`."""
        from charloom.models.ngram import kernels

        uniforms = np.ascontiguousarray(uniforms)  # for a view, the kernel would be compiled anew
        V, drawn = len(self.vocabulary), np.empty(uniforms.shape, np.int32)
        out = np.empty((len(ids), 0, V)) if log_probs is None else log_probs
        contexts, latest = self.contexts(state), _owned(ids)
        kernels.write(self.trie, latest, contexts, uniforms, drawn, rules, out, np.empty((4, V)))
        return drawn, contexts[:, 0].copy()


def shorter(arrays: Arrays, order: int) -> Arrays:
    """Return the part of `NgramModel.arrays` that a model of a lower order needs.

    Counts are what its own fit would have. So nearly are discounts: those of its longest n-grams
    are the ones for a context that is the whole text so far.
    """
    children = arrays["children"]
    contexts, grams = 1, int(children[0])  # shorter than 1; of 1 character
    for _ in range(order - 1):
        contexts, grams = 1 + grams, int(children[: 1 + grams].sum(dtype=np.int64))
    sizes = {"children": contexts, "character": grams, "count": grams, "discount": order}
    return {name: array[: sizes[name]] for name, array in arrays.items()}


def _owned(values: NDArray[np.integer]) -> Integers:
    """Copy to the type that the kernels are compiled for: int32, in C order, writeable."""
    return np.array(values, np.int32, order="C")


def _count(ids: Integers, V: int, order: int) -> Arrays:
    """Count the n-grams of ids (N,) up to length `order`, as `NgramModel.arrays` describes."""
    from charloom.models.ngram import kernels

    bits = V.bit_length()
    packed = min(order, 64 // bits)  # characters of which 64 bits make one sortable number
    keys = np.zeros(ids.size, np.uint64)
    for k in range(packed):
        keys <<= np.uint64(bits)
        keys[: max(0, ids.size - k)] += (ids[k:] + 1).astype(np.uint64)
    if packed == order:
        keys.sort()
        parts = [kernels.tally(keys.view(np.int64), bits, packed)]
    else:
        places = np.argsort(keys)
        keys = keys[places]
        parts = [kernels.tally(keys.view(np.int64), bits, packed)]
        whole = (keys & np.uint64(2**bits - 1)) > 0  # not beyond the end
        new = np.diff(keys, prepend=np.uint64(0)) > 0
        gram = np.empty(ids.size, np.int32)
        gram[places] = np.cumsum(new & whole) - 1
        grams = int((new & whole).sum())
        positions = np.argsort(ids, kind="stable").astype(np.int32)
        for length in range(packed, order):
            parts.append(kernels.lengthen(ids, positions, gram, length, grams))
            grams = parts[-1][2].size
    names = "children", "character", "count"
    return {n: np.concatenate(arrays) for n, *arrays in zip(names, *parts, strict=True)}


def _opened(arrays: Mapping[str, NDArray[Any]], order: int) -> Counts:
    """Number the n-grams, with the empty one as node 0, and find their suffixes."""
    from charloom.models.ngram import kernels

    sizes = arrays["character"].size
    if arrays["character"].size >= LARGEST:
        raise CharloomError(
            f"there are {sizes:,} n-grams: choose a lower order", "bad-setting", field="order"
        )
    children = _owned(arrays["children"])
    character, count = (np.insert(_owned(arrays[k]), 0, 0) for k in ("character", "count"))
    first, levels = _number(children, order, character.size)
    count[0] = count[levels[1] : levels[2]].sum()
    return Counts(count, character, first, kernels.link(first, character), levels)


def _number(children: Integers, order: int, size: int) -> tuple[Integers, list[int]]:
    """Return each context's first child (C + 1,) and each length's first n-gram (order + 2,)."""
    first = np.concatenate([[1], 1 + np.cumsum(children, dtype=np.int64)])
    levels = [0, 1]
    for _ in range(order):
        levels.append(int(first[min(levels[-1], children.size)]))
    whole = levels[-2:] == [children.size, size]
    _require(whole, "children", "does not add up to the n-grams")
    return first.astype(np.int32), levels


def _check_arrays(arrays: Mapping[str, NDArray[Any]], V: int, config: NgramConfig) -> None:
    """Check names, types, shapes and the range of every value."""
    expected = {"character": (0, V - 1), "count": (1, LARGEST), "children": (0, V)}
    held_out = {"discount": (0, 3)} if config.smoothing == "held-out" else {}
    check_names(arrays, expected | held_out, "n-gram model")
    for name, (low, high) in expected.items():
        values = arrays[name]
        integers = values.ndim == 1 and values.dtype.kind in "iu" and values.size > 0
        _require(integers, name, f"is {values.dtype} of shape {values.shape}")
        inside = values.min() >= low and values.max() <= high
        _require(inside, name, f"is not in {low} to {high}")
    sizes = arrays["character"].size, arrays["count"].size
    _require(sizes[0] == sizes[1], "count", f"has {sizes[1]} values for {sizes[0]} characters")
    if held_out:
        values = arrays["discount"]
        floats = values.dtype.kind == "f" and values.shape == (config.order, 2, 2, 3)
        _require(floats, "discount", f"is {values.dtype} of shape {values.shape}")
        inside = ((values > 0) & (values < [1, 2, 3])).all()
        _require(inside, "discount", "is not between 0 and 1, 2 and 3")


def _check_counts(counts: Counts) -> None:
    """Check that children are sorted, every n-gram has its suffix, and some text has the counts."""
    siblings = counts.parent[1:] == counts.parent[:-1]
    _require((np.diff(counts.character[1:])[siblings] > 0).all(), "character", "is not sorted")
    _require((counts.suffix >= 0).all(), "character", "has an n-gram without its suffix")
    C = counts.contexts
    for longer in counts.after(counts.count), counts.before(counts.count)[:C]:
        # A context is followed by a character each time except at the text's end; likewise before.
        missing = counts.count[:C] - longer
        _require(np.isin(missing, (0, 1)).all(), "count", "contradicts itself")


def _require(condition: bool | np.bool_, array: str, problem: str) -> None:
    if not condition:
        raise CharloomError(
            f"the n-gram model is damaged, or of another order or text: {array} {problem}; "
            "fit it again",
            "damaged",
            array=array,
        )
