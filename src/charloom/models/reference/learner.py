"""One update of training, from characters to moved weights."""

import math
from collections.abc import Mapping

import numpy as np

from charloom.config import ModelConfig, TrainConfig
from charloom.errors import CharloomError
from charloom.models.dropout import dropout_mask
from charloom.models.optimizers import Optimizer
from charloom.models.reference import network
from charloom.models.reference.operations import Ids, cross_entropy
from charloom.models.weights import Array, Weights, check_shapes, check_weights, initial_weights


class ReferenceLearner:
    """The `Learner` protocol in plain NumPy.

    `dtype` is "float64" or "float32"; `seed`, by default `train.seed`, draws the first
    weights and the dropout masks. The state carried from step to step starts at zero.
    """

    def __init__(
        self,
        model: ModelConfig,
        train: TrainConfig,
        vocabulary_size: int,
        dtype: str = "float64",
        seed: int | None = None,
    ) -> None:
        self.model = model
        self.train = train
        self.vocabulary_size = vocabulary_size
        self.dtype = dtype
        self.seed = train.seed if seed is None else seed
        drawn = initial_weights(model, vocabulary_size, self.seed)
        self.weights: Weights = {name: w.astype(dtype) for name, w in drawn.items()}
        self.optimizer = Optimizer(train, self.weights)
        self.states: network.States
        self.reset()

    @np.errstate(over="ignore", invalid="ignore")  # what came of it is looked at
    def update(self, inputs: Ids, targets: Ids, learning_rate: float) -> float:
        """Take one step on inputs and targets (B, T), and carry the state on.

        Returns the loss before the step, with dropout, in mean nats per character; NaN where
        the loss is finite but its gradient is not. Where what it returns is NaN or infinite,
        weights, slots and the count of updates are as they were.
        Raises CharloomError where the shapes are not (B, T) or an id is not in [0, V).
        """
        self._check(inputs, targets)
        logits, states, cache = network.forward(
            self.model, self.weights, inputs.T, self.states, self._masks()
        )
        loss, dlogits = cross_entropy(logits, targets.T)
        if not math.isfinite(loss):
            return loss
        if self.train.reduction == "mean":
            dlogits /= targets.size
        gradients = network.backward(self.model, self.weights, dlogits, cache)
        if not self.optimizer.step(self.weights, gradients, learning_rate):
            return math.nan
        self.states = states
        return loss

    def loss(self, inputs: Ids, targets: Ids) -> float:
        """Return the loss of (B, T) from the carried state, without dropout; nothing changes."""
        self._check(inputs, targets)
        logits, _, _ = network.forward(self.model, self.weights, inputs.T, self.states)
        return cross_entropy(logits, targets.T)[0]

    @property
    def gradient_norm(self) -> float | None:
        """The norm of the last update's gradient before it was clipped; None where unknown."""
        return self.optimizer.norm

    def reset(self) -> None:
        """Forget the carried state."""
        self.states = network.zero_states(self.model, self.train.batch, self.dtype)

    def arrays(self) -> dict[str, Array]:
        """Return weights, optimiser slots, updates made, carried state and dropout seed.

        They are ``optimizer.SLOT.WEIGHT``, ``optimizer.updates`` (1,), ``state.layerN.h`` and
        for an LSTM ``.c`` (B, H), and ``rng.seed`` (1,). Seed and updates determine every mask.
        """
        arrays: dict[str, Array] = dict(self.weights)
        for slot, named in self.optimizer.slots.items():
            arrays |= {f"optimizer.{slot}.{name}": array for name, array in named.items()}
        arrays["optimizer.updates"] = np.array([self.optimizer.updates], np.int64)
        for layer, state in enumerate(self.states):
            names = network.STATE_NAMES[self.model.cell]
            arrays |= {
                f"state.layer{layer}.{n}": array for n, array in zip(names, state, strict=True)
            }
        arrays["rng.seed"] = np.array([self.seed], np.int64)
        return arrays

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Take weights alone, or all that `arrays` gave, cast to this learner's dtype.

        With weights alone all else becomes that of a fresh learner: slots and carried state
        zero, no updates made. Raises CharloomError, having changed nothing, where a name is
        missing or unknown, a shape does not fit, or a weight is not finite.
        """
        self._check_arrays(arrays)
        self.optimizer = Optimizer(self.train, self.weights)
        self.reset()
        views = self.arrays()
        for name, array in arrays.items():
            views[name][...] = array
        self.optimizer.updates = int(views["optimizer.updates"][0])
        self.seed = int(views["rng.seed"][0])

    def _masks(self) -> list[Array]:
        """Dropout masks of the next update, (B, H) for each layer."""
        if not self.train.dropout:
            return []
        shape = (self.train.batch, self.model.hidden)
        update, rate = self.optimizer.updates, self.train.dropout
        return [
            dropout_mask(self.seed, update, layer, shape, rate, self.dtype)
            for layer in range(self.model.layers)
        ]

    def _check(self, inputs: Ids, targets: Ids) -> None:
        B, V = self.train.batch, self.vocabulary_size
        if inputs.ndim != 2 or len(inputs) != B or not inputs.size or inputs.shape != targets.shape:
            raise CharloomError(
                f"inputs have shape {inputs.shape} and targets {targets.shape}, "
                f"but both must be (B, T) with B = {B}, the batch of the training settings"
            )
        if min(inputs.min(), targets.min()) < 0 or max(inputs.max(), targets.max()) >= V:
            raise CharloomError(f"an id lies outside 0 to {V - 1}: encode with this vocabulary")

    def _check_arrays(self, arrays: Mapping[str, Array]) -> None:
        weights = {name: a for name, a in arrays.items() if name in self.weights}
        rest = {name: a for name, a in arrays.items() if name not in self.weights}
        check_weights(weights, self.model, self.vocabulary_size)
        if rest:
            shapes = {n: a.shape for n, a in self.arrays().items() if n not in self.weights}
            check_shapes(rest, shapes, "training state")
