"""A network as a predictor of the next character, and which predictor a network needs."""

import numpy as np
import torch

from charloom.data.tokenizer import Ids, Tokenizer
from charloom.models.torchnet.devices import on_own_threads, send_ids
from charloom.models.torchnet.network import Network, State
from charloom.models.torchnet.pretrained import PretrainedModel, PretrainedNetwork
from charloom.models.torchnet.transformer import TransformerNetwork
from charloom.models.torchnet.window_model import WindowModel
from charloom.models.weights import Array


def as_model(network: Network, vocabulary: Tokenizer, threads: int | None = None) -> "Model":
    """Return the model that predicts with a network's weights, which it shares.

    It computes on so many threads, or if that is None on as many as PyTorch has.
    """
    model: Model
    if isinstance(network, PretrainedNetwork):
        model = PretrainedModel(network.model, vocabulary, network.config.context)
    elif isinstance(network, TransformerNetwork) and network.config.mixer == "attention":
        model = WindowModel(network, vocabulary)
    else:
        model = TorchModel(network, vocabulary)
    model.threads = threads
    return model


class TorchModel:
    """The `LanguageModel` protocol over a `Network` that carries a state."""

    threads: int | None = None  # that compute, if that is said

    def __init__(self, network: Network, vocabulary: Tokenizer) -> None:
        self.network, self.vocabulary = network, vocabulary

    def start(self, lanes: int) -> State:
        """Return the state before any character, for `lanes` independent texts."""
        return self.network.start(lanes)

    def step(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B,): log-probabilities (B, V) of the next character, and the state after."""
        log_p, state = self.log_probs(ids[:, np.newaxis], state)
        return log_p[:, 0], state

    @torch.no_grad()
    @on_own_threads
    def log_probs(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B, T): (B, T, V), entry t the log-probabilities after ids[:, : t + 1].

        Raises CharloomError if an id is not in [0, V).
        """
        sent = send_ids(ids, self.network.vocabulary_size, self.network.device())
        logits, state = self.network(sent, state)
        return logits.log_softmax(-1).cpu().numpy(), state


Model = TorchModel | WindowModel | PretrainedModel
