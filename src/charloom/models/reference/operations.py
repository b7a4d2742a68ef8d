"""What all cells share: the product with the input, the sigmoid, the softmax and the loss."""

from typing import TypeGuard

import numpy as np

from charloom.data.tokenizer import Ids
from charloom.models.weights import Array


def is_ids(x: Array | Ids) -> TypeGuard[Ids]:
    """Whether x holds ids that stand for one-hot vectors, not the vectors themselves."""
    return x.dtype.kind in "iu"


def product(x: Array | Ids, W: Array) -> Array:
    """Return the product x W of vectors (B, D) or ids (B,) with a matrix (D, N): (B, N).

    A one-hot vector is 1 at its character's place and 0 elsewhere, so its product with W is that
    row of W: looking it up gives the same bits and saves V - 1 products with 0.
    """
    return W[x] if is_ids(x) else x @ W


def add_product_gradient(dW: Array, x: Array | Ids, dy: Array) -> None:
    """Add x^T dy to dW in place: what y = x W, with dy (B, N), adds to the gradient of W.

    For one-hot x this adds each sequence's dy to its character's row, with `np.add.at`, because
    ``dW[x] += dy`` would count only one of two sequences that read the same character.
    """
    if is_ids(x):
        np.add.at(dW, x, dy)
    else:
        dW += x.T @ dy


def sigmoid(a: Array) -> Array:
    """Return 1 / (1 + exp(-a)), in an equal form that cannot overflow."""
    return (1 + np.tanh(a / 2)) / 2


def sigmoid_gradient(dy: Array, y: Array) -> Array:
    """Return the gradient of a for y = sigmoid(a): sigmoid' = sigmoid (1 - sigmoid)."""
    return dy * y * (1 - y)


class HardSigmoid:
    """Keras' hard_sigmoid, between 0 and 1: slope a + 1/2; the slope is 1/5, in Keras 3 1/6."""

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def __call__(self, a: Array) -> Array:
        """Return the gates of the sums a."""
        y: Array = np.clip(self.slope * a + 0.5, 0, 1)
        return y

    def gradient(self, dy: Array, y: Array) -> Array:
        """Return the gradient of a, which is 0 where a gate is 0 or 1."""
        return dy * (self.slope * ((y > 0) & (y < 1)))


def log_softmax(logits: Array) -> Array:
    """Return log(exp(logits) / sum(exp(logits))) over the last axis, V wide.

    Subtracting the largest logit leaves the quotient as it is and keeps exp from overflowing.
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_p


def cross_entropy(logits: Array, targets: Ids) -> tuple[float, Array]:
    """Return the loss of logits (T, B, V) against targets (T, B), and dlogits (T, B, V).

    The loss is the mean of -log p(target), in nats per character. The gradient is that of
    the *sum*: p - 1 at the target and p elsewhere, for p = softmax(logits).
    """
    log_p = log_softmax(logits)
    t, b = np.indices(targets.shape)
    loss = -log_p[t, b, targets].mean(dtype=np.float64)
    dlogits = np.exp(log_p)
    dlogits[t, b, targets] -= 1
    return float(loss), dlogits
