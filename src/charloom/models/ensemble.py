"""Several networks of one shape, trained side by side and read as one: probabilities are averaged.

    P(c) = 1/K sum_k P_k(c)

(Hansen & Salamon 1990, "Neural Network Ensembles"; of language models, Zaremba et al. 2014,
"Recurrent Neural Network Regularization", table 1.) What they have is named by `name_in`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from charloom.config import EnsembleConfig, TrainConfig
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.models.learner_arrays import check_arrays
from charloom.models.protocols import (
    LanguageModel,
    Learner,
    LendsModel,
    ReportsGradientNorm,
    State,
)
from charloom.models.weights import Array, name_in, part_of


class Ensemble:
    """The `LanguageModel` protocol by K networks of one vocabulary; a state is the tuple of theirs.

    Log-probabilities have the dtype of the networks'.
    """

    def __init__(self, networks: Sequence[LanguageModel]) -> None:
        self.networks = tuple(networks)

    @property
    def vocabulary(self) -> Tokenizer:
        """That of the networks."""
        return self.networks[0].vocabulary

    def start(self, lanes: int) -> State:
        """Return the state before any character, for `lanes` independent texts."""
        return tuple(network.start(lanes) for network in self.networks)

    def step(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B,): log-probabilities (B, V) of the next character, and the state after."""
        log_probs, state = self.log_probs(ids[:, np.newaxis], state)
        return log_probs[:, 0], state

    def log_probs(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B, T): (B, T, V), entry t the log-probabilities after ids[:, : t + 1]."""
        read = [
            network.log_probs(ids, own) for network, own in zip(self.networks, state, strict=True)
        ]
        return mean_of([log_probs for log_probs, _ in read]), tuple(after for _, after in read)


def mean_of(log_probs: Sequence[Array]) -> Array:
    """Return the logarithm of the mean of K arrays of probabilities; all are log-probabilities."""
    highest = np.maximum.reduce(log_probs)
    total = np.zeros_like(highest)
    for one in log_probs:
        total += np.exp(one - highest)
    mean: Array = highest + np.log(total / len(log_probs))
    return mean


class EnsembleLearner:
    """The `Learner` protocol by K learners, which all take the same batches.

    The loss is the mean of theirs, and the gradient's norm that of all their weights together. If
    one's loss or gradient is not finite, the others have moved, and the loss is NaN. The models
    that they lend are `read_as_one`. The first `at_once` of them are called by `make`, which may do
    so on several threads.
    """

    def __init__(
        self,
        model: EnsembleConfig,
        train: TrainConfig,
        vocabulary_size: int,
        learners: Sequence[Learner],
        read_as_one: Callable[[Sequence[Any]], Ensemble] = Ensemble,
        make: Callable[[Sequence[Callable[[], float]]], list[float]] | None = None,
        at_once: int = 0,
    ) -> None:
        self._settings = model, train, vocabulary_size
        self._learners = tuple(learners)
        self._read_as_one, self._make, self._at_once = read_as_one, make, at_once

    def update(self, inputs: Ids, targets: Ids, learning_rate: float) -> float:
        """Take one step with each network on inputs and targets (B, T); see `Learner`."""
        calls = [
            partial(learner.update, inputs, targets, learning_rate) for learner in self._learners
        ]
        losses = self._make(calls[: self._at_once]) if self._make else []
        losses += [call() for call in calls[len(losses) :]]
        total = sum(losses)
        return total / len(losses) if math.isfinite(total) else math.nan

    def loss(self, inputs: Ids, targets: Ids) -> float:
        """Return the mean loss of (B, T) from the carried states; nothing changes."""
        losses = [learner.loss(inputs, targets) for learner in self._learners]
        return sum(losses) / len(losses)

    @property
    def gradient_norm(self) -> float | None:
        """The norm of the last gradient before clipping; None if it was not computed."""
        norms = [
            learner.gradient_norm if isinstance(learner, ReportsGradientNorm) else None
            for learner in self._learners
        ]
        known = [norm for norm in norms if norm is not None]
        return math.hypot(*known) if len(known) == len(norms) else None

    def model(self, vocabulary: Tokenizer) -> Ensemble:
        """Return the model as it is now, which reads these learners' own weights."""
        lent = []
        for learner in self._learners:
            assert isinstance(learner, LendsModel)
            lent.append(learner.model(vocabulary))
        return self._read_as_one(lent)

    def reset(self) -> None:
        """Forget the carried states."""
        for learner in self._learners:
            learner.reset()

    def arrays(self) -> dict[str, Array]:
        """Return what all have, each array under the name that `name_in` says."""
        return {
            name_in(k, name): array
            for k, learner in enumerate(self._learners)
            for name, array in learner.arrays().items()
        }

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Take weights alone, or all that `arrays` gave; see `Learner`."""
        check_arrays(arrays, *self._settings)
        for k, learner in enumerate(self._learners):
            learner.load(part_of(arrays, k))


def seed_of(seed: int, k: int) -> int:
    """Return the seed of network k, from 0, of a run: the first has the run's own."""
    if k == 0:
        return seed
    return int(np.random.SeedSequence([seed, k]).generate_state(1, np.uint64)[0] >> np.uint64(1))
