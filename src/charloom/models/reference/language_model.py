"""The trained network as a predictor of the next character."""

from collections.abc import Mapping

import numpy as np

from charloom.config import ModelConfig
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.models.reference import network
from charloom.models.reference.operations import log_softmax
from charloom.models.weights import Array, Weights, check_weights


class ReferenceModel:
    """The `LanguageModel` protocol in plain NumPy, in float64 whatever the weights come in.

    It keeps a copy of the weights, unless `copy` is False and they are float64 already. A state
    is, layer by layer, the tuple of its arrays (B, H): (h,), and (h, c) for an LSTM.
    Raises CharloomError if the weights do not fit the config.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, Array],
        vocabulary: Tokenizer,
        copy: bool = True,
    ) -> None:
        check_weights(weights, config, len(vocabulary))
        self.config = config
        self.weights: Weights = {
            name: np.array(w, np.float64, copy=copy or None) for name, w in weights.items()
        }
        self.vocabulary = vocabulary

    def start(self, lanes: int) -> network.States:
        """Return the state before any character, for `lanes` independent texts."""
        return network.zero_states(self.config, lanes)

    def step(self, ids: Ids, state: network.States) -> tuple[Array, network.States]:
        """Read ids (B,): log-probabilities (B, V) of the next character, and the state after."""
        log_p, state = self.log_probs(ids[:, np.newaxis], state)
        return log_p[:, 0], state

    def log_probs(self, ids: Ids, state: network.States) -> tuple[Array, network.States]:
        """Read ids (B, T): (B, T, V), entry t the log-probabilities after ids[:, : t + 1]."""
        logits, state, _ = network.forward(self.config, self.weights, ids.T, state)
        return log_softmax(logits).swapaxes(0, 1), state
