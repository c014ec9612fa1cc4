"""Which samples come when."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.probe.order import Cost, balanced, longest_batch, make_order, micro_batch_costs, padded_lengths, typical

COST = Cost(1.0, 2.0)
RNG = np.random.default_rng(0)
SOURCE, TARGET = RNG.integers(10, 200, 1000), RNG.integers(5, 50, 1000)


def make(
    micro_batch=4, accumulation=2, steps=10, *, source=SOURCE, target=TARGET, samples=1000.0, evaluates=False, **options
):
    drawn = np.random.default_rng(1).permutation(len(source))
    return make_order(
        drawn,
        (source, target),
        COST,
        micro_batch=micro_batch,
        accumulation=accumulation,
        typical_steps=steps,
        samples=samples,
        evaluates=evaluates,
        **options,
    )


@given(st.integers(1, 300))
def test_balanced_is_a_permutation(count):
    assert sorted(balanced(count)) == list(range(count))


def test_balanced_begins_with_the_quartiles():
    assert balanced(8) == [4, 2, 6, 1, 5, 3, 7, 0]


@pytest.mark.parametrize("beginning", [4, 8, 16, 32])
def test_every_beginning_stands_for_the_whole(beginning):
    costs = np.random.default_rng(2).lognormal(0, 1, 500)

    chosen = costs[typical(costs, 64)[:beginning]]

    assert np.median(chosen) == pytest.approx(np.median(costs), rel=0.4)
    assert chosen.min() < np.quantile(costs, 0.3) < np.quantile(costs, 0.6) < chosen.max()


def test_a_short_epoch_is_repeated():
    assert len(typical(np.array([1.0, 2.0]), 9)) == 9


def test_the_longest_batch_holds_the_longest_of_both():
    batch = longest_batch(SOURCE, TARGET, COST, 4)

    assert max(SOURCE[batch]) == SOURCE.max()
    assert max(TARGET[batch]) == TARGET.max()
    assert len(batch) == 4


def test_the_others_of_the_longest_batch_are_padded():
    source, none = np.array([10, 80, 20, 30]), np.zeros(4, np.int64)

    assert sorted(source[longest_batch(source, none, COST, 3)]) == [20, 20, 80]


def test_where_samples_are_joined_their_sum_counts():
    order = make(micro_batch=4, accumulation=2, pads=False)
    each = COST.of(SOURCE, TARGET)
    batches = np.array(order.indices).reshape(-1, 4)

    assert sorted(order.longest) == sorted(np.argsort(-each, kind="stable")[:4].tolist())
    assert order.costs == pytest.approx(each[batches].sum(axis=1))
    assert max(order.costs) == order.costs[2]
    assert order.padded[0][0] == SOURCE[batches[0]].sum()
    assert len(longest_batch(np.array([5, 6]), np.array([0, 0]), COST, 5, pads=False)) == 5


def test_the_longest_sample_stands_alone_by_its_cost():
    assert longest_batch(np.array([10, 9, 1]), np.array([1, 9, 10]), COST, 1) == [1]


def test_a_short_step_comes_first_then_the_longest():
    order = make(micro_batch=2, accumulation=5, steps=3)
    short, longest = order.costs[0], max(order.costs)

    assert short < order.expected_cost
    assert order.costs[:5] == (short,) * 5
    assert [cost == longest for cost in order.costs[5:10]] == [True, True, False, False, False]
    assert len(order.indices) == 2 * len(order.costs) == 2 * (2 * 5 + 3 * 5)


def test_after_an_evaluation_the_longest_comes_once_more():
    order = make(micro_batch=2, accumulation=3, steps=4, evaluates=True)
    longest = max(order.costs)

    assert [cost == longest for cost in order.costs[3:9]] == [True, True, False, True, False, False]
    assert len(order.costs) == 2 * 3 + 4 * 3


def test_without_typical_steps_nothing_comes_after_an_evaluation():
    assert len(make(accumulation=2, steps=0, evaluates=True).costs) == 2 * 2


def test_costs_are_those_of_the_batches_in_order():
    order = make(micro_batch=3, accumulation=1)
    padded = padded_lengths(np.array(order.indices), SOURCE, TARGET, 3)

    assert order.padded == tuple(map(tuple, padded.tolist()))
    assert order.costs == pytest.approx(micro_batch_costs(padded, COST, 3))


def test_new_lengths_are_those_of_the_whole_training():
    short, long = (make(samples=samples).new_lengths for samples in (40.0, 100_000.0))

    assert short > 1.2
    assert long < 0.01


def test_fewer_samples_than_a_micro_batch_still_make_one():
    order = make(micro_batch=16, source=np.array([5, 6, 7]), target=np.array([1, 2, 3]))

    assert len(order.indices) % 16 == 0
