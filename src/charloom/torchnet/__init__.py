"""The engine that needs PyTorch: GPUs, transformers, pretrained models, several processes.

Nothing imports it but model.py, when it is asked for.
"""

from collections.abc import Mapping
from typing import NoReturn

import torch

from charloom.config import (
    Dtype,
    ModelConfig,
    NetworkConfig,
    PretrainedConfig,
    TrainConfig,
    TransformerConfig,
)
from charloom.errors import CharloomError
from charloom.launch import place
from charloom.torchnet import ranks
from charloom.torchnet.devices import check_precision, pick_device
from charloom.torchnet.language_model import TorchModel
from charloom.torchnet.learner import Share, TorchLearner
from charloom.torchnet.network import Network
from charloom.torchnet.recurrent import RecurrentNetwork
from charloom.torchnet.transformer import TransformerNetwork
from charloom.torchnet.window_model import WindowModel
from charloom.vocabulary import Vocabulary
from charloom.weights import Array, check_weights, initial_weights


def create_learner(
    model: NetworkConfig,
    train: TrainConfig,
    vocabulary_size: int,
    dtype: Dtype = "float32",
    seed: int | None = None,
) -> TorchLearner | ranks.Leader:
    """Return a fresh learner, as model.py's `create_learner` does; of several ranks, the leader."""
    here = place()
    if here is None:
        return _own_learner(model, train, vocabulary_size, dtype, seed)
    if here.rank:
        raise CharloomError(
            "several processes train by `charloom train` alone: let that be started"
        )
    create = ranks.Create(model, train, vocabulary_size, dtype, seed)
    return ranks.Leader(ranks.team(), _own_learner, create)


def follow() -> NoReturn:
    """Help rank 0 to train until it says stop, and end with its status."""
    ranks.follow(_own_learner)


def _own_learner(
    model: NetworkConfig,
    train: TrainConfig,
    vocabulary_size: int,
    dtype: Dtype = "float32",
    seed: int | None = None,
    share: Share | None = None,
) -> TorchLearner:
    check_precision(train, dtype, pick_device())
    network = new_network(model, vocabulary_size, dtype)
    seed = train.seed if seed is None else seed
    if not isinstance(model, PretrainedConfig):
        network.put(initial_weights(model, vocabulary_size, seed))
    return TorchLearner(network, train, dtype, seed, share)


def create_model(
    config: NetworkConfig,
    weights: Mapping[str, Array],
    vocabulary: Vocabulary,
    dtype: Dtype = "float32",
) -> TorchModel | WindowModel:
    """Return a model that predicts with these weights; raises CharloomError on a misfit."""
    check_weights(weights, config, len(vocabulary))
    network = new_network(config, len(vocabulary), dtype)
    network.put(weights)
    if isinstance(network, TransformerNetwork) and network.config.mixer == "attention":
        return WindowModel(network, vocabulary)
    return TorchModel(network, vocabulary)


def new_network(config: NetworkConfig, vocabulary_size: int, dtype: Dtype) -> Network:
    """Return the network of a config, on the device that is there; its weights are not set."""
    kind, device = getattr(torch, dtype), pick_device()
    match config:
        case ModelConfig():
            return RecurrentNetwork(config, vocabulary_size, kind, device)
        case TransformerConfig():
            return TransformerNetwork(config, vocabulary_size, kind, device)
        case _:
            raise CharloomError(f"the torch engine does not know a {type(config).__name__}")
