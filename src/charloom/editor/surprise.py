"""Nats in, steps of a scale of colours out: that of the page (assets/page/desk.js)."""

import numpy as np
from numpy.typing import NDArray

FURTHEST = 2.5  # standard deviations from the mean at which a colour is full
STEPS = 4  # of a colour


def mean_of(nats: NDArray[np.float64]) -> tuple[float, float]:
    """Return mean and standard deviation of the nats (N,) that are finite; 0 if none is."""
    finite = nats[np.isfinite(nats)]
    return (float(finite.mean()), float(finite.std())) if finite.size else (0.0, 0.0)


def steps(nats: NDArray[np.float64]) -> NDArray[np.int8]:
    """Return a step (N,) for each: -STEPS is expected, 0 as surprising as the mean, STEPS more.

    NaN is 0; an impossible character, of infinite nats, is STEPS.
    """
    mean, deviation = mean_of(nats)
    if not deviation:
        return np.zeros(len(nats), np.int8)
    away = np.clip((np.nan_to_num(nats, nan=mean) - mean) / deviation, -FURTHEST, FURTHEST)
    return np.rint(STEPS * away / FURTHEST).astype(np.int8)


def carried(found: NDArray[np.int8], before: str, after: str) -> NDArray[np.int8]:
    """Return the steps of a text (N,) that was changed, from those (M,) `found` before.

    They are kept at the beginning and at the end, as far as the text is the same; the rest is 0.
    """
    begin = _same(before, after)
    end = _same(before[begin:][::-1], after[begin:][::-1])
    fresh = np.zeros(len(after) - begin - end, np.int8)
    return np.concatenate([found[:begin], fresh, found[len(found) - end :]])


def _same(first: str, second: str) -> int:
    """Return how many characters at the beginning are the same."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(first), len(second)))
