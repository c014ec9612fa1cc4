"""The order in which training meets its samples, over enough epochs to know what they cost."""

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from autobatch.probe.material import arrange, drawn, first_of
from autobatch.probe.newness import first_seen
from autobatch.probe.order import DRAWN_SAMPLES, Cost, make_order
from autobatch.probe.schedule import FEWEST_REPEATED
from autobatch.request import Limits, Plan, ProbeRequest
from autobatch.settings import EXPANDABLE, Configuration


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


def test_a_sampler_of_a_scripts_own_draws_as_it_does(arranged):
    order = arranged("probe", "cpu", EXPANDABLE, sampler=[7, 8, 9, 10])

    assert set(order.indices[order.typical_from * 4 :]) == {7, 8, 9, 10}
    assert first_of(range(10)).tolist() == [*range(10)] * (DRAWN_SAMPLES // 10)
    assert len(first_of(itertools.count())) == DRAWN_SAMPLES


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


@pytest.fixture
def arranged(workload):
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 500, 1000), rng.integers(5, 100, 1000)
    long = replace(workload("bart"), train_samples=1000, epochs=2.0)

    def make(purpose, device, allocator, devices=1, **options):
        configuration = Configuration(pytorch_alloc_conf=allocator, per_device_train_batch_size=4)
        asked = replace(long, effective_batch=4 * devices)
        request = ProbeRequest(asked, configuration, Plan(purpose), Limits(), device, "/nowhere")
        return arrange(request, lengths, Cost(1.0, 1.0), **options)

    return make


def test_a_short_probe_on_a_card_soon_meets_new_lengths_as_a_training_does(arranged):
    order = arranged("probe", "cuda:0", EXPANDABLE)
    new = first_seen(np.array(order.padded)).sum(axis=1)[order.typical_from :]

    assert 0 < order.new_lengths < 1
    assert new[:FEWEST_REPEATED].mean() > 1
    assert new[FEWEST_REPEATED:].mean() == pytest.approx(order.new_lengths, abs=0.05)


@pytest.mark.parametrize(
    ("purpose", "device", "allocator"),
    [("probe", "cpu", EXPANDABLE), ("probe", "cuda:0", ""), ("confirm", "cuda:0", EXPANDABLE)],
)
def test_elsewhere_micro_batches_are_new_as_long_as_there_are_any(arranged, purpose, device, allocator):
    order = arranged(purpose, device, allocator)
    typical = order.padded[order.typical_from :]

    assert len(set(typical[:40])) > 35


def test_a_process_of_several_meets_its_share_of_the_samples(arranged):
    """Half as many micro-batches know fewer lengths, but not half as few."""
    alone, shared = (arranged("probe", "cuda:0", EXPANDABLE, devices).new_lengths for devices in (1, 2))

    assert 1.3 * alone < shared < 2 * alone
