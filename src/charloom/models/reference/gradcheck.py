"""Check the gradients: move each parameter a little, both ways, and compare the loss.

By definition dL/dw is the limit of (L(w + step) - L(w - step)) / (2 step). `backward` is
correct if it agrees with that quotient for every parameter: slow, but it needs only the
forward pass, so a mistake in `backward` has nowhere to hide.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, get_args

import numpy as np

from charloom.config import Cell, ModelConfig, Reset
from charloom.models.dropout import dropout_masks
from charloom.models.reference import network
from charloom.models.reference.operations import cross_entropy
from charloom.models.weights import Array, Weights, weight_shapes

THRESHOLD = 1e-6  # relative error: below it, central differences in float64 explain the difference
EMBEDDINGS = {"one-hot": 0, "embedded": 3}
LAYERS = (1, 2, 3)
CELLS: dict[str, dict[str, Any]] = {cell: {"cell": cell} for cell in get_args(Cell)}
CELLS |= {f"gru, {reset}": {"cell": "gru", "reset": reset} for reset in get_args(Reset)}

HARD: dict[str, dict[str, Any]] = {  # with gates as Keras has them, too
    "lstm, hard-sigmoid-1/5": {"cell": "lstm", "gate": "hard-sigmoid-1/5"},
    "gru, hard-sigmoid-1/6": CELLS["gru, biased-product"] | {"gate": "hard-sigmoid-1/6"},
    "gru, state, hard-sigmoid-1/5": CELLS["gru, state"] | {"gate": "hard-sigmoid-1/5"},
}


def numerical_gradient(f: Callable[[], float], array: Array, step: float = 1e-5) -> Array:
    """Return the gradient of f() for the float64 `array` that it reads, by central differences.

    Each element is moved by +-step and put back. The error is of the order of step^2 (the
    curvature between the two points) plus 1e-16 / step (the rounding of the loss).
    """
    gradient = np.empty_like(array)
    for place in np.ndindex(array.shape):
        value = array[place]
        array[place] = value + step
        above = f()
        array[place] = value - step
        below = f()
        array[place] = value
        gradient[place] = (above - below) / (2 * step)
    return gradient


def relative_error(d: Array, n: Array) -> float:
    """Return |d - n| / (|d| + |n|) for a gradient d and the numerical gradient n; 0 if both are 0.

    0 is perfect, 1 is a wrong sign. The norms are Euclidean, over the whole array: a single
    parameter whose gradient is next to 0 would show rounding and nothing else.
    """
    scale = float(np.linalg.norm(d) + np.linalg.norm(n))
    return float(np.linalg.norm(d - n)) / scale if scale else 0.0


def check_gradients(
    config: ModelConfig,
    vocabulary_size: int = 5,
    batch: int = 2,
    length: int = 4,
    seed: int = 0,
    dropout: float = 0.0,
) -> dict[str, float]:
    """Return the relative error of each weight's gradient, in the network of `config`, in float64.

    Weights, biases and carried state are drawn from N(0, 1/4), not as training starts them: at
    zero, wrong terms could vanish. It takes two forward passes for each parameter, so keep
    the sizes small.
    """
    rng = np.random.default_rng(seed)
    shapes = weight_shapes(config, vocabulary_size)
    weights: Weights = {name: rng.normal(0, 0.5, shape) for name, shape in shapes.items()}
    states = network.zero_states(config, batch)
    for array in (array for state in states for array in state):
        array[...] = rng.normal(0, 0.5, array.shape)
    ids, targets = rng.integers(0, vocabulary_size, (2, length, batch))
    shape = (batch, config.hidden)
    masks = [*dropout_masks(seed, 0, config.layers, shape, dropout, "float64")]

    def loss() -> float:
        logits, _, _ = network.forward(config, weights, ids, states, masks)
        return cross_entropy(logits, targets)[0]

    logits, _, cache = network.forward(config, weights, ids, states, masks)
    _, dlogits = cross_entropy(logits, targets)
    gradients = network.backward(config, weights, dlogits / targets.size, cache)
    return {
        name: relative_error(gradients[name], numerical_gradient(loss, w))
        for name, w in weights.items()
    }


@dataclass(frozen=True)
class CellCheck:
    """The relative error of the gradient of one weight array, of `numbers` parameters."""

    cell: str  # of CELLS or HARD
    inputs: str
    layers: int
    name: str
    numbers: int
    relative_error: float


def check_cells() -> list[CellCheck]:
    """Check small networks of every cell, of one-hot and embedded inputs, of 1 to 3 layers."""
    checks = []
    for cell, inputs, layers in product(CELLS | HARD, EMBEDDINGS, LAYERS):
        sizes_of = {"layers": layers, "hidden": 4, "embedding": EMBEDDINGS[inputs]}
        config = ModelConfig(**(CELLS | HARD)[cell], **sizes_of)
        sizes = {name: math.prod(shape) for name, shape in weight_shapes(config, 5).items()}
        for name, error in check_gradients(config, 5).items():
            checks.append(CellCheck(cell, inputs, layers, name, sizes[name], error))
    return checks
