"""The two faces every model shows, and the one place that picks an engine.

Both protocols are structural: nothing inherits from them. Shapes: B lanes, T time,
V characters in the vocabulary. Losses are mean nats per character.
"""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from charloom.config import (
    Dtype,
    Engine,
    ModelConfig,
    NetworkConfig,
    NgramConfig,
    PretrainedConfig,
    TrainConfig,
    TransformerConfig,
)
from charloom.data.tokenizer import Tokenizer
from charloom.distributed import place
from charloom.errors import CharloomError
from charloom.models.weights import STATE_PREFIXES, Array

Ids = NDArray[np.integer]
State = Any


@runtime_checkable
class LanguageModel(Protocol):
    """What the sampler, evaluation and studies read text with.

    A state belongs to the model that made it and is never changed in place: an older one
    can be gone back to.
    """

    @property
    def vocabulary(self) -> Tokenizer:
        """The characters or tokens that ids stand for."""

    def start(self, lanes: int) -> State:
        """Return the state before any character, for `lanes` independent texts."""

    def step(self, ids: Ids, state: State) -> tuple[Array, State]:
        """ids (B,) -> log-probabilities (B, V) of the next character, and the state after."""

    def log_probs(self, ids: Ids, state: State) -> tuple[Array, State]:
        """ids (B, T) -> (B, T, V): entry t is the distribution after reading ids[:, : t + 1]."""


@runtime_checkable
class Learner(Protocol):
    """What the training loop drives. Five methods are the ceiling."""

    def update(self, inputs: Ids, targets: Ids, learning_rate: float) -> float:
        """One step on (B, T) inputs and targets; the state is carried on to the next.

        Returns the loss before the step, in mean nats per character; NaN where the loss is
        finite but a number of its gradient is not. Where what it returns is NaN or infinite,
        weights, optimiser slots and the count of updates are as they were; of the carried
        state nothing is promised.
        """

    def loss(self, inputs: Ids, targets: Ids) -> float:
        """Return the loss that `update` would, without dropout; nothing changes."""

    def reset(self) -> None:
        """Forget the carried state."""

    def arrays(self) -> dict[str, Array]:
        """Return views of all there is to save: weights by their name, the rest under
        ``optimizer.``, ``state.`` and ``rng.``. Valid until the next update; not to be written to.
        """

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Take weights alone, or all that `arrays` gave. Raises CharloomError on a misfit."""


@runtime_checkable
class LendsModel(Protocol):
    """A learner that can be read with as it stands."""

    def model(self, vocabulary: Tokenizer) -> LanguageModel:
        """Return the model as it is now, without a copy of its weights.

        Valid until the next update; reading with it changes nothing of the learner.
        """


@runtime_checkable
class ReportsGradientNorm(Protocol):
    """A learner that knows how long its last gradient was."""

    @property
    def gradient_norm(self) -> float | None:
        """The norm of the last update's gradient before clipping; None if it was not computed."""


def pick_engine(
    engine: Engine, model: NetworkConfig | NgramConfig, train: TrainConfig | None = None
) -> Engine:
    """Resolve "auto": the one place that decides.

    Recurrent networks are computed by the compiled engine, but where PyTorch is at hand and finds
    a GPU, or where `train` asks for what only PyTorch does, by that; so is everything else, but
    for the reading of transformers where it is not installed, which the reference engine does.
    Raises CharloomError where an engine cannot do what it is to do.
    """
    readable = isinstance(model, TransformerConfig) and train is None
    known = isinstance(model, ModelConfig | NgramConfig)
    wanted = _needs_torch(train) if known else "this model"
    if engine == "auto":
        if readable and not has_torch():
            return "reference"
        return "torch" if wanted or (train and has_gpu()) else "compiled"
    if engine == "torch" or not wanted or (engine == "reference" and readable):
        return engine
    raise CharloomError(f"the {engine} engine cannot do {wanted}: leave out --engine, or say torch")


