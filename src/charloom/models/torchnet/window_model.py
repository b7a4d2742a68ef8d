"""A transformer as a predictor: attention over a window that is read again when it is full."""

from functools import partial
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from charloom.data.tokenizer import Ids, Tokenizer
from charloom.models.torchnet.attention import attend
from charloom.models.torchnet.devices import numpy_name, on_own_threads, send_ids
from charloom.models.torchnet.transformer import Mix, TransformerNetwork
from charloom.models.weights import Array

PIECE = 2**21  # elements of the widest array of one forward pass


class Cache:
    """Keys and values (L, B, N, C, d) of what has been read, of which `filled` are in use.

    Several states share one: what is there is never written again, and who goes on from a state
    that is not the newest gets a copy.
    """

    def __init__(self, keys: Tensor, values: Tensor, filled: int) -> None:
        self.keys, self.values, self.filled = keys, values, filled
        self._lock = Lock()

    def after(self, characters: int) -> "Cache":
        """Return the cache to write the next character's keys and values to."""
        with self._lock:
            if self.filled == characters:
                self.filled += 1
                return self
        return Cache(self.keys.clone(), self.values.clone(), characters + 1)


class Window(NamedTuple):
    """A state: the characters that the next is predicted from, and what is known of them."""

    ids: Ids  # (B, n), n <= C
    cache: Any  # their keys and values, as the model keeps them; None before they are computed


class WindowModel:
    """The `LanguageModel` protocol of a transformer whose mixer is attention.

    It reads on until its window holds the C characters of the context. Then the last C // 2 of
    them are read again, from position 0, and it goes on from there: so each character is
    predicted from more than C // 2 before it and C at most (from all, at the beginning of a
    text), memory stays the same, and a character costs the attention to C others and one more
    reading. `log_probs` reads all windows of a piece at once, for they are known beforehand.
    """

    threads: int | None = None  # that compute, if that is said

    def __init__(self, network: TransformerNetwork, vocabulary: Tokenizer) -> None:
        """Take a network with its weights."""
        self.network, self.vocabulary, self.config = network, vocabulary, network.config
        self.context = self.config.context
        self._kept = self.context // 2
        self._embedding = network.embedding

    def start(self, lanes: int) -> Window:
        """Return the state before any character, for `lanes` independent texts."""
        return Window(np.empty((lanes, 0), np.int64), None)

    @torch.inference_mode()
    @on_own_threads
    def step(self, ids: Ids, state: Window) -> tuple[Array, Window]:
        """Read ids (B,): log-probabilities (B, V) of the next character, and the state after."""
        before, cache = state
        if before.shape[1] == self.context:
            before, cache = before[:, -self._kept :], None
        known = np.concatenate([before, ids[:, None]], axis=1)
        n = before.shape[1]
        if cache is None:
            config, N = self.config, self.config.heads
            shape = (2, config.layers, len(ids), N, config.context, config.width // N)
            keys, values = self._embedding.new_empty(shape)
            cache = Cache(keys, values, n + 1)
            x = self._read(known, 0, cache)
        else:
            cache = cache.after(n)
            x = self._read(ids[:, None], n, cache)
        return self._log_softmax(self.network.logits(x)), Window(known, cache)

    @torch.inference_mode()
    @on_own_threads
    def log_probs(self, ids: Ids, state: Window) -> tuple[Array, Window]:
        """Read ids (B, T): (B, T, V), entry t the log-probabilities after ids[:, : t + 1].

        Raises CharloomError if an id is not in [0, V).
        """
        (B, T), C, n = ids.shape, self.context, state.ids.shape[1]
        known = np.concatenate([state.ids, ids], axis=1)
        fresh = C - self._kept  # characters of a window that the one before it did not hold
        count = max(0, -(-(n + T - C) // fresh))  # windows after the first
        size = C + count * fresh
        out = np.empty((B, size - n, self.network.vocabulary_size), numpy_name(self._embedding))
        first = known[:, :C]
        out[:, : first.shape[1] - n] = self._window(first, n)
        padded = np.pad(known, ((0, 0), (0, size - n - T)))  # nothing sees what comes after it
        windows = sliding_window_view(padded, C, axis=1)[:, fresh::fresh]  # (B, count, C)
        most = max(1, PIECE // (B * C * 4 * self.config.width))
        for w in range(0, count, most):
            part = windows[:, w : w + most]
            found = self._window(np.array(part).reshape(-1, C), self._kept)
            at, end = C - n + w * fresh, C - n + (w + part.shape[1]) * fresh
            out[:, at:end] = found.reshape(B, end - at, -1)
        return out[:, :T], Window(known[:, count * fresh :].copy(), None)

    def _window(self, ids: Ids, known: int) -> Array:
        """Windows of ids (W, S) -> log-probabilities (W, S - known, V) after those not known."""
        logits, _ = self.network(self._send(ids), ())
        return self._log_softmax(logits[:, known:])

    def _read(self, ids: Ids, at: int, cache: Cache) -> Tensor:
        """Read ids (B, T) at positions `at` and on, of which `cache` holds what is before them.

        Adds to it, and returns (B, D) after the last. T is 1, or `at` is 0.
        """
        layers = range(self.config.layers)
        mixes: list[Mix] = [partial(self._attention, cache, layer, at) for layer in layers]
        return self.network.read(self._send(ids), at, mixes)[:, -1]

    def _attention(self, cache: Cache, layer: int, at: int, columns: Tensor) -> Tensor:
        """x Wx (B, T, 3D) of the characters that are read -> (B, T, D)."""
        q, k, v = self.network.queries_keys_values(columns, at)
        keys, values, end = cache.keys[layer], cache.values[layer], at + columns.shape[1]
        keys[:, :, at:end] = k
        values[:, :, at:end] = v
        return attend(q, keys[:, :, :end], values[:, :, :end], causal=at == 0)

    def _log_softmax(self, logits: Tensor) -> Array:
        return np.asarray(logits.log_softmax(-1).cpu())

    def _send(self, ids: Ids) -> Tensor:
        return send_ids(ids, self.network.vocabulary_size, self.network.device())
