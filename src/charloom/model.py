"""The two faces every model shows, and the one place that picks an engine.

Both protocols are structural: nothing inherits from them. Shapes: B lanes, T time,
V characters in the vocabulary. Losses are mean nats per character.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from charloom.config import Dtype, Engine, ModelConfig, NgramConfig, TrainConfig
from charloom.errors import CharloomError
from charloom.run import Run
from charloom.vocabulary import Vocabulary
from charloom.weights import STATE_PREFIXES, Array

Ids = NDArray[np.integer]
State = Any


@runtime_checkable
class LanguageModel(Protocol):
    """What the sampler, evaluation and studies read text with.

    A state belongs to the model that made it and is never changed in place: an older one
    can be gone back to.
    """

    vocabulary: Vocabulary

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


def pick_engine(engine: Engine = "auto") -> str:
    """Resolve "auto": the one place that decides."""
    return "compiled" if engine == "auto" else engine


def create_learner(
    model: ModelConfig,
    train: TrainConfig,
    vocabulary_size: int,
    engine: Engine = "auto",
    dtype: Dtype = "float32",
    seed: int | None = None,
) -> Learner:
    """Return a fresh learner; `seed`, by default `train.seed`, draws weights and dropout.

    Raises CharloomError where the engine is not installed.
    """
    match pick_engine(engine):
        case "reference":
            from charloom.reference import ReferenceLearner

            return ReferenceLearner(model, train, vocabulary_size, dtype, seed)
        case "compiled":
            from charloom.compiled import CompiledLearner

            return CompiledLearner(model, train, vocabulary_size, dtype, seed)
        case unknown:
            raise CharloomError(f"engine {unknown!r} is not there: take compiled or reference")


def create_model(
    config: ModelConfig | NgramConfig,
    arrays: Mapping[str, NDArray[Any]],
    vocabulary: Vocabulary,
    engine: Engine = "auto",
    dtype: Dtype = "float32",
) -> LanguageModel:
    """Return a model that predicts with a copy of these weights (or an n-gram's counts).

    Of all that a learner's `arrays` gave, it takes the weights.
    Raises CharloomError where they do not fit the config or the engine is not installed.
    """
    if isinstance(config, NgramConfig):
        from charloom.ngram import NgramModel

        return NgramModel.from_arrays(config, vocabulary, arrays)
    weights = {name: a for name, a in arrays.items() if not name.startswith(STATE_PREFIXES)}
    match pick_engine(engine):
        case "reference":
            from charloom.reference import ReferenceModel

            return ReferenceModel(config, weights, vocabulary)
        case "compiled":
            from charloom.compiled import CompiledModel

            return CompiledModel(config, weights, vocabulary, dtype)
        case unknown:
            raise CharloomError(f"engine {unknown!r} is not there: take compiled or reference")


def open_model(run: str | Path | Run, engine: Engine = "auto") -> LanguageModel:
    """Open the best model of a run folder, whichever engine trained it.

    Raises CharloomError where there is no run or no valid checkpoint in it.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    config = run.config
    return create_model(config.model, run.load_weights(), run.vocabulary, engine, config.dtype)
