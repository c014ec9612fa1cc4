"""Which samples a probe trains on, in which order: the worst case first, then typical micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autobatch.probe.newness import new_lengths

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
        padded: source and target length of every micro-batch in `indices`.
        new_lengths: that a mean micro-batch of the whole training meets for the first time, between 0 and 2.

    """

    indices: tuple[int, ...]
    costs: tuple[float, ...]
    expected_cost: float
    longest: tuple[int, ...] = ()
    typical_from: int = 0
    padded: tuple[tuple[int, int], ...] = ()
    new_lengths: float = 2.0

    def rearranged(self, places: Sequence[int]) -> Order:
        """Return the order of the micro-batches at these places in this one."""
        samples = np.array(self.indices).reshape(len(self.padded), -1)[places]
        return replace(
            self,
            indices=tuple(samples.reshape(-1).tolist()),
            costs=tuple(self.costs[place] for place in places),
            padded=tuple(self.padded[place] for place in places),
        )


def longest_batch(
    source: NDArray[np.int64], target: NDArray[np.int64], cost: Cost, size: int, *, pads: bool = True
) -> list[int]:
    """Return the samples of the micro-batch that pads to the most: the longest source and the longest target.

    The others are short, as they would be: padding brings a mask, with which attention keeps more than without one. A
    micro-batch of one sample can hold only one of the longest: the costliest sample. Where samples are joined and not
    padded, it is the costliest samples.
    """
    if not pads:
        return [int(i) for i in np.resize(np.argsort(-cost.of(source, target), kind="stable")[:size], size)]
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


def padded_lengths(
    drawn: NDArray[np.int64], source: NDArray[np.int64], target: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """Return source and target length of every full micro-batch of samples drawn; shape (micro-batches, 2)."""
    batches = drawn[: len(drawn) // size * size].reshape(-1, size)
    return np.stack([source[batches].max(axis=1), target[batches].max(axis=1)], axis=1)


def micro_batch_costs(padded: NDArray[np.int64], cost: Cost, size: int) -> NDArray[np.float64]:
    """Return the cost of micro-batches of these padded lengths."""
    return cost.of(padded[:, 0], padded[:, 1]) * size


def shapes(
    drawn: NDArray[np.int64], lengths: tuple[NDArray[np.int64], NDArray[np.int64]], cost: Cost, size: int, *, pads: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return lengths and cost of every full micro-batch of samples drawn; one that is joined has the sum of both."""
    if pads:
        padded = padded_lengths(drawn, *lengths, size)
        return padded, micro_batch_costs(padded, cost, size)
    batches = drawn[: len(drawn) // size * size].reshape(-1, size)
    joined = np.stack([each[batches].sum(axis=1) for each in lengths], axis=1)
    # attention stays within a sample
    return joined, cost.of(*lengths)[batches].sum(axis=1)


def balanced(count: int) -> list[int]:
    """Return 0 to count - 1, from the middle, so that every beginning is spread evenly (van der Corput's sequence)."""
    bits = max(1, (count - 1).bit_length())
    mirrored = (int(f"{i:0{bits}b}"[::-1], 2) for i in [*range(1, 2**bits), 0])
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
    samples: float,
    evaluates: bool = False,
    pads: bool = True,
) -> Order:
    """Arrange a probe: a step on short micro-batches, one on the longest, then typical ones.

    Args:
        drawn: epochs (or a part of one) in the order that the training's sampler gives.
        lengths: source and target tokens of every sample.
        cost: of a padded micro-batch.
        micro_batch: samples in one.
        accumulation: micro-steps in one optimizer step of the probe.
        typical_steps: optimizer steps on typical micro-batches, at most.
        samples: that the whole training takes, all epochs together.
        evaluates: whether there is an evaluation before the typical ones: it leaves the allocator's cache empty, and
            the longest micro-batch, not timed, fills it again, as it is in a training that has met many lengths.
        pads: whether the collator pads samples; else it joins them, and a micro-batch is as long as all of them.

    """
    source, target = lengths
    if len(drawn) < micro_batch:
        drawn = np.resize(drawn, micro_batch)
    padded, costs = shapes(drawn, lengths, cost, micro_batch, pads=pads)
    longest = longest_batch(source, target, cost, micro_batch, pads=pads)
    worst = min(WORST_MICRO_STEPS, accumulation)
    again = min(int(evaluates), accumulation * typical_steps)
    chosen = typical(costs, accumulation * typical_steps + accumulation - worst - again)
    batches = drawn[: len(costs) * micro_batch].reshape(-1, micro_batch)
    plan = [short_batch(source, target, cost, micro_batch)] * accumulation
    plan += [longest] * worst
    others = [batches[i].tolist() for i in chosen]
    plan += others[: accumulation - worst] + [longest] * again + others[accumulation - worst :]
    indices = np.array(plan).reshape(-1)
    planned, planned_costs = shapes(indices, lengths, cost, micro_batch, pads=pads)
    return Order(
        tuple(indices.tolist()),
        tuple(planned_costs.tolist()),
        float(costs.mean()),
        tuple(longest),
        typical_from=2 * accumulation + again,
        padded=tuple(map(tuple, planned.tolist())),
        new_lengths=new_lengths(padded, samples / micro_batch),
    )
