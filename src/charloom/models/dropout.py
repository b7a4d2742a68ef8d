"""Dropout masks: a pure function of seed, update and layer, so that no state has to be saved."""

import numpy as np
from numpy.typing import DTypeLike, NDArray


def dropout_mask(
    seed: int, update: int, layer: int, shape: tuple[int, ...], rate: float, dtype: DTypeLike
) -> NDArray[np.floating]:
    """Return an array of 0 and 1/(1 - rate): inverted dropout (Srivastava et al. 2014, section 10).

    The rate is rounded to 1/65536. Equal arguments give equal masks on every engine, and no other
    generator of a run has a key like this: those of windows (data/batches.py) end in 2^63 - 1.
    """
    rng = np.random.Generator(np.random.Philox(key=(seed, 2**32 * layer + update)))
    kept = rng.integers(0, 65536, shape, dtype=np.uint16) >= round(rate * 65536)
    mask: NDArray[np.floating] = kept.astype(dtype)
    mask *= 1 / (1 - rate)
    return mask
