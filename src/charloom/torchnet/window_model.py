"""A transformer as a predictor: attention over a window that is read again where it is full."""

from collections.abc import Mapping
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from charloom.config import TransformerConfig
from charloom.errors import CharloomError
from charloom.torchnet.attention import attend
from charloom.torchnet.transformer import Mix, TransformerNetwork
from charloom.vocabulary import Vocabulary
from charloom.weights import Array, check_weights

Ids = NDArray[np.integer]

PIECE = 2**21  # numbers in the widest array of one pass


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
    cache: Cache | None


class WindowModel:
    """The `LanguageModel` protocol of a transformer whose mixer is attention.

    It reads on until its window holds the C characters of the context. Then the last C // 2 of
    them are read again, from position 0, and it goes on from there: so each character is
    predicted from more than C // 2 before it and C at most (from all, at the beginning of a
    text), memory stays the same, and a character costs the attention to C others and one more
    reading. `log_probs` reads all windows of a piece at once, for they are known beforehand.

    It keeps a copy of the weights, in `dtype`. Raises CharloomError where they do not fit.
    """

    def __init__(
        self,
        config: TransformerConfig,
        weights: Mapping[str, Array],
        vocabulary: Vocabulary,
        dtype: str,
        device: torch.device,
    ) -> None:
        check_weights(weights, config, len(vocabulary))
        self.config = config
        self.vocabulary = vocabulary
        self.network = TransformerNetwork(config, len(vocabulary))
        self.network.to(device, getattr(torch, dtype)).requires_grad_(False)
        for name, parameter in self.network.named_weights():
            parameter.copy_(torch.from_numpy(weights[name]))
        self._device = device
        self._kept = config.context // 2

    def start(self, lanes: int) -> Window:
        """Return the state before any character, for `lanes` independent texts."""
        return Window(np.empty((lanes, 0), np.int64), None)

    @torch.inference_mode()
    def step(self, ids: Ids, state: Window) -> tuple[Array, Window]:
        """Read ids (B,): log-probabilities (B, V) of the next character, and the state after."""
        self._check(ids)
        before, cache = state
        if before.shape[1] == self.config.context:
            before, cache = before[:, -self._kept :], None
        known = np.concatenate([before, ids[:, None]], axis=1)
        n = before.shape[1]
        if cache is None:
            cache = self._new_cache(len(ids), n + 1)
            x = self._read(known, 0, cache)
        else:
            cache = cache.after(n)
            x = self._read(ids[:, None], n, cache)
        return self._log_softmax(x[:, -1]), Window(known, cache)

    @torch.inference_mode()
    def log_probs(self, ids: Ids, state: Window) -> tuple[Array, Window]:
        """Read ids (B, T): (B, T, V), entry t the log-probabilities after ids[:, : t + 1].

        Raises CharloomError where an id is not in [0, V).
        """
        self._check(ids)
        (B, T), C, n = ids.shape, self.config.context, state.ids.shape[1]
        known = np.concatenate([state.ids, ids], axis=1)
        fresh = C - self._kept  # characters of a window that the one before it did not hold
        count = max(0, -(-(n + T - C) // fresh))  # windows after the first
        out = np.empty((B, T + count * fresh, len(self.vocabulary)), self._numpy_dtype)
        first = known[:, :C]
        out[:, : first.shape[1] - n] = self._window(first, n)
        padded = np.pad(known, ((0, 0), (0, fresh)))  # no character sees what comes after it
        windows = sliding_window_view(padded, C, axis=1)[:, fresh::fresh]
        width = max(1, PIECE // (B * C * 4 * self.config.width))
        for w in range(0, count, width):
            part = windows[:, w : min(w + width, count)]
            found = self._window(part.reshape(-1, C), self._kept)
            at = C - n + w * fresh
            out[:, at : at + part.shape[1] * fresh] = found.reshape(B, -1, found.shape[-1])
        return out[:, :T], Window(known[:, count * fresh :], None)
