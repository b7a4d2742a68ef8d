"""What may be drawn if a sum lies on the border between two ids, and rounding decides."""

import itertools

from charloom.config import replace
from charloom.generation.draw import draw


def within_rounding(scores, config, u, error=1e-13):
    """Return the ids that the plain sampler draws if top_p, min_p and u are off by that share.

    Two that compute the same probabilities may differ in their last bits, and so in what is
    drawn, if exactly there one id ends and the next begins. If u rounds to 1, no sum is above
    it: then the fast sampler takes the likeliest.
    """
    around = 1 - error, 1, 1 + error
    last_resort = {int(scores.argmax())} if u > 1 - 10 * error else set()
    return last_resort | {
        draw(
            scores,
            replace(config, top_p=min(config.top_p * p, 1.0), min_p=min(config.min_p * m, 1.0)),
            min(u * q, 1 - 2**-53),
        )
        for p, m, q in itertools.product(around, around, around)
    }
