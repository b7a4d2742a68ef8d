"""A transformer's forward pass: blocks that mix over time, then over the width at each time.

    x[t] = embedding[ids[t]] + position[t]
    x = x + mix(norm(x) Wx) Wo               block by block
    x = x + gelu(norm(x) W1) W2
    logits = norm(x) embedding^T             the embedding, transposed, is the head

It predicts but does not train: gradients are left to PyTorch, and tests compare the torch
engine's forward pass with this one. Lanes are the first axis, x (B, T, D), because there is no
loop over time except in minGRU and minLSTM. N heads of width d = D / N.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from charloom.config import TransformerConfig
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.models.reference.operations import log_softmax, sigmoid
from charloom.models.weights import Array, Weights, check_weights, state_shapes

State = tuple[Any, ...]  # attention: the window's ids (B, n); else h (B, D) of each layer

EPSILON = 1e-5  # of the norms

erf = np.frompyfunc(math.erf, 1, 1)  # NumPy has none


class ReferenceTransformer:
    """The `LanguageModel` protocol in plain NumPy, in float64 whatever the weights come in.

    With attention a state is the window: the characters that the next one is predicted from.
    When it holds C characters, all but the last C // 2 are dropped, these get the positions
    0, 1, ..., and it grows again. So each character is predicted from at least C // 2 before it
    (or all there are) and at most C, whose positions seldom change: an engine can keep their
    keys and values. Here they are not kept: each call reads the whole window.

    It keeps a copy of the weights. Raises CharloomError if they do not fit the config.
    """

    def __init__(
        self, config: TransformerConfig, weights: Mapping[str, Array], vocabulary: Tokenizer
    ) -> None:
        check_weights(weights, config, len(vocabulary))
        self.config = config
        self.context = config.context if config.mixer == "attention" else None
        self.weights: Weights = {name: np.array(w, np.float64) for name, w in weights.items()}
        self.vocabulary = vocabulary

    def start(self, lanes: int) -> State:
        """Return the state before any character, for `lanes` independent texts."""
        if self.config.mixer == "attention":
            return (np.empty((lanes, 0), np.int64),)
        return tuple(np.zeros(shape) for shape in state_shapes(self.config, lanes).values())

    def step(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B,): log-probabilities (B, V) of the next character, and the state after."""
        log_p, state = self.log_probs(ids[:, np.newaxis], state)
        return log_p[:, 0], state

    def log_probs(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B, T): (B, T, V), entry t the log-probabilities after ids[:, : t + 1]."""
        if self.config.mixer != "attention":
            logits, state = forward(self.config, self.weights, ids, state)
            return log_softmax(logits), state
        C, (window,), found, t = self.config.context, state, [], 0
        while t < ids.shape[1]:
            if window.shape[1] == C:
                window = window[:, C - C // 2 :]
            known = window.shape[1]
            window = np.hstack([window, ids[:, t : t + C - known]])
            logits, _ = forward(self.config, self.weights, window, ())
            found.append(log_softmax(logits[:, known:]))
            t += C - known
        return np.hstack(found), (window,)


def forward(
    config: TransformerConfig, weights: Weights, ids: Ids, state: State
) -> tuple[Array, State]:
    """Read ids (B, T); return logits (B, T, V) and the state after.

    With attention the ids have the positions 0, 1, ... and the state is empty. A recurrent mixer
    goes on from `state`, h (B, D) of each layer.
    """
    after = []
    x = weights["embedding"][ids]
    if "position" in weights:
        x = x + weights["position"][: ids.shape[1]]
    for layer in range(config.layers):
        names = ("norm1", "Wx", "Wo", "norm2", "W1", "W2")
        norm1, Wx, Wo, norm2, W1, W2 = (weights[f"layer{layer}.{name}"] for name in names)
        columns = norm(x, norm1) @ Wx  # (B, T, G*D)
        if config.mixer == "attention":
            mixed = attention(columns, config.heads, config.positions == "rotary")
        else:
            cell = mingru if config.mixer == "mingru" else minlstm
            mixed = cell(columns, state[layer])
            after.append(mixed[:, -1])
        x = x + mixed @ Wo
        x = x + gelu(norm(x, norm2) @ W1) @ W2
    return norm(x, weights["norm"]) @ weights["embedding"].T, tuple(after)


def norm(x: Array, scale: Array) -> Array:
    """Layer norm without bias (Ba, Kiros & Hinton 2016), over the last axis, D wide.

    (x - mean) / sqrt(variance + epsilon) * scale
    """
    mean = x.mean(axis=-1, keepdims=True)
    variance = np.square(x - mean).mean(axis=-1, keepdims=True)
    normed: Array = (x - mean) / np.sqrt(variance + EPSILON) * scale
    return normed


def gelu(x: Array) -> Array:
    """Return x times the probability that a normal number is below x (Hendrycks & Gimpel 2016).

    gelu(x) = x (1 + erf(x / sqrt(2))) / 2
    """
    below: Array = (1 + erf(x / math.sqrt(2)).astype(np.float64)) / 2
    return x * below


def attention(columns: Array, heads: int, rotary: bool) -> Array:
    """Queries, keys and values (B, T, 3D) -> the heads' outputs side by side (B, T, D).

    o[t] = sum over s <= t of softmax(q[t] k[s] / sqrt(d))[s] v[s]
    (Vaswani et al. 2017, equation 1)
    """
    B, T, _ = columns.shape
    q, k, v = columns.reshape(B, T, 3, heads, -1).transpose(2, 0, 3, 1, 4)  # each (B, N, T, d)
    if rotary:
        q, k = rotate(q), rotate(k)
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])  # (B, N, T, T)
    scores[..., ~np.tri(T, dtype=bool)] = -np.inf  # t sees no later s
    o = np.exp(log_softmax(scores)) @ v
    out: Array = o.swapaxes(1, 2).reshape(B, T, -1)
    return out


def rotate(x: Array) -> Array:
    """Rotate the points of x (B, N, T, d) by angles that grow with t (Su et al. 2021, "RoFormer").

    Point i is (x[i], x[i + d/2]); at t it turns by t 10000^(-2i/d). Products of a query and a
    key then depend on their distance alone, not on their positions.
    """
    T, d = x.shape[-2:]
    angle = np.outer(np.arange(T), 10000.0 ** (-2 * np.arange(d // 2) / d))
    first, second = x[..., : d // 2], x[..., d // 2 :]
    return np.concatenate(
        [
            first * np.cos(angle) - second * np.sin(angle),
            second * np.cos(angle) + first * np.sin(angle),
        ],
        axis=-1,
    )


def mingru(columns: Array, h: Array) -> Array:
    """minGRU (Feng et al. 2024, section 3.1): z and n (B, T, 2D), h (B, D) -> h (B, T, D).

    h[t] = (1 - sigmoid(z)) h[t-1] + sigmoid(z) n
    """
    z, n = np.split(columns, 2, axis=-1)
    return run(1 - sigmoid(z), sigmoid(z) * n, h)


def minlstm(columns: Array, h: Array) -> Array:
    """minLSTM (Feng et al. 2024, section 3.2): f, i, n (B, T, 3D), h (B, D) -> h (B, T, D).

    h[t] = (sigmoid(f) h[t-1] + sigmoid(i) n) / (sigmoid(f) + sigmoid(i))

    p / (p + q) is computed as sigmoid(log p - log q), which is not 0 / 0 if both are tiny.
    """
    f, i, n = np.split(columns, 3, axis=-1)
    odds = np.logaddexp(0, -i) - np.logaddexp(0, -f)  # log sigmoid(f) - log sigmoid(i)
    return run(sigmoid(odds), sigmoid(-odds) * n, h)


def run(a: Array, b: Array, h: Array) -> Array:
    """Return h[t] = a[t] h[t-1] + b[t] (B, T, D), step by step; a, b (B, T, D), h (B, D) before."""
    out = np.empty_like(b)
    for t in range(b.shape[1]):
        h = out[:, t] = a[:, t] * h + b[:, t]
    return out
