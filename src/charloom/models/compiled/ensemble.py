"""Several networks of the compiled engine, read as one."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from charloom.data.tokenizer import Ids
from charloom.models.compiled.averaging import draw_each, mean_into, step_into
from charloom.models.compiled.language_model import CompiledModel, finite_predictions
from charloom.models.compiled.threads import available_threads, share_out
from charloom.models.ensemble import Ensemble
from charloom.models.jit import entry
from charloom.models.lanes import Rules
from charloom.models.protocols import State
from charloom.models.weights import Array

WORTH_A_THREAD = 2**20  # multiplications of a step of one network


class CompiledEnsemble(Ensemble):
    """Lanes come and go, and none depends on the others, as with one network."""

    networks: tuple[CompiledModel, ...]

    def log_probs(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B, T): (B, T, V), entry t the log-probabilities after ids[:, : t + 1]."""
        read = [one.log_probs(ids, own) for one, own in zip(self.networks, state, strict=True)]
        parts = np.stack([log_probs for log_probs, _ in read])
        mean = np.empty(parts.shape[1:], parts.dtype)
        mean_into(parts.reshape(len(parts), -1), mean.reshape(-1))
        return mean, tuple(after for _, after in read)

    def join(self, states: Sequence[State]) -> State:
        """See `WritesLanes`."""
        return tuple(
            one.join(own) for one, own in zip(self.networks, zip(*states, strict=True), strict=True)
        )

    def pick(self, state: State, lanes: NDArray[np.intp]) -> State:
        """See `WritesLanes`."""
        return tuple(one.pick(own, lanes) for one, own in zip(self.networks, state, strict=True))

    def write(
        self,
        ids: Ids,
        state: State,
        uniforms: NDArray[np.float64],
        rules: Rules,
        log_probs: Array | None = None,
        change: Callable[[Ids, Array], None] | None = None,
    ) -> tuple[NDArray[np.int32], State]:
        """See `WritesLanes`; `change` is given the ids (B,) that were read, and what is predicted.

        It may turn that, log-probabilities (B, V), into something else.
        """
        (B, n), V, K = uniforms.shape, len(self.vocabulary), len(self.networks)
        uniforms = np.ascontiguousarray(uniforms.T)
        drawn, scratch = np.empty((n, B), np.int32), np.empty((3, V))
        buffers = [one.buffers(ids, own) for one, own in zip(self.networks, state, strict=True)]
        parts = np.empty((K, B, V), buffers[0].work.logits.dtype)
        mean, flat = np.empty((B, V), parts.dtype), parts.reshape(K, -1)
        ids = np.array(ids, np.int32)
        read = entry(step_into, (buffers[0].work, ids, parts, 0, 0))
        size = self.networks[0].config
        work = B * size.layers * size.hidden**2
        threads = min(available_threads(), K) if work > WORTH_A_THREAD else 1
        with finite_predictions():
            for t in range(n):
                calls = [partial(read, own.work, ids, parts, k, t) for k, own in enumerate(buffers)]
                share_out(calls, threads)
                mean_into(flat, mean.reshape(-1))
                if change is not None:
                    change(ids, mean)
                if log_probs is not None:
                    log_probs[:, t] = mean
                draw_each(mean, rules, uniforms[t], drawn[t], scratch)
                ids = drawn[t]
        after = tuple(one.state_of(own) for one, own in zip(self.networks, buffers, strict=True))
        return drawn.T, after
