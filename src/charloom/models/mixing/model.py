"""A model that learns while it reads: every prediction is scored or coded first, then learned."""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from charloom.models.mixing import kernels
from charloom.models.mixing.kernels import Coder, Memory
from charloom.models.mixing.network import Network
from charloom.models.mixing.tables import FINE, LIMIT, ONE, tables
from charloom.models.mixing.tree import Tree, code_lengths, tree_of
from charloom.models.mixing.vectors import INPUTS

PIECE = 1 << 14  # characters between two looks at what was asked in the meantime
PIECE_READ_ALONG = 1 << 10  # the same with a network, which may be slow
LONGEST_TEXT = 2**31 - 1  # characters: their places are int32
MOST_ROWS = 1 << 20  # of memory for each context, of 32 bytes
MOST_WAYS = 1 << 16  # rows of corrections
_MOST_BYTES = 4  # that one answer can take


class ContextMixer:
    """Predicts each of N characters by mixing what followed its contexts so far.

    A character is the way to a leaf of a binary tree (`tree.Tree`). For each answer on the way,
    every context (the last 1 to 7 characters, the word, the longest match) knows how it turned out
    before; logistic mixing weighs them, and the weights follow the gradient of the loss at each
    answer (Mahoney 2005, "Adaptive weighing of context models for lossless data compression"; the
    histories of bits, the match and the correction at the end are his too).

    It is whole numbers throughout, so that what one processor encodes any other one decodes.
    `lengths` (V,) are the lengths of the characters' codes, ascending (`tree.code_lengths`), and
    `letters` (V,) says which characters are of words. Memory grows with N, up to 340 MB and 4 bytes
    for each character. Raises ValueError if no tree has such lengths.
    """

    def __init__(self, lengths: Sequence[int], letters: NDArray[np.bool_], N: int) -> None:
        self._tree, self._letters = tree_of(lengths), letters
        self._text = np.zeros(N, np.int32)
        self._memory, self._room = _fresh(self._tree, N), kernels.new_room(len(lengths))
        self._depth = max(lengths, default=0)
        self._read = 0  # characters so far

    def score(
        self,
        ids: NDArray[np.integer],
        outside: NDArray[np.floating] | None = None,
        network: Network | None = None,
    ) -> NDArray[np.float64]:
        """Return the loss of each of ids (n,) in nats, given those before it; learn them all.

        The next call goes on with what follows. `outside` (n, V) are the log-probabilities that
        another model gives for each of ids, from those before it: they are mixed in. Or a
        `network` predicts and reads along.
        """
        return np.concatenate([np.empty(0), *self.scores(ids, outside, network)])

    def scores(
        self,
        ids: NDArray[np.integer],
        outside: NDArray[np.floating] | None = None,
        network: Network | None = None,
    ) -> Iterator[NDArray[np.float64]]:
        """Yield what `score` returns, a piece at a time."""
        first = self._read
        self._text[first : first + len(ids)] = ids
        other = None if outside is None else np.exp(outside, dtype=np.float64)
        for begin, end in _pieces(first, first + len(ids), network):
            nats = np.zeros(end - begin)
            rest = None if other is None else other[begin - first : end - first]
            self._run(begin, end, _coder(0), kernels.SCORE, nats, rest, network)
            yield nats

    def encode(self, ids: NDArray[np.integer], network: Network | None = None) -> Iterator[bytes]:
        """Yield the code of ids, all that are left of N, a piece at a time, and a last byte.

        What was scored before is known to whoever decodes; so is the `network` that helps.
        """
        self._text[self._read :] = ids
        coder = _coder(PIECE * self._depth * _MOST_BYTES)
        for begin, end in _pieces(self._read, len(self._text), network):
            coder.state[kernels.PLACE] = 0
            self._run(begin, end, coder, kernels.ENCODE, network=network)
            yield coder.bytes[: coder.state[kernels.PLACE]].tobytes()
        yield bytes([int(coder.state[kernels.HIGH]) >> 24])  # in the interval, with zeros behind it

    def decode(self, code: bytes, network: Network | None = None) -> Iterator[NDArray[np.int32]]:
        """Yield the ids that `encode` was given, a piece at a time.

        Raises ValueError if the code is not as long as that of so many characters.
        """
        coder = Coder(np.frombuffer(bytearray(code), np.uint8), _coder(0).state)
        coder.state[kernels.READ] = int.from_bytes(code[:4].ljust(4, b"\0"), "big")
        coder.state[kernels.PLACE] = 4
        most = len(code) + 3  # the last byte is followed by three of what comes after the end
        for begin, end in _pieces(self._read, len(self._text), network):
            self._run(begin, end, coder, kernels.DECODE, network=network)
            if coder.state[kernels.PLACE] > most:
                raise ValueError("the code ends too early")
            yield self._text[begin:end]
        if coder.state[kernels.PLACE] < most:
            raise ValueError("the code goes on behind its end")

    def _run(
        self,
        begin: int,
        end: int,
        coder: Coder,
        mode: int,
        nats: NDArray[np.float64] | None = None,
        outside: NDArray[np.float64] | None = None,
        network: Network | None = None,
    ) -> None:
        """Read on as far as `end`."""
        learned = self._memory, tables(), self._tree, self._letters, self._text
        rest = begin, end, coder, mode, np.empty(0) if nats is None else nats
        V = len(self._letters)
        if network is not None:
            kernels.run_with(network, *learned, *rest, np.empty((1, V)), self._room)
        else:
            other = np.empty((0, V)) if outside is None else outside
            kernels.run(*learned, *rest, other, self._room)
        self._read = end


