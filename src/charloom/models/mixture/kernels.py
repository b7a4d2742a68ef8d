"""The mixture, compiled by numba: an n-gram model is mixed into what a network predicts."""

from typing import Any

from charloom.models.compiled.activations import exp, log
from charloom.models.compiled.network import log_softmax, step
from charloom.models.draw_kernel import draw_by
from charloom.models.jit import inlined_kernel, kernel
from charloom.models.ngram.kernels import follow, predict


@inlined_kernel
def mix(log_p: Any, counted: Any, shares: Any) -> None:
    """Turn the network's log-probabilities (V,) into the mixture's; `counted` (V,) are P.

    The share of the network is read from shares (K, K), as gate.py says.
    """
    V, last = log_p.size, shares.shape[0] - 1
    x, y = 0.0, 0.0
    for v in range(V):
        log_p[v] = exp(log_p[v])
    for v in range(V):
        x += float(log_p[v] * log_p[v])
    for v in range(V):
        y += counted[v] * counted[v]
    x, y = min(x, 1.0) * last, min(y, 1.0) * last
    i, j = min(int(x), last - 1), min(int(y), last - 1)
    x, y = x - i, y - j
    share = (1 - x) * ((1 - y) * shares[i, j] + y * shares[i, j + 1])
    share += x * ((1 - y) * shares[i + 1, j] + y * shares[i + 1, j + 1])
    for v in range(V):
        log_p[v] = share * log_p[v] + (1 - share) * counted[v]
    for v in range(V):
        log_p[v] = log(log_p[v])


@kernel
def mix_into(trie: Any, ids: Any, contexts: Any, shares: Any, out: Any, counted: Any) -> None:
    """Mix the n-gram model into out (B, T, V), the network's log-probabilities after ids (T, B).

    The n-gram model's contexts (B, order) become those after the last; `counted` (V,) is scratch.
    """
    for t in range(ids.shape[0]):
        follow(trie, contexts, ids[t])
        for b in range(ids.shape[1]):
            predict(trie, contexts[b], counted)
            mix(out[b, t], counted, shares)


@kernel
def write(
    work: Any,
    trie: Any,
    contexts: Any,
    shares: Any,
    uniforms: Any,
    drawn: Any,
    rules: Any,
    out: Any,
    scratch: Any,
) -> None:
    """Do what `compiled.network.read` does to draw characters, each from the mixture.

    The n-gram model's contexts (B, order) become those before the last; scratch is (3, V) float64.
    """
    for t in range(drawn.shape[1]):
        step(work, t)
        log_softmax(work.logits)
        follow(trie, contexts, work.ids[0])
        for b in range(drawn.shape[0]):
            log_p, counted = work.logits[0, b], scratch[2]
            predict(trie, contexts[b], counted)
            mix(log_p, counted, shares)
            drawn[b, t] = draw_by(log_p, rules, b, uniforms[b, t], scratch)
            work.ids[0, b] = drawn[b, t]
            if out.shape[1]:
                for v in range(out.shape[2]):
                    out[b, t, v] = log_p[v]
