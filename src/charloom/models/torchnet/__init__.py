"""The torch engine: settings and weights in, a learner or a model out, which PyTorch computes.

It does GPUs, transformers, pretrained models and several processes. Only engines.py imports it,
when it is asked for.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charloom.config import (
    AttentiveConfig,
    Dtype,
    EnsembleConfig,
    ModelConfig,
    NetworkConfig,
    PretrainedConfig,
    TrainConfig,
    TransformerConfig,
)
from charloom.data.tokenizer import Tokenizer
from charloom.distributed import place
from charloom.errors import CharloomError
from charloom.models.learner_arrays import Characters
from charloom.models.torchnet import ranks
from charloom.models.torchnet.devices import check_precision, pick_device, send, versions
from charloom.models.torchnet.folders import read_tokens
from charloom.models.torchnet.language_model import Model, as_model
from charloom.models.torchnet.learner import TorchLearner
from charloom.models.torchnet.network import Network, check_length
from charloom.models.torchnet.pretrained import (
    PretrainedNetwork,
    config_of,
    open_folder,
    source_weights,
)
from charloom.models.torchnet.ranks import run_on_ranks
from charloom.models.torchnet.recurrent import RecurrentNetwork
from charloom.models.torchnet.transformer import TransformerNetwork
from charloom.models.weights import Array, check_weights, initial_weights

__all__ = [
    "config_of",
    "create_learner",
    "create_model",
    "new_network",
    "open_folder",
    "read_tokens",
    "run_on_ranks",
    "source_weights",
    "versions",
]


def create_learner(train: TrainConfig, *settings: Any) -> TorchLearner | ranks.Leader:
    """Return a fresh learner; of several ranks, the leader.

    `settings` are the other arguments of `engines.create_learner`, all but the engine.
    """
    here = place()
    if here is None:
        return _own_learner(train, *settings)
    if here.rank:
        raise CharloomError(
            "only `charloom train` trains on several processes: start that with torchrun",
            "unsupported",
        )
    return ranks.Leader(ranks.team(), _own_learner, train, settings)


def _own_learner(
    train: TrainConfig,
    model: NetworkConfig,
    vocabulary_size: int,
    dtype: Dtype,
    seed: int | None,
    characters: NDArray[np.integer] | None,
    rows: slice | None = None,
    reduce: Callable[[Tensor], None] | None = None,
) -> TorchLearner:
    check_precision(train, dtype, pick_device())
    seed = train.seed if seed is None else seed
    network: Network
    if isinstance(model, PretrainedConfig):
        check_length(train.length, model.context)
        network = PretrainedNetwork(model, vocabulary_size, dtype, train.dropout, seed)
    else:
        assert not isinstance(model, AttentiveConfig | EnsembleConfig)  # pick_engine refuses these
        network = new_network(model, vocabulary_size, dtype)
        network.put(initial_weights(model, vocabulary_size, seed))
    lengths = Characters(characters).lengths
    if lengths is not None:
        network.characters = send(lengths.astype(np.int64), network.device())
    return TorchLearner(network, train, dtype, seed, rows, reduce)


def create_model(
    config: NetworkConfig,
    weights: Mapping[str, Array],
    vocabulary: Tokenizer,
    dtype: Dtype = "float32",
) -> Model:
    """Return a model that predicts with these weights; raises CharloomError if they do not fit."""
    check_weights(weights, config, len(vocabulary))
    network = new_network(config, len(vocabulary), dtype)
    network.put(weights)
    return as_model(network, vocabulary)


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
        case AttentiveConfig() | EnsembleConfig():
            message = "the torch engine reads neither a model of textgenrnn nor several networks"
            raise CharloomError(message, "unsupported")
