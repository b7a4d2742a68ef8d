"""tanh, the logistic function, exp and log, for float32 in arithmetic that vectorises.

Float64 takes the machine's library: exact, and one number at a time.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

Function = Callable[[Any], Any]

_f = np.float32

# tanh(x) = x P(x^2) / Q(x^2) on |x| <= 9; relative error 2.3e-8 before rounding, fitted by
# reweighted least squares.
_P = [_f(c) for c in (0.99999998, 0.13374463, 3.4877966e-3, 2.0480952e-5, 1.3177208e-8)]
_Q = [_f(c) for c in (1.0, 0.46707777, 2.5847334e-2, 3.2728967e-4, 7.7039148e-7)]
_P0, _P1, _P2, _P3, _P4 = _P
_Q0, _Q1, _Q2, _Q3, _Q4 = _Q

# exp(x) = 2^n exp(r), n the whole number nearest x / ln 2, |r| <= ln(2)/2: Taylor to r^7.
_LOG2E = _f(1.44269504)
_LN2_HIGH, _LN2_LOW = _f(0.693359375), _f(-2.12194440e-4)  # Cody & Waite 1980
_C2, _C3, _C4, _C5, _C6, _C7 = [_f(1 / math.factorial(k)) for k in range(2, 8)]
_HALF, _ONE, _NINE, _LOW, _HIGH = _f(0.5), _f(1), _f(9), _f(-87), _f(88)
# log(x) = n ln 2 + log(m), sqrt(1/2) <= m < sqrt(2); log(m) = 2 artanh(s), s = (m - 1) / (m + 1):
# its series to s^9.
_C3RD, _C5TH, _C7TH, _C9TH = [_f(1 / k) for k in (3, 5, 7, 9)]
_ROOT_HALF, _TWO, _TINY = np.int32(0x3F3504F3), _f(2), _f(1.17549435e-38)
_BIAS, _MANTISSA = np.int32(127), np.int32(23)


def _by_type(in_float64: Function, in_float32: Function) -> Function:
    """Return a function of x that is one or the other in kernels, by the type of x."""

    def function(x: Any) -> Any:
        return in_float64(x)

    overload(function, strict=False)(lambda x: in_float64 if x == types.float64 else in_float32)
    return function


def _tanh(x: Any) -> Any:
    x = min(max(x, -_NINE), _NINE)
    t = x * x
    p = (((_P4 * t + _P3) * t + _P2) * t + _P1) * t + _P0
    q = (((_Q4 * t + _Q3) * t + _Q2) * t + _Q1) * t + _Q0
    return min(max(x * p / q, -_ONE), _ONE)


def _exp(x: Any) -> Any:
    x = min(max(x, _LOW), _HIGH)
    n = np.int32(x * _LOG2E + (_HALF if x > 0 else -_HALF))
    r = x - np.float32(n) * _LN2_HIGH - np.float32(n) * _LN2_LOW
    s = ((((_C7 * r + _C6) * r + _C5) * r + _C4) * r + _C3) * r + _C2
    return ((s * r + _ONE) * r + _ONE) * np.int32((n + _BIAS) << _MANTISSA).view(np.float32)


def _log(x: Any) -> Any:
    bits = np.float32(max(x, _TINY)).view(np.int32)
    n = np.int32((bits - _ROOT_HALF) >> _MANTISSA)
    s = np.int32(bits - (n << _MANTISSA)).view(np.float32) - _ONE
    s = s / (s + _TWO)
    t = s * s
    series = (((_C9TH * t + _C7TH) * t + _C5TH) * t + _C3RD) * t
    low = np.float32(n) * _LN2_LOW + _TWO * (s * series + s)
    return x if math.isnan(x) else np.float32(n) * _LN2_HIGH + low


tanh = _by_type(lambda x: math.tanh(x), _tanh)  # in float32 within 4e-7 of its value
sigmoid = _by_type(lambda x: 1 / (1 + math.exp(-x)), lambda x: _HALF + _HALF * tanh(_HALF * x))
exp = _by_type(lambda x: math.exp(x), _exp)  # in float32 for -87 <= x <= 88; beyond, the border's
log = _by_type(lambda x: math.log(x), _log)  # in float32 for x >= 1.2e-38; below, the border's
