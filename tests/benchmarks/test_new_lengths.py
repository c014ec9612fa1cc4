"""What a new length costs, measured by pairs."""

import numpy as np
import pytest

from autobatch.probe.newness import first_seen
from autobatch.probe.order import Cost, make_order
from benchmarks import new_lengths

START = 2
COSTS = {"source": 0.2, "target": 0.1}


@pytest.fixture
def order():
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 100, 2000), rng.integers(5, 40, 2000)
    drawn = rng.permutation(2000)
    options = {"micro_batch": 2, "accumulation": 1, "typical_steps": 240, "samples": 2000.0}
    return new_lengths.doubled(make_order(drawn, lengths, Cost(1.0), **options))


def test_typical_micro_batches_come_twice(order):
    padded, block = order.padded[START:], new_lengths.BLOCK
    assert order.typical_from == START
    for begin in range(0, len(padded) - 2 * block, 2 * block):
        assert padded[begin : begin + block] == padded[begin + block : begin + 2 * block]
    assert len(order.indices) == 2 * len(order.padded) == 2 * len(order.costs)


@pytest.mark.parametrize("first", [START, START + 5])
def test_the_difference_of_a_pair_is_what_the_new_length_cost(order, first):
    new = first_seen(np.array(order.padded))
    times = 1.0 + new @ np.array([COSTS["source"], COSTS["target"]])
    found = {"first": first, "typical_from": START, "seconds": times[first:], "padded": order.padded}

    differences = new_lengths.differences(found)

    mean = times[first:].mean()
    assert differences["neither"]["mean"] == 0.0
    for name, cost in {**COSTS, "both": sum(COSTS.values())}.items():
        assert differences[name]["mean"] == pytest.approx(cost / mean)


def test_a_training_is_timed_in_pairs():
    row = new_lengths.measure("demo-8x2", "cpu", 20.0)

    kinds = [row[kind] for kind in new_lengths.KINDS if kind in row]  # on a slow machine lengths are new for long
    assert kinds
    assert all(kind["pairs"] >= new_lengths.FEWEST_PAIRS for kind in kinds)
    assert row["micro_step_s"] > 0
    assert "demo-8x2" in new_lengths.line(row)


def test_what_fails_is_told_in_the_row():
    row = new_lengths.measure("demo-8x2", "nowhere", 1.0)

    assert row["error"]
    assert row["error"] in new_lengths.line(row)
