"""What all cells share: the input product, the sigmoid, the softmax and the loss."""

from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from charloom.models.weights import Array

Ids = NDArray[np.integer]


def is_ids(x: Array | Ids) -> TypeGuard[Ids]:
    """Whether x holds ids that stand for one-hot vectors, not the vectors themselves."""
    return x.dtype.kind in "iu"


def product(x: Array | Ids, W: Array) -> Array:
    """The product x W: vectors (B, D) or ids (B,), times a matrix (D, N), give (B, N).

    A one-hot vector is 0 but for a 1 at its character's place, so its product with W is that
    row of W: looking the row up gives the same number, bit for bit, and skips V - 1 products
    with 0.
    """
    return W[x] if is_ids(x) else x @ W


def add_product_gradient(dW: Array, x: Array | Ids, dy: Array) -> None:
    """Add x^T dy to dW in place: what y = x W, with dy (B, N), adds to the gradient of W.

    For one-hot x this adds each lane's dy to its character's row. `np.add.at` and not
    ``dW[x] += dy``, which would count two lanes that read the same character once.
    """
    if is_ids(x):
        np.add.at(dW, x, dy)
    else:
        dW += x.T @ dy


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)), in the equal form that cannot overflow."""
    return (1 + np.tanh(a / 2)) / 2


def log_softmax(logits: Array) -> Array:
    """Logarithm of softmax, log(exp(logits) / sum(exp(logits))), over the last axis, V wide.

    Subtracting the largest changes nothing in the quotient and keeps exp from overflowing.
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_p


def cross_entropy(logits: Array, targets: Ids) -> tuple[float, Array]:
    """Loss of logits (T, B, V) against targets (T, B), and the logits' gradient (T, B, V).

    The loss is the mean of -log p(target), in nats per character. The gradient is that of
    the *sum*: p - 1 at the target and p elsewhere, for p = softmax(logits).
    """
    log_p = log_softmax(logits)
    t, b = np.indices(targets.shape)
    loss = -log_p[t, b, targets].mean(dtype=np.float64)
    dlogits = np.exp(log_p)
    dlogits[t, b, targets] -= 1
    return float(loss), dlogits
