"""exp in float64 for kernels, in arithmetic that vectorises: the library's takes one at a time."""

import math
from typing import Any

import numpy as np

from charloom.models.jit import inlined_kernel

_LOG2E = 1 / math.log(2)
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LOWEST = -708.0
_C = [1 / math.factorial(k) for k in range(14)]
_C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9, _C10, _C11, _C12, _C13 = _C[2:]


@inlined_kernel
def exp(x: Any) -> Any:
    """Return e^x for x <= 0, within 4e-16 of itself; 0 below -708, where it is below 1e-307.

    exp(x) = 2^n exp(r) exp(-low), n the whole number nearest x / ln 2, |r| <= ln(2)/2: Taylor to
    r^13, and to low^2. (Were low subtracted from r, fastmath would add up both parts of ln 2.)
    """
    y = _LOWEST if x < _LOWEST else x  # as it stands, NaN stays NaN
    n = np.int32(y * _LOG2E - 0.5)
    r, low = y - n * _LN2_HIGH, n * _LN2_LOW
    s = (((((_C13 * r + _C12) * r + _C11) * r + _C10) * r + _C9) * r + _C8) * r + _C7
    s = (((((s * r + _C6) * r + _C5) * r + _C4) * r + _C3) * r + _C2) * r * r + r
    s -= (s + 1.0) * (low - 0.5 * low * low)
    power = np.int64((np.int64(n) + 1023) << 52).view(np.float64)
    return 0.0 if x < _LOWEST else (s + 1.0) * power
