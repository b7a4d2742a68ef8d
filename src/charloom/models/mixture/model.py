"""A network and an n-gram model, read as one."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charloom.data.tokenizer import Ids, Tokenizer
from charloom.models.compiled.ensemble import CompiledEnsemble
from charloom.models.compiled.language_model import CompiledModel, finite_predictions
from charloom.models.compiled.threads import available_threads, share_out
from charloom.models.lanes import Rules
from charloom.models.ngram import NgramModel
from charloom.models.protocols import LanguageModel, LooksBack
from charloom.models.protocols import State as AnyState
from charloom.models.weights import Array

WORTH_A_THREAD = 2**15  # log-probabilities


class State(NamedTuple):
    """Those of the two members."""

    network: AnyState
    counts: NDArray[np.int32]


class Mixture:
    """The `LanguageModel` protocol by two models of one vocabulary, mixed as gate.py says.

    `shares` (K, K) are the network's, by how sure both are. `network` predicts alone, too.
    """

    def __init__(
        self, network: LanguageModel, counts: NgramModel, shares: NDArray[np.float64]
    ) -> None:
        self.network, self.counts, self.shares = network, counts, shares

    @property
    def vocabulary(self) -> Tokenizer:
        """That of the network."""
        return self.network.vocabulary

    @property
    def context(self) -> int | None:
        """How far the network looks back, if that matters; see `LooksBack`."""
        return self.network.context if isinstance(self.network, LooksBack) else None

    def start(self, lanes: int) -> State:
        """Return the state before any character, for `lanes` independent texts."""
        return State(self.network.start(lanes), self.counts.start(lanes))

    def step(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B,): log-probabilities (B, V) of the next character, and the state after."""
        log_probs, state = self.log_probs(ids[:, np.newaxis], state)
        return log_probs[:, 0], state

    def log_probs(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B, T): (B, T, V), entry t the log-probabilities after ids[:, : t + 1]."""
        from charloom.models.mixture import kernels

        out, network = self.network.log_probs(ids, state.network)
        out = np.require(out, requirements=["C", "W"])
        contexts, (B, _, V) = self.counts.contexts(state.counts), out.shape
        threads = min(available_threads(), B, out.size // WORTH_A_THREAD) or 1
        cuts = [B * k // threads for k in range(threads + 1)]
        calls = [
            partial(
                kernels.mix_into,
                self.counts.trie,
                np.array(ids[lanes].T, np.int32, order="C"),
                contexts[lanes],
                self.shares,
                out[lanes],
                np.empty(V),
            )
            for lanes in (slice(*pair) for pair in pairwise(cuts))
        ]
        share_out(calls, threads)
        return out, State(network, contexts[:, 0].copy())


class CompiledMixture(Mixture):
    """With a network of the compiled engine, or several, lanes come and go and are drawn fast."""

    network: CompiledModel | CompiledEnsemble

    def join(self, states: Sequence[State]) -> State:
        """See `WritesLanes`."""
        networks, counts = zip(*states, strict=True)
        return State(self.network.join(networks), self.counts.join(counts))

    def pick(self, state: State, lanes: NDArray[np.intp]) -> State:
        """See `WritesLanes`."""
        return State(self.network.pick(state.network, lanes), self.counts.pick(state.counts, lanes))

    def write(
        self,
        ids: Ids,
        state: State,
        uniforms: NDArray[np.float64],
        rules: Rules,
        log_probs: Array | None = None,
    ) -> tuple[NDArray[np.int32], State]:
        """See `WritesLanes`."""
        from charloom.models.mixture import kernels

        alone = self.network
        if isinstance(alone, CompiledEnsemble):
            return self._write_with_several(alone, ids, state, uniforms, rules, log_probs)
        uniforms = np.ascontiguousarray(uniforms)  # for a view, the kernel would be compiled anew
        (B, n), V = uniforms.shape, len(self.vocabulary)
        drawn, contexts = np.empty((B, n), np.int32), self.counts.contexts(state.counts)
        network = tuple(np.empty_like(array) for array in state.network)
        out = np.empty((B, 0, V), network[0].dtype) if log_probs is None else log_probs

        def compute(lanes: slice) -> None:
            before = tuple(array[:, lanes] for array in state.network)
            buffers = alone.buffers(ids[lanes], before)
            counted = self.counts.trie, contexts[lanes], self.shares
            drawing = np.ascontiguousarray(uniforms[lanes]), drawn[lanes], rules.pick(lanes)
            kernels.write(buffers.work, *counted, *drawing, out[lanes], np.empty((3, V)))
            for array, last in zip(network, alone.state_of(buffers), strict=True):
                array[:, lanes] = last

        with finite_predictions():
            alone.on_threads(B, n, compute)
        return drawn, State(network, contexts[:, 0].copy())

    def _write_with_several(
        self,
        networks: CompiledEnsemble,
        ids: Ids,
        state: State,
        uniforms: NDArray[np.float64],
        rules: Rules,
        log_probs: Array | None,
    ) -> tuple[NDArray[np.int32], State]:
        from charloom.models.mixture.kernels import mix_into

        contexts, counted = self.counts.contexts(state.counts), np.empty(len(self.vocabulary))

        def mix(ids: Ids, mean: Array) -> None:
            mix_into(self.counts.trie, ids[None], contexts, self.shares, mean[:, None], counted)

        drawn, after = networks.write(ids, state.network, uniforms, rules, log_probs, mix)
        return drawn, State(after, contexts[:, 0].copy())


def mixture_of(network: LanguageModel, counts: NgramModel, shares: NDArray[np.float64]) -> Mixture:
    """Return a mixture, which draws fast if the network is of the compiled engine."""
    fast = isinstance(network, CompiledModel | CompiledEnsemble)
    kind = CompiledMixture if fast else Mixture
    return kind(network, counts, shares)
