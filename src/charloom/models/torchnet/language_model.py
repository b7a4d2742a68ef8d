"""The trained network as a predictor of the next character."""

import numpy as np
import torch

from charloom.data.tokenizer import Ids, Tokenizer
from charloom.models.learner_arrays import check_ids
from charloom.models.torchnet.devices import send
from charloom.models.torchnet.network import Network, State
from charloom.models.weights import Array


class TorchModel:
    """The `LanguageModel` protocol over a `Network`, which it takes with its weights."""

    def __init__(self, network: Network, vocabulary: Tokenizer) -> None:
        self.network, self.vocabulary = network.requires_grad_(False), vocabulary
        self.config = network.config
        self.device = network.device()

    def start(self, lanes: int) -> State:
        """Return the state before any character, for `lanes` independent texts."""
        return self.network.start(lanes)

    def step(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B,): log-probabilities (B, V) of the next character, and the state after."""
        log_p, state = self.log_probs(ids[:, np.newaxis], state)
        return log_p[:, 0], state

    @torch.no_grad()
    def log_probs(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B, T): (B, T, V), entry t the log-probabilities after ids[:, : t + 1].

        Raises CharloomError where an id is not in [0, V).
        """
        check_ids(ids, self.network.vocabulary_size)
        logits, state = self.network(send(ids.astype(np.int64), self.device), state)
        return logits.log_softmax(-1).cpu().numpy(), state
