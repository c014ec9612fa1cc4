"""Samples of random tokens with the workload's lengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from autobatch.workload.spec import Lengths, Workload

Item = dict[str, list[int]]
FIRST_TOKEN = 4
"""Lowest random token: those below are padding and other special tokens in most vocabularies."""
_TAIL_KNOTS = 20


class RandomSamples(Dataset[Item]):
    """A data set of random tokens, the same for the same seed. Sample 0 is the longest in source and target.

    Args:
        workload: its lengths and limits.
        vocabulary: number of tokens.
        size: number of samples.
        seed: of lengths and tokens.

    Attributes:
        source, target: tokens of every sample after truncation; `target` is all zeros for a causal model.

    """

    def __init__(self, workload: Workload, vocabulary: int, size: int, seed: int = 0) -> None:
        self.vocabulary = vocabulary
        self.seed = seed
        lengths = truncated(workload)
        rng = np.random.default_rng(seed)
        self.source = draw(lengths.source, size, rng)
        self.target = draw(lengths.target, size, rng)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Item:
        rng = np.random.default_rng((self.seed, index))
        source = rng.integers(FIRST_TOKEN, self.vocabulary, self.source[index]).tolist()
        if not self.target[index]:
            return {"input_ids": source, "labels": source}
        return {
            "input_ids": source,
            "labels": rng.integers(FIRST_TOKEN, self.vocabulary, self.target[index]).tolist(),
        }


def truncated(workload: Workload) -> Lengths:
    """Return the lengths as the model sees them: cut at the workload's limits."""
    source = tuple(min(length, workload.max_source_length) for length in workload.lengths.source)
    limit = workload.max_target_length
    target = tuple(length if limit is None else min(length, limit) for length in workload.lengths.target)
    return Lengths(source, target, workload.lengths.estimated)


def draw(quantiles: Sequence[int], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw lengths from a distribution given by evenly spaced quantiles; the first drawn is the longest."""
    if not quantiles:
        return np.zeros(size, np.int64)
    drawn = interpolate(quantiles, (np.arange(size) + rng.random(size)) / size)
    rng.shuffle(drawn)
    drawn[0] = quantiles[-1]
    return drawn


def interpolate(quantiles: Sequence[int], shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the lengths at some shares (0 to 1) of a distribution.

    The last quantile is one single sample, perhaps far out. So what lies above the last but one goes on growing as
    before it, and does not stretch to the longest.
    """
    knots = np.asarray(quantiles, np.float64)
    if len(knots) >= _TAIL_KNOTS and knots[-3] > 0:
        knots[-1] = min(knots[-1], knots[-2] ** 2 / knots[-3])
    values = np.interp(shares, np.linspace(0.0, 1.0, len(knots)), knots)
    return np.maximum(1, np.rint(values)).astype(np.int64)
