"""Student's t distribution for any positive number of degrees of freedom, whole or not."""

import math
from statistics import NormalDist

MANY = 1e5
"""Degrees of freedom from which on the normal distribution serves."""
TINY = 1e-300


def two_tailed(t: float, freedom: float) -> float:
    """Return the probability of a value at least as far from zero as `t`."""
    if freedom > MANY:
        return math.erfc(abs(t) / math.sqrt(2))
    if math.isinf(t):
        return 0.0
    far, near = freedom / (freedom + t * t), t * t / (freedom + t * t)
    if far < (freedom + 2) / (freedom + 5):
        return _beta(freedom / 2, 0.5, far, near)
    return 1 - _beta(0.5, freedom / 2, near, far)


def quantile(confidence: float, freedom: float) -> float:
    """Return the bound that holds a share `confidence` of the distribution on both sides of 0.

    Newton's method: the tail is convex, so it never steps over the bound if it starts below.
    """
    t = NormalDist().inv_cdf((1 + confidence) / 2)
    if freedom > MANY:
        return t
    half = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    for _ in range(200):
        curve = (freedom + 1) / 2 * math.log1p(t * t / freedom)
        density = math.exp(half - curve) / math.sqrt(freedom * math.pi)
        step = (two_tailed(t, freedom) - (1 - confidence)) / (2 * density)
        t += step
        if abs(step) < 1e-12 * t:
            break
    return t


def _beta(a: float, b: float, x: float, rest: float) -> float:
    """Return the regularised incomplete beta function; `rest` is 1 - x, to all its digits.

    The continued fraction by Lentz's method (Press et al., Numerical Recipes, 6.4).
    """
    if x <= 0:
        return 0.0
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(logarithm + a * math.log(x) + b * math.log(rest)) / a
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or TINY)
    found = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / (1 + term * d or TINY)
            c = 1 + term / c or TINY
            found *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return front * found
