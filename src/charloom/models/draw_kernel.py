"""The compiled twin of `charloom.generation.sampling.draw`, which says what each filter keeps."""

import math
from typing import Any

import numpy as np

from charloom.config import SampleConfig
from charloom.models.exp_kernel import exp
from charloom.models.jit import inner_kernel, kernel

Filters = tuple[float, int, float, float]


def filters(config: SampleConfig) -> Filters:
    """Return temperature, top_k, top_p and min_p in the types that kernels take."""
    return float(config.temperature), config.top_k, float(config.top_p), float(config.min_p)


@kernel
def draw(logits: Any, filters: Any, u: float, scratch: Any) -> int:
    """Return one id from logits (V,) float64 with u in [0, 1); scratch (2, V) float64.

    Raises ValueError if the highest logit is NaN or infinite.
    """
    temperature, top_k, top_p, min_p = filters
    V, weights = logits.size, scratch[0]
    likeliest = 0
    for v in range(V):
        if logits[v] > logits[likeliest] or math.isnan(logits[v]):
            likeliest = v
    if not math.isfinite(logits[likeliest]):
        raise ValueError
    if temperature == 0:
        return likeliest
    top = logits[likeliest]
    for v in range(V):
        weights[v] = exp((logits[v] - top) / temperature)
    if 0 < top_k < V:
        _keep_likeliest(logits, scratch, top_k, np.inf)
    if top_p < 1:
        _keep_likeliest(logits, scratch, V, top_p)
    total = 0.0
    for v in range(V):
        if weights[v] < min_p:
            weights[v] = 0
        total += weights[v]
    reached = 0.0
    for v in range(V):
        reached += weights[v]
        if reached > u * total:
            return v
    return likeliest


@inner_kernel
def draw_by(logits: Any, rules: Any, b: int, u: float, scratch: Any) -> int:
    """Return one id from logits (V,) by the rules of lane b, as `generation.lanes.write` does.

    scratch (3, V) float64: its last row is for what the bias is added to.
    """
    temperature, top_p, min_p = rules.filters[b, 0], rules.filters[b, 2], rules.filters[b, 3]
    settings = temperature, int(rules.filters[b, 1]), top_p, min_p
    bias, scores = rules.bias[b], scratch[2]
    for v in range(logits.size):
        scores[v] = logits[v]
    if not rules.biased[b]:
        return draw(scores, settings, u, scratch)
    for v in range(logits.size):
        scores[v] += bias[v]
    drawn = draw(scores, settings, u, scratch)
    bias[drawn] -= rules.penalties[b, 1]
    if not rules.seen[b, drawn]:
        bias[drawn] -= rules.penalties[b, 0]
        rules.seen[b, drawn] = 1
    return drawn


@inner_kernel
def _keep_likeliest(logits: Any, scratch: Any, most: int, share: float) -> None:
    """Zero all weights but those of the first ranks: `most`, or as many as reach `share`.

    A rank is found by looking at all of what is left, which beats sorting if few stay.
    """
    V, weights, kept = logits.size, scratch[0], scratch[1]
    kept[:] = 0
    total = 0.0
    for v in range(V):
        total += weights[v]
    reached = 0.0
    for rank in range(most):
        if rank and reached >= share * total:
            break
        best = -1
        for v in range(V):
            if not kept[v] and (best < 0 or logits[v] > logits[best]):
                best = v
        kept[best] = 1
        reached += weights[best]
    for v in range(V):
        weights[v] *= kept[v]
