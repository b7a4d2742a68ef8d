"""Log-probabilities and a uniform number in, the id of the next character out."""

import numpy as np
from numpy.typing import NDArray

from charloom.config import SampleConfig
from charloom.errors import CharloomError
from charloom.models.weights import Array


def filter_weights(log_probs: Array, config: SampleConfig) -> NDArray[np.float64]:
    """log_probs (V,) -> weights (V,): divided by their sum, the probabilities to draw with.

    In this order, which is that of Hugging Face's transformers, all in float64:

    1. Weights: ``exp((log_probs - max) / temperature)``, so that the likeliest has 1.
       Temperature 0 gives 1 to the likeliest, of equals the lowest id, and 0 to others.
    2. Ranks: descending `log_probs`, and of equals the lower id first.
    3. top-k: exactly the first k ranks stay; 0, or k >= V, keeps all.
    4. top-p (Holtzman et al. 2020): a rank stays while the weights before it, added up in the
       order of ranks, are < top_p times that sum over all; so the fewest stay that reach
       top_p. The first always stays; top_p = 1 keeps all.
    5. min-p (Nguyen et al. 2024): weights >= min_p stay, which is a share of the likeliest's.
    6. What is left out has weight 0.

    Only differences within `log_probs` matter; -inf is a character that cannot come. Raises
    CharloomError if one is NaN or +inf, or all are -inf.
    """
    scores = np.asarray(log_probs, np.float64)
    highest = scores.max()
    if not np.isfinite(highest):
        what = "rules every character out" if highest == -np.inf else f"predicts {highest}"
        message = f"the model {what}: its weights are damaged, go back to an earlier checkpoint"
        raise CharloomError(message, "bad-model")
    if config.temperature == 0:
        weights: NDArray[np.float64] = np.zeros(len(scores))
        weights[scores.argmax()] = 1.0
        return weights
    with np.errstate(over="ignore", under="ignore"):
        weights = np.exp((scores - highest) / config.temperature)
    if 0 < config.top_k < len(scores) or config.top_p < 1:
        ranks = np.argsort(-scores, kind="stable")
        if config.top_k > 0:
            weights[ranks[config.top_k :]] = 0.0
        if config.top_p < 1:
            reached = np.cumsum(weights[ranks])
            weights[ranks[1:][reached[:-1] >= config.top_p * reached[-1]]] = 0.0
    weights[weights < config.min_p] = 0.0
    return weights


def draw(log_probs: Array, config: SampleConfig, u: float) -> int:
    """log_probs (V,) and u in [0, 1) -> id, drawn by `filter_weights`: the inverse CDF.

    With the weights of `filter_weights` added up in the order of ids, it is the first id whose sum
    is > u times the sum over all. That id has a weight above 0, and there always is one: the sum
    is at least 1, so u times it rounds to less. Raises what `filter_weights` raises.
    """
    sums = np.cumsum(filter_weights(log_probs, config))
    return int(np.searchsorted(sums, u * sums[-1], side="right"))
