"""The trained network as a predictor, and as a writer of many characters in one call."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike, NDArray

from charloom.compiled.arrays import Shard, carried, flat_vector, new_shard, parameter_views
from charloom.compiled.network import forward, log_softmax
from charloom.compiled.sampler import generate
from charloom.config import ModelConfig, SampleConfig
from charloom.drawing import filters
from charloom.errors import CharloomError
from charloom.vocabulary import Vocabulary
from charloom.weights import GATES, Array, check_weights

State = tuple[Array, ...]  # h and, for an LSTM, c: each (L, B, H)

PIECE = 2**20  # numbers in the gates of one pass: what the buffers' size follows from


class CompiledModel:
    """The `LanguageModel` protocol in numba, with `generate_ids` for fast sampling.

    It keeps a copy of the weights, in `dtype`. Raises CharloomError where they do not fit.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, Array],
        vocabulary: Vocabulary,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_weights(weights, config, len(vocabulary))
        self.config = config
        self.vocabulary = vocabulary
        self._dtype = np.dtype(dtype)
        flat = flat_vector(weights, config, self._dtype)
        self._parameters = parameter_views(flat, config, len(vocabulary))

    def start(self, lanes: int) -> State:
        """Return the state before any character, for `lanes` independent texts."""
        shape = (self.config.layers, lanes, self.config.hidden)
        count = 2 if self.config.cell == "lstm" else 1
        return tuple(np.zeros(shape, self._dtype) for _ in range(count))

    def step(self, ids: NDArray[np.integer], state: State) -> tuple[Array, State]:
        """Read ids (B,): log-probabilities (B, V) of the next character, and the state after."""
        log_p, state = self.log_probs(ids[:, np.newaxis], state)
        return log_p[:, 0], state

    def log_probs(self, ids: NDArray[np.integer], state: State) -> tuple[Array, State]:
        """Read ids (B, T): (B, T, V), entry t the log-probabilities after ids[:, : t + 1].

        Raises CharloomError where an id is not in [0, V).
        """
        B, T = ids.shape
        out = np.empty((B, T, len(self.vocabulary)), self._dtype)
        length = max(1, PIECE // (B * GATES[self.config.cell] * self.config.hidden))
        for begin in range(0, T, length):
            piece = ids[:, begin : begin + length]
            shard = self._shard(piece.T, state)
            try:
                forward(self._parameters, shard)
            except IndexError:
                raise CharloomError(f"ids must be from 0 to {out.shape[2] - 1}") from None
            log_softmax(shard.logits)
            out[:, begin : begin + length] = shard.logits.swapaxes(0, 1)
            state = tuple(array[:, -1].copy() for array in carried(shard))
        return out, state

    def generate_ids(
        self,
        ids: NDArray[np.integer],
        state: State,
        uniforms: NDArray[np.float64],
        config: SampleConfig,
    ) -> tuple[NDArray[np.int32], State]:
        """Do what `charloom.sampling.generate_ids` does with this model, in one call.

        Raises CharloomError where predictions are not finite or an id is not in [0, V).
        """
        shard = self._shard(ids[np.newaxis], state)
        drawn = np.empty(uniforms.shape, np.int32)
        scratch = np.empty((2, len(self.vocabulary)))
        try:
            generate(self._parameters, shard, uniforms, drawn, filters(config), scratch)
        except IndexError:
            raise CharloomError(f"ids must be from 0 to {len(self.vocabulary) - 1}") from None
        except ValueError:
            raise CharloomError(
                "the model's predictions are not finite: its weights are damaged, "
                "go back to an earlier checkpoint"
            ) from None
        return drawn, tuple(array[:, 0].copy() for array in carried(shard))

    def _shard(self, ids: NDArray[np.integer], state: State) -> Shard:
        """Make buffers for ids (T, B) that begin with `state`."""
        T, B = ids.shape
        V = len(self.vocabulary)
        shard = new_shard(self.config, V, B, T, self._dtype)
        shard.ids[...] = ids
        for array, before in zip(carried(shard), state, strict=True):
            array[:, 0] = before
        return shard
