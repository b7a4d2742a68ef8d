"""Kernels for several networks that are read as one: the mean of what they predict, and drawing."""

from typing import Any

from charloom.models.compiled.activations import exp, log
from charloom.models.compiled.network import log_softmax, step
from charloom.models.draw_kernel import draw_by
from charloom.models.jit import kernel


@kernel
def step_into(work: Any, ids: Any, parts: Any, k: int, turn: int) -> None:
    """Read ids (B,) with one network, and put its log-probabilities (B, V) into parts[k]."""
    B, V = parts.shape[1:]
    for b in range(B):
        work.ids[0, b] = ids[b]
    step(work, turn)
    log_softmax(work.logits)
    for b in range(B):
        for v in range(V):
            parts[k, b, v] = work.logits[0, b, v]


@kernel
def mean_into(parts: Any, out: Any) -> None:
    """Fill out (n,) with ln(1/K sum_k exp z_k) of log-probabilities z, parts (K, n).

    What is in `parts` is lost.
    """
    K, n = parts.shape
    for i in range(n):
        out[i] = parts[0, i]
    for k in range(1, K):
        for i in range(n):
            out[i] = max(out[i], parts[k, i])
    for k in range(K):
        for i in range(n):
            parts[k, i] = exp(parts[k, i] - out[i])
    for k in range(1, K):
        for i in range(n):
            parts[0, i] += parts[k, i]
    share = type(out[0])(1.0 / K)
    for i in range(n):
        out[i] += log(share * parts[0, i])


@kernel
def draw_each(log_p: Any, rules: Any, uniforms: Any, drawn: Any, scratch: Any) -> None:
    """Draw one id in each lane from log_p (B, V): uniforms and drawn (B,), scratch (3, V) float64.

    Raises ValueError if a prediction is not finite.
    """
    for b in range(drawn.size):
        drawn[b] = draw_by(log_p[b], rules, b, uniforms[b], scratch)