def letters_of(symbols: Iterable[str]) -> NDArray[np.bool_]:
    """Return which symbols (V,) are of words, by a rule that no version of Unicode changes."""
    return np.array([s > "\x7f" or s.isalnum() or s == "'" for s in symbols], np.bool_)


class InOrder:
    """A `ContextMixer` that scores a text of N characters in order, whatever numbers they have.

    `symbols` (V,) are the characters of the ids, and `counts` (V,) say how often each is expected:
    how many questions it takes depends on them.
    """

    def __init__(self, symbols: Sequence[str], counts: Sequence[int], N: int) -> None:
        lengths = np.array(code_lengths(counts))
        self._order = np.argsort(lengths, kind="stable")
        self._places = np.argsort(self._order)
        letters = letters_of([symbols[c] for c in self._order])
        self._mixer = ContextMixer(lengths[self._order].tolist(), letters, N)

    def score(
        self, ids: NDArray[np.integer], outside: NDArray[np.floating] | None = None
    ) -> NDArray[np.float64]:
        """Do what `ContextMixer.score` does with the next ids (n,)."""
        other = None if outside is None else outside[:, self._order]
        return self._mixer.score(self._places[ids], other)


def piece_of(network: Network | None) -> int:
    """Return how many characters are read at once."""
    return PIECE if network is None else PIECE_READ_ALONG


def _pieces(first: int, end: int, network: Network | None) -> Iterator[tuple[int, int]]:
    piece = piece_of(network)
    yield from ((begin, min(begin + piece, end)) for begin in range(first, end, piece))


def _coder(size: int) -> Coder:
    state = np.zeros(4, np.int64)
    state[kernels.HIGH] = 2**32 - 1
    return Coder(np.zeros(size, np.uint8), state)


def _in_lines(shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Make an array that begins where a line of the cache does: no 32 bytes of it are in two."""
    size = 4 * math.prod(shape)
    memory = np.empty(size + 64, np.uint8)
    begin = -memory.ctypes.data % 64
    return memory[begin : begin + size].view(np.int32).reshape(shape)


def _fresh(tree: Tree, N: int) -> Memory:
    V, known = len(tree.code), 4 * (kernels.ORDERS + 1)
    rows = 1 << max(10, (N // 4).bit_length())
    bits = _in_lines((kernels.CONTEXTS, min(rows, MOST_ROWS), 8))
    bits[:] = kernels.NEW
    bits[:, :, 0] = 0
    logits = np.arange(0, 2 * LIMIT + 1, kernels.STRIDE)

    def weights(rows: int) -> NDArray[np.int32]:
        return np.full((min(rows, kernels.SETS), INPUTS), ONE // 5, np.int32)

    return Memory(
        bits=bits,
        likely=np.tile(tables().likely, (kernels.CONTEXTS, 1)),
        matched=np.full(kernels.LONGEST + 1, 3 << (FINE - 2), np.int32),
        latest=np.zeros(1 << max(10, N.bit_length()), np.int32),
        by_order=weights(known),
        by_node=weights(max(V - 1, 1)),
        by_last=weights(V + 1),
        final=np.full((known, 3), ONE // 3, np.int32),
        corrected=np.tile(
            tables().squash[np.minimum(logits, 2 * LIMIT - 1)], (min(rows, MOST_WAYS), 1)
        ),
        now=np.zeros(6, np.int64),
    )
