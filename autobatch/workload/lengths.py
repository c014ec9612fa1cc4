"""Distributions of token lengths: assumed ones by two figures, observed ones as quantiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

from autobatch.workload.spec import Lengths

QUANTILES = 101
"""Entries of a distribution: every percentile, the shortest and the longest among them."""
UNKNOWN = "Nothing is known of the data's lengths"
"""Beginning of the note on lengths that are assumed for want of data."""


def log_normal(median: float, sigma: float, shortest: int, longest: int) -> tuple[int, ...]:
    """Return the percentiles of a log-normal distribution of lengths, clipped to what the model reads.

    The last entry is `longest` itself: the worst case is a sample that was cut at the limit.

    Args:
        median: tokens of the middle sample.
        sigma: standard deviation of the natural logarithm of the length.
        shortest: tokens of the shortest sample.
        longest: tokens at which samples are cut.

    """
    normal = NormalDist(math.log(median), sigma)
    inner = (math.exp(normal.inv_cdf(i / (QUANTILES - 1))) for i in range(1, QUANTILES - 1))
    clipped = (min(max(round(value), shortest), longest) for value in inner)
    return (min(shortest, longest), *clipped, longest)


def assumed(shapes: Mapping[str, Mapping[str, Any]], max_source: int, max_target: int | None) -> Lengths:
    """Return the lengths that a preset describes by `source` and, for an encoder-decoder, `target`.

    Raises:
        KeyError, TypeError: a figure is missing or is none.

    """
    source = log_normal(**shapes["source"], longest=max_source)
    target = log_normal(**shapes["target"], longest=max_target) if max_target and "target" in shapes else ()
    return Lengths(source, target, estimated=True)


def quantiles(counts: Sequence[int]) -> tuple[int, ...]:
    """Return at most `QUANTILES` evenly spaced order statistics of observed lengths, the extremes among them.

    Raises:
        ValueError: there are none.

    """
    if not counts:
        message = "no lengths"
        raise ValueError(message)
    ordered = sorted(counts)
    size = min(QUANTILES, max(2, len(ordered)))
    return tuple(ordered[round(i * (len(ordered) - 1) / (size - 1))] for i in range(size))


def clip(lengths: Lengths, max_source: int, max_target: int | None) -> Lengths:
    """Return the lengths after truncation to what the model is given."""
    source = tuple(min(value, max_source) for value in lengths.source)
    target = tuple(min(value, max_target or value) for value in lengths.target)
    return Lengths(source, target, lengths.estimated)
