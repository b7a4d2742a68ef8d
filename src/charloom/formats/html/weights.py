"""Weights in float32 or in 8 bits, and a twin in Python that predicts as a page does."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.models.weights import Weights

STEPS = 127  # of a weight, from 0 to the largest of its column


def quantized(weights: Weights) -> dict[str, NDArray[Any]]:
    """Return each matrix as int8 and, under NAME.scale (columns,), how much a step is.

    A column is what one unit adds up, so that a unit with large weights costs the others nothing.
    Vectors stay as they are.
    """
    found: dict[str, NDArray[Any]] = {}
    for name, weight in weights.items():
        if weight.ndim == 1:
            found[name] = weight.astype(np.float32)
            continue
        largest = np.abs(weight).max(axis=0)
        scale = (np.where(largest > 0, largest, 1) / STEPS).astype(np.float32)
        found[name] = np.clip(np.rint(weight / scale), -STEPS, STEPS).astype(np.int8)
        found[f"{name}.scale"] = scale
    return found


def single(weights: Weights) -> dict[str, NDArray[Any]]:
    """Return the weights in float32."""
    return {name: weight.astype(np.float32) for name, weight in weights.items()}


def restored(arrays: dict[str, NDArray[Any]]) -> Weights:
    """Return the weights in float32 that a browser makes of what `quantized` returned."""
    return {
        name: np.asarray(
            array * arrays[f"{name}.scale"] if f"{name}.scale" in arrays else array, np.float32
        )
        for name, array in arrays.items()
        if not name.endswith(".scale")
    }
