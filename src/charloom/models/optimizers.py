"""Gradients in, updated weights out: five optimizers and two ways to clip.

This is the arithmetic as one reads it, over named arrays and in place; the other engines have
the same formulas and are tested against these. A rule is a function of one weight array w, its
gradient dw of the same shape, and that array's own slots: what the optimizer remembers of
earlier gradients, zero at the start.
"""

import math

import numpy as np

from charloom.config import TrainConfig
from charloom.models.weights import Array, Weights

SLOTS: dict[str, tuple[str, ...]] = {
    "sgd": (),
    "adagrad": ("memory",),
    "rmsprop": ("square",),
    "adam": ("m", "v"),
    "adamw": ("m", "v"),
}
EPSILON = 1e-8


class Optimizer:
    """The rule that `config.optimizer` names, with its slots and the count of updates made.

    `slots` maps a slot's name, then a weight's name, to an array shaped like that weight.
    `norm` is that of the last gradient before clipping; None if norms are not clipped.
    """

    def __init__(self, config: TrainConfig, weights: Weights) -> None:
        self.config = config
        self.updates = 0
        self.norm: float | None = None
        self.slots: dict[str, Weights] = {
            slot: {name: np.zeros_like(w) for name, w in weights.items()}
            for slot in SLOTS[config.optimizer]
        }

    def step(self, weights: Weights, gradients: Weights, learning_rate: float) -> bool:
        """Clip the gradients (norm first, then values) and update the weights, both in place.

        Returns whether it did. If a gradient, or the norm that is to be clipped, is NaN or
        infinite, it returns False, and no weight, slot or count changes.
        """
        if self.config.clip_norm is not None:
            self.norm = clip_norm(gradients, self.config.clip_norm)
            finite = math.isfinite(self.norm)
        else:
            finite = all(np.isfinite(dw).all() for dw in gradients.values())
        if not finite:
            return False
        if self.config.clip_value is not None:
            clip_value(gradients, self.config.clip_value)
        self.updates += 1
        for name, w in weights.items():
            slots = {slot: arrays[name] for slot, arrays in self.slots.items()}
            self._update(w, gradients[name], slots, float(learning_rate))
        return True

    def _update(self, w: Array, dw: Array, slots: Weights, rate: float) -> None:
        config = self.config
        match config.optimizer:
            case "sgd":
                sgd(w, dw, rate)
            case "adagrad":
                adagrad(w, dw, slots["memory"], rate)
            case "rmsprop":
                rmsprop(w, dw, slots["square"], rate, config.decay)
            case "adam" | "adamw":
                if config.optimizer == "adamw":
                    decay_weights(w, rate, config.weight_decay)
                m, v = slots["m"], slots["v"]
                adam(w, dw, m, v, rate, config.beta1, config.beta2, self.updates)


def clip_norm(gradients: Weights, limit: float) -> float:
    """Scale all gradients by one factor, so that their common norm is at most `limit`.

    The norm is Euclidean, over all elements of all arrays (Pascanu, Mikolov & Bengio 2013,
    algorithm 1). Returns the norm before clipping.
    """
    squares = (np.square(dw, dtype=np.float64) for dw in gradients.values())
    norm = math.sqrt(sum(float(np.sum(square)) for square in squares))
    if norm > limit:
        for dw in gradients.values():
            dw *= limit / norm
    return norm


def clip_value(gradients: Weights, limit: float) -> None:
    """Clip each element of the gradients to +-limit, in place."""
    for dw in gradients.values():
        np.clip(dw, -limit, limit, out=dw)


def sgd(w: Array, dw: Array, rate: float) -> None:
    """Stochastic gradient descent: w -= rate dw."""
    w -= rate * dw


def adagrad(w: Array, dw: Array, memory: Array, rate: float) -> None:
    """Adagrad (Duchi, Hazan & Singer 2011) as in min-char-rnn, with epsilon under the root.

    memory += dw^2;  w -= rate dw / sqrt(memory + 1e-8)
    """
    memory += dw * dw
    w -= rate * dw / np.sqrt(memory + EPSILON)


def rmsprop(w: Array, dw: Array, square: Array, rate: float, decay: float) -> None:
    """RMSProp (Tieleman & Hinton 2012) as in char-rnn, with epsilon outside the root.

    square = decay square + (1 - decay) dw^2;  w -= rate dw / (sqrt(square) + 1e-8)
    """
    square[...] = decay * square + (1 - decay) * dw * dw
    w -= rate * dw / (np.sqrt(square) + EPSILON)


def adam(
    w: Array, dw: Array, m: Array, v: Array, rate: float, beta1: float, beta2: float, updates: int
) -> None:
    """Adam (Kingma & Ba 2015, algorithm 1); `updates` counts from 1, this one included.

    m = beta1 m + (1 - beta1) dw;     m_hat = m / (1 - beta1^updates)
    v = beta2 v + (1 - beta2) dw^2;   v_hat = v / (1 - beta2^updates)
    w -= rate m_hat / (sqrt(v_hat) + 1e-8)
    """
    m[...] = beta1 * m + (1 - beta1) * dw
    v[...] = beta2 * v + (1 - beta2) * dw * dw
    m_hat = m / (1 - beta1**updates)
    v_hat = v / (1 - beta2**updates)
    w -= rate * m_hat / (np.sqrt(v_hat) + EPSILON)


def decay_weights(w: Array, rate: float, weight_decay: float) -> None:
    """AdamW's decay (Loshchilov & Hutter 2019, algorithm 2), before Adam's own update.

    w -= rate weight_decay w, for matrices, embeddings included, but not for biases: a bias
    multiplies no input, so a smaller one does not make the network smoother. The rate
    multiplies the decay, as in PyTorch, so that a schedule acts on both.
    """
    if w.ndim > 1:
        w -= rate * weight_decay * w
