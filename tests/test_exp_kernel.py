"""exp in float64 as kernels compute it."""

import math

import numpy as np

from charloom.models.exp_kernel import exp
from charloom.models.jit import kernel


@kernel
def apply(x, out):
    for i in range(x.size):
        out[i] = exp(x[i])


def test_it_is_as_exact_as_it_says():
    # Held to a long double: NumPy's own of float64 depends on the processor.
    x = np.concatenate([-np.exp2(np.linspace(-60, 9.46, 200_001)), np.linspace(-1, 0, 10_001)])
    out = np.empty_like(x)
    apply(x, out)
    np.testing.assert_allclose(out, np.exp(x.astype(np.longdouble)), rtol=4e-16, atol=0)


def test_what_cannot_be_is_0_and_nan_is_nan():
    x = np.array([0.0, -0.0, -708.5, -1e300, -math.inf, math.nan])
    out = np.empty_like(x)
    apply(x, out)
    np.testing.assert_array_equal(out, [1, 1, 0, 0, 0, math.nan])
