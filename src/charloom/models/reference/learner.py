"""One update of training: loss, gradients by backpropagation through time, new weights."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from charloom.config import ModelConfig, TrainConfig
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.models.dropout import dropout_masks
from charloom.models.learner_arrays import Characters, check_arrays, check_batch
from charloom.models.optimizers import Optimizer
from charloom.models.reference import network
from charloom.models.reference.language_model import ReferenceModel
from charloom.models.reference.operations import cross_entropy
from charloom.models.weights import Array, Weights, initial_weights, state_shapes


class ReferenceLearner:
    """The `Learner` protocol in plain NumPy, which also lends its model.

    `dtype` is "float64" or "float32"; `seed`, by default `train.seed`, draws the initial
    weights and the dropout masks; `characters` (V,) is how many each id stands for. The state
    carried from step to step starts at zero.
    """

    def __init__(
        self,
        config: ModelConfig,
        train: TrainConfig,
        vocabulary_size: int,
        dtype: str = "float64",
        seed: int | None = None,
        characters: NDArray[np.integer] | None = None,
    ) -> None:
        self.characters = Characters(characters)
        self.config = config
        self.train = train
        self.vocabulary_size = vocabulary_size
        self.dtype = dtype
        self.seed = train.seed if seed is None else seed
        drawn = initial_weights(config, vocabulary_size, self.seed)
        self.weights: Weights = {name: w.astype(dtype) for name, w in drawn.items()}
        self.optimizer = Optimizer(train, self.weights)
        self.states: network.States
        self.reset()

    @np.errstate(over="ignore", invalid="ignore")  # NaN and infinity are returned, not warned about
    def update(self, inputs: Ids, targets: Ids, learning_rate: float) -> float:
        """Take one step on inputs and targets (B, T), and carry the state on; see `Learner`."""
        check_batch(inputs, targets, self.train.batch, self.vocabulary_size)
        logits, states, cache = network.forward(
            self.config, self.weights, inputs.T, self.states, self._masks()
        )
        loss, dlogits = cross_entropy(logits, targets.T)
        if not math.isfinite(loss):
            return loss
        if self.train.reduction == "mean":
            dlogits /= targets.size
        gradients = network.backward(self.config, self.weights, dlogits, cache)
        if not self.optimizer.step(self.weights, gradients, learning_rate):
            return math.nan
        self.states = states
        return self._per_character(loss, targets)

    def loss(self, inputs: Ids, targets: Ids) -> float:
        """Return the loss of (B, T) from the carried state, without dropout; nothing changes."""
        check_batch(inputs, targets, self.train.batch, self.vocabulary_size)
        logits, _, _ = network.forward(self.config, self.weights, inputs.T, self.states)
        return self._per_character(cross_entropy(logits, targets.T)[0], targets)

    def _per_character(self, loss: float, targets: Ids) -> float:
        """From the mean per id to that per character."""
        return loss * (targets.size / self.characters.of(targets))

    @property
    def gradient_norm(self) -> float | None:
        """The norm of the last update's gradient before clipping; None if it was not computed."""
        return self.optimizer.norm

    def model(self, vocabulary: Tokenizer) -> ReferenceModel:
        """Return the model as it is now; float64 weights are not copied."""
        return ReferenceModel(self.config, self.weights, vocabulary, copy=False)

    def reset(self) -> None:
        """Forget the carried state."""
        self.states = network.zero_states(self.config, self.train.batch, self.dtype)

    def arrays(self) -> dict[str, Array]:
        """Return weights and training state, named as in `learner_arrays.state_array_shapes`."""
        arrays: dict[str, Array] = dict(self.weights)
        for slot, named in self.optimizer.slots.items():
            arrays |= {f"optimizer.{slot}.{name}": array for name, array in named.items()}
        arrays["optimizer.updates"] = np.array([self.optimizer.updates], np.int64)
        carried = [array for state in self.states for array in state]
        names = state_shapes(self.config, self.train.batch)
        arrays |= {f"state.{n}": array for n, array in zip(names, carried, strict=True)}
        arrays["rng.seed"] = np.array([self.seed], np.int64)
        return arrays

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Take weights alone, or all that `arrays` gave; see `Learner`."""
        check_arrays(arrays, self.config, self.train, self.vocabulary_size)
        self.optimizer = Optimizer(self.train, self.weights)
        self.reset()
        own = self.arrays()
        for name, array in arrays.items():
            own[name][...] = array
        self.optimizer.updates = int(own["optimizer.updates"][0])
        self.seed = int(own["rng.seed"][0])

    def _masks(self) -> list[Array]:
        """Draw the dropout masks of the next update, (B, H) for each layer."""
        if not self.train.dropout:
            return []
        L, shape = self.config.layers, (self.train.batch, self.config.hidden)
        update, rate = self.optimizer.updates, self.train.dropout
        return [*dropout_masks(self.seed, update, L, shape, rate, self.dtype)]
