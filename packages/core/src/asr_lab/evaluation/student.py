"""Student's t distribution for any positive number of degrees of freedom, whole or not."""

import math
from statistics import NormalDist

MANY = 1e7
"""Degrees of freedom from which on the normal distribution serves."""
TINY = 1e-300


def two_tailed(t: float, freedom: float) -> float:
    """Return the probability of a value at least as far from zero as `t`."""
    if freedom > MANY:
        return math.erfc(abs(t) / math.sqrt(2))
    return _beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def quantile(confidence: float, freedom: float) -> float:
    """Return the value that a variable exceeds, in either direction, as `confidence` leaves."""
    if freedom > MANY:
        return NormalDist().inv_cdf((1 + confidence) / 2)
    low, high = 0.0, 1.0
    while two_tailed(high, freedom) > 1 - confidence:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        inside = two_tailed(middle, freedom) > 1 - confidence
        low, high = (middle, high) if inside else (low, middle)
    return (low + high) / 2


def _beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function by its continued fraction.

    Lentz's method (Press et al., Numerical Recipes, 6.4).
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(b, a, 1 - x)
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(logarithm + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1 / _far(1 - (a + b) * x / (a + 1))
    found = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / _far(1 + even * d)
        c = _far(1 + even / c)
        found *= d * c
        d = 1 / _far(1 + odd * d)
        c = _far(1 + odd / c)
        found *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return front * found


def _far(value: float) -> float:
    """Keep a divisor away from zero."""
    return value if abs(value) > TINY else TINY
