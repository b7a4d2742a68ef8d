"""A network as a predictor of the next character, and which predictor a network needs."""

import numpy as np
import torch

from charloom.data.tokenizer import Ids, Tokenizer
from charloom.models.torchnet.devices import send_ids
from charloom.models.torchnet.network import Network, State
from charloom.models.torchnet.pretrained import PretrainedModel, PretrainedNetwork
from charloom.models.torchnet.transformer import TransformerNetwork
from charloom.models.torchnet.window_model import WindowModel
from charloom.models.weights import Array


def as_model(network: Network, vocabulary: Tokenizer) -> "Model":
    """Return the model that predicts with a network's weights, which it shares."""
    if isinstance(network, PretrainedNetwork):
        return PretrainedModel(network.model, vocabulary, network.config.context)
    if isinstance(network, TransformerNetwork) and network.config.mixer == "attention":
        return WindowModel(network, vocabulary)
    return TorchModel(network, vocabulary)


class TorchModel:
    """The `LanguageModel` protocol over a `Network` that carries a state."""

    def __init__(self, network: Network, vocabulary: Tokenizer) -> None:
        self.network, self.vocabulary = network, vocabulary
        self.config = network.config

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

        Raises CharloomError if an id is not in [0, V).
        """
        sent = send_ids(ids, self.network.vocabulary_size, self.network.device())
        logits, state = self.network(sent, state)
        return logits.log_softmax(-1).cpu().numpy(), state


Model = TorchModel | WindowModel | PretrainedModel
