"""The arithmetic of context mixing in whole numbers: equal on every processor, bit for bit.

A probability p is a whole number out of 2^16, and its logit ln(p / (1 - p)) one of 1/256 nat.
"""

from decimal import Decimal, localcontext
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ONE = 1 << 16  # probability 1
UNIT = 256  # logits in a nat
LIMIT = 2816  # logits are above -LIMIT and below LIMIT: 11 nats, p = 1.1 / 2^16
FINE = 22  # bits of the probabilities that are learned for histories

_DIGITS = 30
_MOST = (41, 20, 10, 7, 5, 4)  # bits of one kind that are counted beside 0, 1, ... of the other
_KEPT = (0, 1, 2, 2, 3, 3, 4)  # of so many bits when the other one comes


class Tables(NamedTuple):
    """What the kernel looks up. S histories of bits; 0 is the empty one."""

    squash: NDArray[np.int32]  # (2 LIMIT,) logit + LIMIT -> p
    stretch: NDArray[np.int32]  # (4096,) the 12 upper bits of p -> logit
    after: NDArray[np.int32]  # (S, 2) history and next bit -> history
    likely: NDArray[np.int32]  # (S,) how likely 1 is after a history, out of 2^FINE, to begin with
    rate: NDArray[np.int32]  # (256,) times seen -> share of what is new, out of 2^16


@cache
def tables() -> Tables:
    """Return the tables, from decimals that are rounded correctly whatever computes them."""
    with localcontext(prec=_DIGITS):
        squash = [_squash(Decimal(x) / UNIT) for x in range(-LIMIT, LIMIT)]
        stretch = [_stretch(Decimal(2 * q + 1) / 8192) for q in range(4096)]
    histories = _histories()
    after = [[histories[_next(history, bit)] for bit in (0, 1)] for history in histories]
    likely = [
        ((10 * ones + 3) << FINE) // (10 * (zeros + ones) + 6) for zeros, ones, _ in histories
    ]
    rate = [2 * ONE // (2 * n + 3) for n in range(256)]
    return Tables(
        *(np.array(values, np.int32) for values in (squash, stretch, after, likely, rate))
    )


def _squash(logit: Decimal) -> int:
    p = ONE / (1 + (-logit).exp())
    return min(max(int(p.to_integral_value()), 1), ONE - 1)


def _stretch(p: Decimal) -> int:
    return int(((p / (1 - p)).ln() * UNIT).to_integral_value())


History = tuple[int, int, int]  # zeros and ones that count still, and the last bit


def _next(history: History, bit: int) -> History:
    """Count a bit; of many of the other kind, some are forgotten: what was seen last tells more."""
    counts = list(history[:2])
    other = counts[1 - bit]
    counts[1 - bit] = _KEPT[min(other, len(_KEPT) - 1)]
    counts[bit] = min(counts[bit] + 1, _MOST[min(counts[1 - bit], len(_MOST) - 1)])
    return counts[0], counts[1], bit


def _histories() -> dict[History, int]:
    """Number every history that can come up, from the empty one on."""
    found: dict[History, int] = {(0, 0, 0): 0}
    for history in (queue := [*found]):
        for bit in (0, 1):
            if (later := _next(history, bit)) not in found:
                found[later] = len(found)
                queue.append(later)
    return found