def _needs_torch(train: TrainConfig | None) -> str:
    """Name what is asked for that only PyTorch does; empty where nothing is."""
    if train is None:
        return ""
    several = "several processes" if place() else ""  # one is left of them, or more
    asked = {
        f"--precision {train.precision}": train.precision != "full",
        "--accumulate": train.accumulate > 1,
        "--compile": train.compile,
    }
    return several or next((name for name, given in asked.items() if given), "")


def has_torch() -> bool:
    """Whether PyTorch is installed; it is not loaded to find out."""
    return find_spec("torch") is not None


def has_gpu() -> bool:
    """Whether PyTorch is installed and finds a GPU."""
    if not any(Path("/proc/driver").glob("nvidia*")):  # PyTorch takes a second to load
        return False
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def create_learner(
    model: NetworkConfig,
    train: TrainConfig,
    vocabulary_size: int,
    engine: Engine = "auto",
    dtype: Dtype = "float32",
    seed: int | None = None,
    characters: NDArray[np.integer] | None = None,
) -> Learner:
    """Return a fresh learner; `seed`, by default `train.seed`, draws weights and dropout.

    `characters` (V,) is how many each id stands for; None is one each. Of a pretrained model the
    weights are 0 until they are loaded (with LoRA, that is what adapters add).
    Raises CharloomError where the engine is not installed or cannot do it.
    """
    match pick_engine(engine, model, train), model:
        case "reference", ModelConfig():
            from charloom.models.reference import ReferenceLearner

            return ReferenceLearner(model, train, vocabulary_size, dtype, seed)
        case "compiled", ModelConfig():
            from charloom.models.compiled import CompiledLearner

            return CompiledLearner(model, train, vocabulary_size, dtype, seed)
        case _:
            learner: Learner = load_torchnet().create_learner(
                model, train, vocabulary_size, dtype, seed, characters
            )
            return learner


def create_model(
    config: NetworkConfig | NgramConfig,
    arrays: Mapping[str, NDArray[Any]],
    vocabulary: Tokenizer,
    engine: Engine = "auto",
    dtype: Dtype = "float32",
) -> LanguageModel:
    """Return a model that predicts with a copy of these weights (or an n-gram's counts).

    Of all that a learner's `arrays` gave, it takes the weights.
    Raises CharloomError where they do not fit the config or the engine is not installed.
    """
    weights = {name: a for name, a in arrays.items() if not name.startswith(STATE_PREFIXES)}
    if isinstance(config, PretrainedConfig):
        pick_engine(engine, config)
        pretrained: LanguageModel
        pretrained = load_torchnet().create_model(config, weights, vocabulary, dtype)
        return pretrained
    if isinstance(config, NgramConfig):
        from charloom.models.ngram import NgramModel

        return NgramModel.from_arrays(config, vocabulary, arrays)
    match pick_engine(engine, config), config:
        case "reference", ModelConfig():
            from charloom.models.reference import ReferenceModel

            return ReferenceModel(config, weights, vocabulary)
        case "reference", TransformerConfig():
            from charloom.models.reference import ReferenceTransformer

            return ReferenceTransformer(config, weights, vocabulary)
        case "compiled", ModelConfig():
            from charloom.models.compiled import CompiledModel

            return CompiledModel(config, weights, vocabulary, dtype)
        case _:
            model: LanguageModel = load_torchnet().create_model(config, weights, vocabulary, dtype)
            return model


def load_torchnet() -> ModuleType:
    """Load the engine that needs PyTorch; raises CharloomError where that is not installed."""
    # Threads of PyTorch's that spin for milliseconds while they wait take ten times as long on a
    # machine that is busy; those that sleep at once, three times on one that is not (LOG.md).
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        import torch  # noqa: F401
    except ImportError:
        raise CharloomError(
            "this needs PyTorch, which is not installed: pip install 'charloom[torch]'"
        ) from None
    from charloom.models import torchnet

    return torchnet
