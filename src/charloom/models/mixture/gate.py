"""How far the network is trusted, by how sure it is and how sure the n-gram model is.

    P(c) = s P_network(c) + (1 - s) P_ngram(c)

The share s of the network is read from a table: how sure a distribution is, from 0 to 1, is the sum
of P(c)^2 over all characters, the probability that two draws from it agree. Between the K knots of
the table s is linear in both. The table is learned from text that neither model has seen, by
expectation maximization (Jelinek & Mercer 1980, "Interpolated estimation of Markov source
parameters from sparse data", of which the table is a finer form).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

KNOTS = 5  # K: places in the table, along each side: 0, 1/4, 1/2, 3/4 and 1
ROUNDS = 100  # of expectation maximization
LEAST = 1e-3  # of the one share, and of what is not the network's
PRIOR = 1.0  # characters that each entry has seen to begin with, predicted as all of them are

Floats = NDArray[np.float64]


class Predicted(NamedTuple):
    """What two models predicted for n characters; index 0 is the network, 1 the n-gram model."""

    sure: Floats  # (2, n) the sum of P(c)^2
    p: Floats  # (2, n) P of the character that came


def predicted(
    network: NDArray[np.floating], counts: NDArray[np.floating], targets: NDArray[np.integer]
) -> Predicted:
    """Return what matters of log-probabilities (n, V) of both for targets (n,)."""
    both = [np.exp(log_probs, dtype=np.float64) for log_probs in (network, counts)]
    sure = np.array([(p * p).sum(axis=1) for p in both])
    return Predicted(sure, np.array([p[np.arange(len(targets)), targets] for p in both]))


def learn_shares(seen: Predicted) -> Floats:
    """Return the table (K, K) under which what was seen is likeliest; axis 0 is the network's.

    An entry that little was seen near is close to the one share that suits everything best.
    """
    places, parts = _corners(seen.sure)
    one = 0.5
    for _ in range(ROUNDS):
        one = float((one * seen.p[0] / (one * seen.p[0] + (1 - one) * seen.p[1])).mean())
    one = min(max(one, LEAST), 1 - LEAST)
    shares = np.full(KNOTS * KNOTS, one)
    for _ in range(ROUNDS):
        by_network = parts * shares[places] * seen.p[0]
        by_counts = parts * (1 - shares[places]) * seen.p[1]
        total = (by_network + by_counts).sum(axis=0)
        ours, theirs = (
            np.bincount(places.ravel(), (part / total).ravel(), KNOTS * KNOTS) + PRIOR * share
            for part, share in ((by_network, one), (by_counts, 1 - one))
        )
        shares = ours / (ours + theirs)
    return shares.reshape(KNOTS, KNOTS)


def share_of(sure: Floats, shares: Floats) -> Floats:
    """Return the share (n,) of the network where the two are so sure (2, n)."""
    places, parts = _corners(sure)
    share: Floats = (parts * shares.ravel()[places]).sum(axis=0)
    return share


def losses(seen: Predicted, shares: Floats) -> Floats:
    """Return the loss (n,) of the mixture in nats."""
    share = share_of(seen.sure, shares)
    loss: Floats = -np.log(share * seen.p[0] + (1 - share) * seen.p[1])
    return loss


def _corners(sure: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Return the four entries around each point (4, n), and the part of each in its share."""
    at = np.clip(sure, 0, 1) * (KNOTS - 1)
    low = np.minimum(at.astype(np.intp), KNOTS - 2)
    up = at - low
    places = [(low[0] + i) * KNOTS + low[1] + j for i in (0, 1) for j in (0, 1)]
    parts = [abs(1 - i - up[0]) * abs(1 - j - up[1]) for i in (0, 1) for j in (0, 1)]
    return np.array(places), np.array(parts)
