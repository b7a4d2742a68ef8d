"""The trained network as a predictor, and as a writer of many characters in one call."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from charloom.config import ModelConfig, Precision, SampleConfig
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.errors import CharloomError
from charloom.models.compiled.arrays import (
    Packed,
    Shard,
    carried,
    flat_vector,
    new_lookup,
    new_packed,
    new_shard,
    parameter_views,
    with_own_rows,
)
from charloom.models.compiled.bf16 import FULL, fastest_bf16
from charloom.models.compiled.network import Work, carry, embed, forward, pack_weights, read
from charloom.models.compiled.products import FEW
from charloom.models.compiled.program import Program
from charloom.models.compiled.threads import available_threads, share_out
from charloom.models.lanes import Rules
from charloom.models.learner_arrays import check_ids
from charloom.models.weights import GATES, Array, check_weights

State = tuple[Array, ...]  # h and, for an LSTM, c: each (L, B, H)

PIECE = 2**20  # numbers in the gates of one pass: what the buffers' size follows from
WORTH_A_THREAD = 2**24  # multiplications in the recurrent product


class Buffers(NamedTuple):
    """What a kernel works in, which is kept while it does: the ids and states of lanes, and all."""

    work: Work
    program: Program
    shard: Shard


class CompiledModel:
    """The `LanguageModel` protocol in numba, with `write` for fast sampling.

    Of the contract's named arrays it keeps a copy in `dtype`; a flat vector (P,) of that type, as
    the learner has it, it reads as it stands. Raises CharloomError if weights do not fit.
    What a lane gives does not depend on the others, to the last bit, nor on how many there are.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, Array] | Array,
        vocabulary: Tokenizer,
        dtype: DTypeLike = np.float32,
        precision: Precision = "full",
    ) -> None:
        V = len(vocabulary)
        self._kind = fastest_bf16() if precision == "bf16" else FULL
        self.config = config
        self.vocabulary = vocabulary
        self._dtype = np.dtype(dtype)
        if isinstance(weights, Mapping):
            check_weights(weights, config, V)
            weights = flat_vector(weights, config, self._dtype)
        self._parameters = parameter_views(weights, config, V)
        self._packed: dict[tuple[bool, bool], Packed] = {}
        self._lookup = new_lookup(config, V, self._dtype)
        p, every_id = self._parameters, np.arange(V, dtype=np.int32)[np.newaxis]
        program = Program(self._dtype)
        embed(program, p.embedding, p.Wx0, self._pack(1, 1).Wx0, p.b[0], self._lookup, every_id)
        program()

    def start(self, lanes: int) -> State:
        """Return the state before any character, for `lanes` independent texts."""
        shape = (self.config.layers, lanes, self.config.hidden)
        count = 2 if self.config.cell == "lstm" else 1
        return tuple(np.zeros(shape, self._dtype) for _ in range(count))

    def step(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B,): log-probabilities (B, V) of the next character, and the state after."""
        log_p, state = self.log_probs(ids[:, np.newaxis], state)
        return log_p[:, 0], state

    def log_probs(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B, T): (B, T, V), entry t the log-probabilities after ids[:, : t + 1].

        Raises CharloomError if an id is not in [0, V).
        """
        check_ids(ids, len(self.vocabulary))
        B, T = ids.shape
        out = np.empty((B, T, len(self.vocabulary)), self._dtype)
        after = tuple(np.empty_like(array) for array in state)
        self.on_threads(B, T, partial(self._read, ids, state, out, after))
        return out, after

    def on_threads(self, B: int, T: int, compute: Callable[[slice], None]) -> None:
        """Compute T steps of B lanes, on as many threads as pay: `compute` takes some of the lanes.

        Raises what one of them raised.
        """
        work = B * T * self._parameters.Wh.size
        count = min(available_threads(), B // FEW, work // WORTH_A_THREAD) or 1
        # Cut at multiples of what a product takes at once: rows left over take longer.
        cuts = [FEW * round(B * k / (count * FEW)) for k in range(count)]
        pieces = [slice(begin, end) for begin, end in zip(cuts, [*cuts[1:], B], strict=True)]
        share_out([partial(compute, lanes) for lanes in pieces], count)

    def _read(self, ids: Ids, state: State, out: Array, after: State, lanes: slice) -> None:
        """Fill these lanes of out (B, T, V) and of the state after."""
        B, T = out[lanes].shape[:2]
        state = tuple(array[:, lanes] for array in state)
        length = max(1, PIECE // (B * GATES[self.config.cell] * self.config.hidden))
        V = out.shape[2]
        rules = Rules.same(SampleConfig(), V, B)
        for begin in range(0, T, length):
            steps = slice(begin, begin + length)
            shard = self._shard(ids[lanes, steps].T, state)
            program = self._program(shard)
            nothing = np.empty((B, 0)), np.empty((B, 0), np.int32), rules, out[lanes, :0]
            read(Work(program.code, shard.ids, shard.logits), *nothing, np.empty((3, V)))
            out[lanes, steps] = shard.logits.swapaxes(0, 1)
            state = tuple(array[:, -1] for array in carried(shard))
        for array, last in zip(after, state, strict=True):
            array[:, lanes] = last

    def join(self, states: Sequence[State]) -> State:
        """See `WritesLanes`."""
        return tuple(np.concatenate(arrays, axis=1) for arrays in zip(*states, strict=True))

    def pick(self, state: State, lanes: NDArray[np.intp]) -> State:
        """See `WritesLanes`."""
        return tuple(array[:, lanes] for array in state)

    def write(
        self,
        ids: Ids,
        state: State,
        uniforms: NDArray[np.float64],
        rules: Rules,
        log_probs: Array | None = None,
    ) -> tuple[NDArray[np.int32], State]:
        """See `WritesLanes`."""
        uniforms = np.ascontiguousarray(uniforms)  # for a view, the kernel would be compiled anew
        (B, n), V = uniforms.shape, len(self.vocabulary)
        drawn, after = np.empty((B, n), np.int32), tuple(np.empty_like(array) for array in state)
        out = np.empty((B, 0, V), self._dtype) if log_probs is None else log_probs

        def compute(lanes: slice) -> None:
            buffers = self.buffers(ids[lanes], tuple(array[:, lanes] for array in state))
            read(
                buffers.work,
                np.ascontiguousarray(uniforms[lanes]),
                drawn[lanes],
                rules.pick(lanes),
                out[lanes],
                np.empty((3, V)),
            )
            for array, last in zip(after, self.state_of(buffers), strict=True):
                array[:, lanes] = last

        with finite_predictions():
            self.on_threads(B, n, compute)
        return drawn, after

    def buffers(self, ids: Ids, state: State) -> Buffers:
        """Return what a kernel that draws works in, when it goes on from `state` with ids (B,).

        Raises CharloomError if an id is not in [0, V).
        """
        check_ids(ids, len(self.vocabulary))
        shard = self._shard(ids[None], state)
        program = self._program(shard)
        carry(program, shard)
        return Buffers(Work(program.code, shard.ids, shard.logits), program, shard)

    def state_of(self, buffers: Buffers) -> State:
        """Return the state before the last character that a kernel has drawn in these."""
        return tuple(array[:, 0].copy() for array in carried(buffers.shard))

    def _pack(self, T: int, B: int) -> Packed:
        """Return the weights packed for T steps of B lanes, which is done once, for one thread."""
        kind = (T * B < FEW, B < FEW)
        if kind not in self._packed:
            size = (self.config, len(self.vocabulary), B, T, self._dtype)
            packed = new_packed(*size, self._kind)
            program = Program(self._dtype)
            pack_weights(program, self._parameters, packed)
            program()
            self._packed[kind] = packed
        return with_own_rows(self._packed[kind])

    def _program(self, shard: Shard) -> Program:
        """Write a program that reads shard.ids (T, B)."""
        program = Program(self._dtype)
        forward(program, self._parameters, self._pack(*shard.ids.shape), shard)
        return program

    def _shard(self, ids: Ids, state: State) -> Shard:
        """Make buffers for ids (T, B) that begin with `state`."""
        T, B = ids.shape
        V = len(self.vocabulary)
        shard = new_shard(self.config, V, B, T, self._dtype, self._lookup)
        shard.ids[...] = ids
        for array, before in zip(carried(shard), state, strict=True):
            array[:, 0] = before
        return shard


@contextmanager
def finite_predictions() -> Iterator[None]:
    """Raise CharloomError where a kernel raises ValueError, as a prediction is not finite."""
    try:
        yield
    except ValueError:
        raise CharloomError(
            "the model's predictions are not finite: its weights are damaged, "
            "go back to an earlier checkpoint",
            "bad-model",
        ) from None
