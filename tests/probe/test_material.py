"""The order in which training meets its samples, over enough epochs to know what they cost."""

from collections import Counter

import numpy as np
import pytest

from autobatch.probe.material import drawn
from autobatch.probe.order import DRAWN_SAMPLES, Cost, make_order
from autobatch.request import Limits, Plan, ProbeRequest
from autobatch.settings import Configuration


@pytest.fixture
def order_of(workload):
    def draw(lengths, **settings):
        request = ProbeRequest(workload("bart"), Configuration(settings), Plan(), Limits(), "cpu", "/nowhere")
        return drawn(request, np.asarray(lengths))

    return draw


@pytest.mark.parametrize("sampling", ["random", "group_by_length"])
def test_a_small_set_is_drawn_for_many_epochs(order_of, sampling):
    counts = Counter(order_of(range(1, 101), train_sampling_strategy=sampling).tolist())
    assert set(counts.values()) == {DRAWN_SAMPLES // 100}


@pytest.mark.parametrize("sampling", ["random", "group_by_length"])
def test_of_a_large_set_only_the_beginning_is_drawn(order_of, sampling):
    found = order_of(np.arange(DRAWN_SAMPLES + 5000), train_sampling_strategy=sampling)
    assert len(found) == len(set(found.tolist())) == DRAWN_SAMPLES


def test_what_a_micro_batch_costs_does_not_hang_on_one_epochs_order(order_of):
    lengths = np.random.default_rng(0).integers(10, 1000, 64)
    costs = [
        make_order(
            np.random.default_rng(seed).permutation(order_of(lengths)),
            (lengths, np.zeros_like(lengths)),
            Cost(1.0),
            micro_batch=8,
            accumulation=1,
            typical_steps=4,
            samples=64.0,
        ).expected_cost
        for seed in range(5)
    ]
    assert max(costs) / min(costs) < 1.01
