"""Dropout masks: a pure function of seed and update, so that no state has to be saved."""

import numpy as np
from numpy.typing import DTypeLike, NDArray


def dropout_masks(
    seed: int, update: int, layers: int, shape: tuple[int, int], rate: float, dtype: DTypeLike
) -> NDArray[np.floating]:
    """Return for each layer (L, B, H) a mask of the shape (B, H), of 0 and 1/(1 - rate).

    That is inverted dropout (Srivastava et al. 2014, section 10). The rate is rounded to 1/65536.
    Equal arguments give equal masks on every engine, and no other generator of a run has a key
    like these: those of windows (data/batches.py) end in 2^63 - 1.
    """
    masks = np.empty((layers, *shape), dtype)
    for layer in range(layers):
        rng = np.random.Generator(np.random.Philox(key=(seed, 2**32 * layer + update)))
        masks[layer] = rng.integers(0, 65536, shape, dtype=np.uint16) >= round(rate * 65536)
    masks *= 1 / (1 - rate)
    return masks
