"""textgenrnn's network (Max Woolf, 2017), as a predictor only: LSTMs over a window, and attention.

    x0[t] = embedding[ids[t]]                 of the window's C ids; before a text stands an id V
    xl = lstm(x(l-1))                         from a state of 0, layer by layer
    s[t] = [x0[t], x1[t], ..., xL[t]]         (F,), side by side
    a = softmax over t of s[t] attention      what stands before a text counts, too
    logits = (sum over t of a[t] s[t]) W + b

Each character is predicted from the C before it alone, all of which are read anew. The LSTMs are
an engine's, all else is here.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from charloom.config import AttentiveConfig
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.models.learner_arrays import check_ids
from charloom.models.weights import Array, Weights, check_weights

State = NDArray[np.int64]  # (B, C) the window
Layers = Callable[[State], list[Array]]  # windows (N, C) -> h (C, N, H) of each layer

AT_ONCE = 128  # windows


class AttentiveModel:
    """The `LanguageModel` protocol in float32; it keeps a copy of the weights.

    `engine` makes of settings and weights what computes the LSTMs. A boundary between documents
    empties the window: a document was learned without the one before it. Raises CharloomError if
    the weights do not fit the config.
    """

    def __init__(
        self,
        config: AttentiveConfig,
        weights: Mapping[str, Array],
        vocabulary: Tokenizer,
        engine: Callable[[AttentiveConfig, Weights], Layers],
    ) -> None:
        check_weights(weights, config, len(vocabulary))
        self.config = config
        self.weights: Weights = {name: np.array(w, np.float32) for name, w in weights.items()}
        self.vocabulary = vocabulary
        self._layers = engine(config, self.weights)

    def start(self, lanes: int) -> State:
        """Return the state before any character, for `lanes` independent texts."""
        return np.full((lanes, self.config.window), len(self.vocabulary), np.int64)

    def step(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B,): log-probabilities (B, V) of the next character, and the state after."""
        log_p, state = self.log_probs(ids[:, np.newaxis], state)
        return log_p[:, 0], state

    def log_probs(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B, T): (B, T, V), entry t the log-probabilities after ids[:, : t + 1].

        Raises CharloomError if an id is not in [0, V).
        """
        V = len(self.vocabulary)
        check_ids(ids, V)
        (B, T), windows = ids.shape, []
        for t in range(T):
            state = np.concatenate([state[:, 1:], ids[:, t : t + 1]], axis=1)
            if self.vocabulary.boundary is not None:
                state[ids[:, t] == self.vocabulary.boundary, :-1] = V
            windows.append(state)
        of_all = np.stack(windows, axis=1).reshape(B * T, -1)
        cuts = range(0, B * T, AT_ONCE)
        found = [self._predicted(of_all[at : at + AT_ONCE]) for at in cuts]
        return np.concatenate(found).reshape(B, T, V), state

    def _predicted(self, windows: State) -> Array:
        """Return the log-probabilities (N, V) of what follows windows (N, C)."""
        x = self.weights["embedding"][windows.T]  # (C, N, D)
        s = np.concatenate([x, *self._layers(windows)], axis=-1)  # (C, N, F)
        score = s @ self.weights["attention"]
        a = np.exp(score - score.max(axis=0))
        mean = np.einsum("cn,cnf->nf", a / a.sum(axis=0), s)
        logits = mean @ self.weights["head.W"] + self.weights["head.b"]
        z = logits - logits.max(axis=-1, keepdims=True)
        log_p: Array = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
        return log_p
