"""The LSTMs of models/attentive.py, in plain NumPy."""

import numpy as np

from charloom.config import AttentiveConfig
from charloom.models.attentive import State
from charloom.models.reference import lstm
from charloom.models.weights import Array, Weights


class WindowLayers:
    """Reads windows (N, C): h (C, N, H) of each layer."""

    def __init__(self, config: AttentiveConfig, weights: Weights) -> None:
        self._config, self._weights = config, weights

    def __call__(self, windows: State) -> list[Array]:
        """Return h (C, N, H) of each layer."""
        x = self._weights["embedding"][windows.T]  # (C, N, D)
        zeros, found = np.zeros((len(windows), self._config.hidden), x.dtype), []
        for layer in range(self._config.layers):
            Wx, Wh, b = (self._weights[f"layer{layer}.{name}"] for name in ("Wx", "Wh", "b"))
            x, _, _ = lstm.forward(x, (zeros, zeros), Wx, Wh, b)
            found.append(x)
        return found
