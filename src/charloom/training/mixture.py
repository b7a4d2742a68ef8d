"""The end of a run that keeps text back: its best network is mixed with an n-gram model.

From the text that is kept back neither learns, until the table is known that says how far each is
to be trusted (models/mixture/gate.py); then the n-gram model counts it, too.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charloom.config import NgramConfig, TrainConfig
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.evaluation import WARM_UP, Cut, read_windows
from charloom.models.mixture.gate import KNOTS, Predicted, learn_shares, losses, predicted
from charloom.models.ngram import NgramModel
from charloom.models.protocols import LanguageModel

PIECES = 16  # of the training part that are kept, spread evenly: one place may be unlike the rest
SHARE, ENOUGH = 0.04, 40_000  # of the training part; characters, beyond which no more are kept
FEWEST, MOST = 25_000, 2**23  # characters of a training part to mix for
COUNTED_IN_A_SECOND = 40_000  # characters of n-grams, for each second that the run has
# Characters that are counted at most -> the order: longer n-grams of more would need more memory
# than 200 to 300 MiB, and seconds whenever a run is opened.
ORDERS = {400_000: 12, 4_000_000: 10, MOST: 8}


class Found(NamedTuple):
    """A table (K, K) with the model that it makes, and the losses on what was kept for it.

    Its n-gram model, of the settings `counts`, has counted the last `learned` ids.
    """

    model: LanguageModel
    counts: NgramConfig
    learned: int
    shares: NDArray[np.float64]
    before: float
    after: float


def share_for(characters: int) -> float:
    """Return which share of a training part of so many characters is kept; 0 if none."""
    if not FEWEST <= characters <= MOST:
        return 0.0
    return round(min(SHARE, ENOUGH / characters), 4)


def kept(N: int, share: float) -> list[slice]:
    """Return the pieces of a training part of N ids that a share of it is: none if it is too short.

    Each is in the middle of its share of the text, with enough before it to read up to it.
    """
    each = int(N * share / PIECES)
    middles = (np.arange(PIECES) + 0.5) * N / PIECES
    starts = (middles - each / 2).astype(int).tolist()
    if each < 1 or starts[0] <= WARM_UP:
        return []
    return [slice(start, start + each) for start in starts]


def learned(ids: Ids, share: float) -> Ids:
    """Return what of a training part (N,) a network learns from: all but what is `kept`."""
    pieces = kept(len(ids), share)
    if not pieces:  # of a long text there is no copy
        return ids
    ends = [0, *(place for piece in pieces for place in (piece.start, piece.stop)), len(ids)]
    return np.concatenate(
        [ids[begin:end] for begin, end in zip(ends[::2], ends[1::2], strict=True)]
    )


def counted(train: TrainConfig, N: int) -> int:
    """Return how many of N ids n-grams are counted in: of a run with minutes, as time allows."""
    seconds = math.inf if train.minutes is None else 60 * train.minutes
    return int(min(N, MOST, max(1, COUNTED_IN_A_SECOND * seconds)))


def counts_for(N: int) -> NgramConfig:
    """Return the settings of the n-gram model that counts N ids."""
    return NgramConfig(order=next(order for most, order in ORDERS.items() if N <= most))


def find(
    network: LanguageModel, ids: Ids, train: TrainConfig, vocabulary: Tokenizer
) -> Found | None:
    """Mix a network that has learned from `learned(ids, train.mixture)` of ids (N,).

    None if that does not lower the loss on what was kept, by halves: the table is learned from
    every other piece, and the loss is that on the rest.
    """
    from charloom.models.mixture.model import mixture_of

    N, pieces = len(ids), kept(len(ids), train.mixture)
    if not pieces:
        return None
    most = counted(train, N)
    how = counts_for(most)
    first = NgramModel.fit(learned(ids, train.mixture)[-most:], vocabulary, how)
    seen = _predicted(network, first, ids, pieces)
    before, after = _halves(seen, len(pieces))
    if after >= before:
        return None
    counts = NgramModel.fit(ids[-most:], vocabulary, how)
    shares = learn_shares(seen)
    return Found(mixture_of(network, counts, shares), how, most, shares, before, after)


def beginning(network: LanguageModel, ids: Ids) -> LanguageModel:
    """Return a mixture that has counted some ids (N,): to compile what one needs."""
    from charloom.models.mixture.model import mixture_of

    shares = np.full((KNOTS, KNOTS), 0.5)
    counts = NgramModel.fit(ids, network.vocabulary, counts_for(len(ids)))
    return mixture_of(network, counts, shares)


def _predicted(
    network: LanguageModel, counts: NgramModel, ids: Ids, pieces: list[slice]
) -> Predicted:
    """Return what both predict of the pieces, one after the other, each from what is before it."""
    each = pieces[0].stop - pieces[0].start
    starts = np.array([piece.start for piece in pieces]) - 1 - WARM_UP
    cut = Cut(starts, WARM_UP + each, (starts + WARM_UP)[:, None])
    found = Predicted(*np.empty((2, 2, len(pieces), each)))
    both = (read_windows(model, ids, cut) for model in (network, counts))
    for ours, theirs in zip(*both, strict=True):
        own = ours.places >= cut.own
        targets = ids[ours.places + 1][own].astype(np.intp)
        part = predicted(ours.log_probs[own], theirs.log_probs[own], targets)
        at = (ours.places - cut.own)[own], np.nonzero(own)[0]
        found.sure[:, at[1], at[0]], found.p[:, at[1], at[0]] = part
    return Predicted(*(values.reshape(2, -1) for values in found))


def _halves(seen: Predicted, pieces: int) -> tuple[float, float]:
    """Return the mean loss of the network, and of the mixture by what the other half tells."""
    odd = np.repeat(np.arange(pieces) % 2 == 1, seen.p.shape[1] // pieces)
    halves = [Predicted(seen.sure[:, half], seen.p[:, half]) for half in (odd, ~odd)]
    mixed = [
        losses(half, learn_shares(other)) for half, other in zip(halves, halves[::-1], strict=True)
    ]
    return float(-np.log(seen.p[0]).mean()), float(np.concatenate(mixed).mean())
