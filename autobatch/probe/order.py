"""Which samples a probe trains on, in which order: the worst case first, then typical micro-batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

WORST_STEPS = 2
"""Optimizer steps of the worst case: the first allocates the state, so the peak comes in the second.

The first is on short micro-batches, which are soonest done; the second on the longest.
"""
WORST_MICRO_STEPS = 2
"""Micro-steps on the longest micro-batch, where gradients accumulate."""
DRAWN_SAMPLES = 20_000
"""Samples that the expected cost is taken over: as many epochs of a small set, the beginning of one of a large."""


@dataclass(frozen=True)
class Cost:
    """What a micro-batch costs, up to a factor: weights of a padded source and target token, and of their squares.

    The squares stand for attention.
    """

    source: float
    target: float = 0.0
    source_squared: float = 0.0
    target_squared: float = 0.0

    def of(self, source: NDArray[np.int64], target: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the cost of samples padded to these lengths."""
        s, t = source.astype(np.float64), target.astype(np.float64)
        return self.source * s + self.target * t + self.source_squared * s * s + self.target_squared * t * (t + s)


@dataclass(frozen=True)
class Order:
    """The samples of a probe.

    Attributes:
        indices: samples in order, `micro_batch` after another.
        costs: of every micro-batch in `indices`.
        expected_cost: mean over an epoch.
        longest: samples of the longest micro-batch.
        typical_from: micro-batches before the first that is typical and comes after the worst case.

    """

    indices: tuple[int, ...]
    costs: tuple[float, ...]
    expected_cost: float
    longest: tuple[int, ...] = ()
    typical_from: int = 0


class ProbeSampler(Sampler[int]):
    """Yields the samples of an order; once told so, the typical micro-batches that have come, over and over."""

    def __init__(self, order: Order) -> None:
        self._order, self._indices, self._yielded = order, order.indices, 0

    def __iter__(self) -> Iterator[int]:
        self._yielded = 0
        while self._yielded < len(self._indices):
            self._yielded += 1
            yield self._indices[self._yielded - 1]

    def __len__(self) -> int:
        return len(self._indices)

    def repeat(self) -> tuple[float, ...]:
        """Go on with the typical micro-batches that have come, from the first; return the costs of all micro-batches.

        A long training has met most lengths before, so a promise is timed on lengths that have come. How much a new one
        costs is not settled: docs/probes.md has what was measured.
        """
        costs, first = self._order.costs, self._order.typical_from
        size = len(self._order.indices) // len(costs)
        come = -(-self._yielded // size)
        if come > first:
            places = [*range(come), *islice(cycle(range(first, come)), len(costs) - come)]
            self._indices = tuple(np.array(self._order.indices).reshape(-1, size)[places].reshape(-1).tolist())
            costs = tuple(costs[place] for place in places)
        return costs


def longest_batch(source: NDArray[np.int64], target: NDArray[np.int64], cost: Cost, size: int) -> list[int]:
    """Return the samples of the micro-batch that pads to the most: the longest source and the longest target.

    The others are short, as they would be: padding brings a mask, with which attention keeps more than without one. A
    micro-batch of one sample can hold only one of the longest: the costliest sample.
    """
    if size == 1:
        return [int(np.argmax(cost.of(source, target)))]
    both = [int(np.argmax(source)), int(np.argmax(target))] if target.any() else [int(np.argmax(source))]
    return [*both, *short_batch(source, target, cost, size - len(both))]


def short_batch(source: NDArray[np.int64], target: NDArray[np.int64], cost: Cost, size: int) -> list[int]:
    """Return the samples of a short micro-batch: the one at the lower quartile of the cost, over and over.

    The very shortest may have no label at all, and then a loss that is not a number.
    """
    ranked = np.argsort(cost.of(source, target), kind="stable")
    return [int(ranked[len(ranked) // 4])] * size


def micro_batch_costs(
    drawn: NDArray[np.int64],
    source: NDArray[np.int64],
    target: NDArray[np.int64],
    cost: Cost,
    size: int,
) -> NDArray[np.float64]:
    """Return the cost of every full micro-batch of samples drawn, each padded to its longest."""
    batches = drawn[: len(drawn) // size * size].reshape(-1, size)
    return cost.of(source[batches].max(axis=1), target[batches].max(axis=1)) * size


def balanced(count: int) -> list[int]:
    """Return 0 to count - 1 so that every beginning is spread evenly (van der Corput's sequence)."""
    bits = max(1, (count - 1).bit_length())
    mirrored = (int(f"{i:0{bits}b}"[::-1], 2) for i in range(2**bits))
    return [i for i in mirrored if i < count]


def typical(costs: NDArray[np.float64], wanted: int) -> list[int]:
    """Choose micro-batches so that however early one stops, they stand for the whole epoch.

    They are the quantiles of the epoch's cost, in balanced order: a plain random draw of a few would have another mean.

    Returns:
        `wanted` positions in `costs`; some are repeated where there are fewer.

    """
    ranked = np.argsort(costs, kind="stable")
    places = ((np.arange(wanted) + 0.5) / wanted * len(ranked)).astype(int)
    return [int(ranked[places[i]]) for i in balanced(wanted)]


def make_order(
    drawn: NDArray[np.int64],
    lengths: tuple[NDArray[np.int64], NDArray[np.int64]],
    cost: Cost,
    *,
    micro_batch: int,
    accumulation: int,
    typical_steps: int,
    evaluates: bool = False,
) -> Order:
    """Arrange a probe: a step on short micro-batches, one on the longest, then typical ones.

    Args:
        drawn: epochs (or a part of one) in the order that the training's sampler gives.
        lengths: source and target tokens of every sample.
        cost: of a padded micro-batch.
        micro_batch: samples in one.
        accumulation: micro-steps in one optimizer step of the probe.
        typical_steps: optimizer steps on typical micro-batches, at most.
        evaluates: whether there is an evaluation before the typical ones: it leaves the allocator's cache empty, and
            the longest micro-batch, not timed, fills it again, as it is in a training that has met many lengths.

    """
    source, target = lengths
    if len(drawn) < micro_batch:
        drawn = np.resize(drawn, micro_batch)
    costs = micro_batch_costs(drawn, source, target, cost, micro_batch)
    longest = longest_batch(source, target, cost, micro_batch)
    worst = min(WORST_MICRO_STEPS, accumulation)
    again = min(int(evaluates), accumulation * typical_steps)
    chosen = typical(costs, accumulation * typical_steps + accumulation - worst - again)
    batches = drawn[: len(costs) * micro_batch].reshape(-1, micro_batch)
    plan = [short_batch(source, target, cost, micro_batch)] * accumulation
    plan += [longest] * worst
    others = [batches[i].tolist() for i in chosen]
    plan += others[: accumulation - worst] + [longest] * again + others[accumulation - worst :]
    indices = np.array(plan).reshape(-1)
    planned = micro_batch_costs(indices, source, target, cost, micro_batch)
    return Order(
        tuple(indices.tolist()),
        tuple(planned.tolist()),
        float(costs.mean()),
        tuple(longest),
        typical_from=2 * accumulation + again,
    )
