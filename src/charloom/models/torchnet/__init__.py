"""The engine that needs PyTorch: GPUs, transformers, pretrained models, several processes.

Nothing imports it but model.py, when it is asked for.
"""

from collections.abc import Mapping
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from charloom.config import (
    Dtype,
    ModelConfig,
    NetworkConfig,
    PretrainedConfig,
    TrainConfig,
    TransformerConfig,
)
from charloom.data.tokenizer import Tokenizer
from charloom.distributed import place
from charloom.errors import CharloomError
from charloom.models.torchnet import ranks
from charloom.models.torchnet.devices import check_precision, pick_device
from charloom.models.torchnet.folders import read_tokens
from charloom.models.torchnet.language_model import TorchModel
from charloom.models.torchnet.learner import Share, TorchLearner
from charloom.models.torchnet.network import Network
from charloom.models.torchnet.pretrained import (
    PretrainedModel,
    PretrainedNetwork,
    config_of,
    open_folder,
    source_weights,
    trainable,
)
from charloom.models.torchnet.recurrent import RecurrentNetwork
from charloom.models.torchnet.transformer import TransformerNetwork
from charloom.models.torchnet.window_model import WindowModel
from charloom.models.weights import Array, check_weights, initial_weights

__all__ = [
    "config_of",
    "create_learner",
    "create_model",
    "new_network",
    "open_folder",
    "read_tokens",
    "source_weights",
]


def create_learner(
    model: NetworkConfig,
    train: TrainConfig,
    vocabulary_size: int,
    dtype: Dtype = "float32",
    seed: int | None = None,
    characters: NDArray[np.integer] | None = None,
) -> TorchLearner | ranks.Leader:
    """Return a fresh learner, as model.py's `create_learner` does; of several ranks, the leader."""
    here, counts = place(), None if characters is None else characters.tolist()
    create = ranks.Create(model, train, vocabulary_size, dtype, seed, counts)
    if here is None:
        return _own_learner(create)
    if here.rank:
        raise CharloomError(
            "several processes train by `charloom train` alone: let that be started"
        )
    return ranks.Leader(ranks.team(), _own_learner, create)


def follow() -> NoReturn:
    """Help rank 0 to train until it says stop, and end with its status."""
    ranks.follow(_own_learner)


def _own_learner(create: ranks.Create, share: Share | None = None) -> TorchLearner:
    model, train, vocabulary_size, dtype = (
        create.model,
        create.train,
        create.vocabulary_size,
        create.dtype,
    )
    check_precision(train, dtype, pick_device())
    seed = train.seed if create.seed is None else create.seed
    network: Network
    if isinstance(model, PretrainedConfig):
        characters = None if create.characters is None else np.array(create.characters)
        network = trainable(model, train, vocabulary_size, dtype, seed, characters)
    else:
        network = new_network(model, vocabulary_size, dtype)
        network.put(initial_weights(model, vocabulary_size, seed))
    return TorchLearner(network, train, dtype, seed, share)


def create_model(
    config: NetworkConfig,
    weights: Mapping[str, Array],
    vocabulary: Tokenizer,
    dtype: Dtype = "float32",
) -> TorchModel | WindowModel | PretrainedModel:
    """Return a model that predicts with these weights; raises CharloomError on a misfit."""
    check_weights(weights, config, len(vocabulary))
    network = new_network(config, len(vocabulary), dtype)
    network.put(weights)
    if isinstance(network, PretrainedNetwork):
        return PretrainedModel(network.model, vocabulary, network.config.context)
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
        case PretrainedConfig():
            return PretrainedNetwork(config, vocabulary_size, dtype)
