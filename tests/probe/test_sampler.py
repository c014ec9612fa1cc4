"""What the loader of a probe takes."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from autobatch.probe.newness import first_seen
from autobatch.probe.order import Cost, make_order, micro_batch_costs, padded_lengths
from autobatch.probe.sampler import ProbeSampler

COST = Cost(1.0, 2.0)
SIZE = 2
FIRST = 2 * 3 + 1
"""Micro-batches before the first typical one."""


@pytest.fixture
def lengths():
    rng = np.random.default_rng(0)
    return rng.integers(10, 400, 1000), rng.integers(5, 100, 1000)


@pytest.fixture
def order(lengths):
    return make_order(
        np.random.default_rng(1).permutation(1000),
        lengths,
        COST,
        micro_batch=SIZE,
        accumulation=3,
        typical_steps=40,
        samples=1000.0,
        evaluates=True,
    )


def settled(order, come, surplus=0):
    """Take some micro-batches, settle, and return all samples and the costs that are told."""
    sampler = ProbeSampler(order)
    samples = iter(sampler)
    begun = list(islice(samples, SIZE * come - surplus))
    costs = sampler.settle()
    return begun + list(samples), costs


def test_the_sampler_yields_the_order_every_time(order):
    sampler = ProbeSampler(order)

    assert tuple(sampler) == tuple(sampler) == order.indices
    assert len(sampler) == len(order.indices)


@pytest.mark.parametrize("surplus", [0, 1])
def test_where_nothing_new_is_to_come_what_has_come_comes_again(order, surplus):
    known = replace(order, new_lengths=0.0, padded=tuple((i, 0) for i in range(1, len(order.padded) + 1)))

    # the loader may have taken a part of the last
    sequence, _ = settled(known, FIRST + 4, surplus)

    begun, again = SIZE * (FIRST + 4), order.indices[SIZE * FIRST : SIZE * (FIRST + 4)]
    assert order.typical_from == FIRST
    assert tuple(sequence[:begun]) == order.indices[:begun]
    assert tuple(sequence[begun:]) == (again * 40)[: len(order.indices) - begun]


@pytest.mark.parametrize("share", [0.1, 0.4, 1.0])
def test_new_lengths_come_as_often_as_in_the_training(order, lengths, share):
    sequence, costs = settled(replace(order, new_lengths=share), FIRST + 20)

    padded = padded_lengths(np.array(sequence), *lengths, SIZE)
    assert costs == pytest.approx(micro_batch_costs(padded, COST, SIZE))
    timed = first_seen(padded)[FIRST + 20 :].sum(axis=1)
    assert timed[:50].mean() == pytest.approx(share, abs=0.05)
    assert (np.cumsum(timed) <= share * np.arange(1, len(timed) + 1)).all()


def test_where_all_is_new_the_order_stays_as_it_is(order):
    sequence, costs = settled(replace(order, new_lengths=2.0), FIRST + 1)

    assert tuple(sequence) == order.indices
    assert costs == order.costs


def test_before_anything_typical_has_come_nothing_is_repeated(order):
    sequence, costs = settled(replace(order, new_lengths=0.0), FIRST - 1)

    assert tuple(sequence) == order.indices
    assert costs == order.costs
