"""The normal distribution on arrays, to a ten-millionth, with numpy alone."""

from __future__ import annotations

import math

import numpy as np

from autobatch.search.prior import Array

FAR = -6.0
"""Below this the lower tail is taken by its asymptote."""
# Abramowitz and Stegun 7.1.26
_P = 0.3275911
_A = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


def density(z: Array) -> Array:
    """Return the standard normal density."""
    return np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)


def below(z: Array) -> Array:
    """Return the probability of a value below `z`; error under 1e-7."""
    size = np.abs(z) / math.sqrt(2)
    t = 1 / (1 + _P * size)
    tail = 0.5 * t * (_A[0] + t * (_A[1] + t * (_A[2] + t * (_A[3] + t * _A[4])))) * np.exp(-(size**2))
    return np.where(z < 0, tail, 1 - tail)


def log_below(z: Array) -> Array:
    """Return the logarithm of `below`, asymptotic far below zero."""
    near = np.log(np.maximum(below(np.maximum(z, FAR)), 1e-300))
    safe = np.minimum(z, FAR)
    far = -0.5 * safe**2 - np.log(-safe * math.sqrt(2 * math.pi))
    return np.where(z < FAR, far, near)


def expected_excess(mean: Array, sd: Array) -> Array:
    """Return the expectation of max(0, X) for normal X."""
    spread = np.maximum(sd, 1e-12)
    z = mean / spread
    return np.maximum(spread * density(z) + mean * below(z), 0.0)
