"""Estimates from few micro-steps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.probe.order import Cost, micro_batch_costs, padded_lengths, typical
from autobatch.probe.timing import Estimate, Rule, estimate, starvation_s


@given(
    st.lists(st.floats(1.0, 100.0), min_size=4, max_size=40),
    st.floats(0.0, 1.0),
    st.floats(0.001, 1.0),
    st.floats(1.0, 100.0),
)
def test_a_line_is_found_exactly(costs, base, slope, expected):
    found = estimate([base + slope * c for c in costs], costs, expected)

    if max(costs) - min(costs) > 1e-3:
        assert found.seconds == pytest.approx(base + slope * expected, rel=1e-6)


def test_equal_batches_need_no_line():
    found = estimate([1.0, 1.1, 0.9, 1.0], [5.0] * 4, 5.0)

    assert found.seconds == pytest.approx(1.0)
    assert 0.05 < found.rel_error < 0.2


def test_a_stall_is_left_out_but_a_habit_is_not():
    steady = [1.0 + 0.001 * (i % 5) for i in range(30)]

    assert estimate([*steady, 9.0], [1.0] * 31, 1.0).seconds == pytest.approx(1.002, rel=1e-3)
    assert estimate([*steady[:20], *[2.0] * 10], [1.0] * 30, 1.0).seconds == pytest.approx(1.334, rel=1e-2)
    # the machine does it again and again, as it will in the training
    again = [*steady[:15], 4.0, *steady[15:], 4.0]
    assert estimate(again, [1.0] * 32, 1.0).seconds == pytest.approx(sum(again) / 32, rel=1e-3)


def test_warm_up_is_left_out_and_said_in_the_count():
    steady = [1.0 + 0.01 * (i % 3) for i in range(20)]
    warming = [2.0, 1.8, 1.6, 1.5, 1.4, 1.3, 1.2]

    found = estimate([*warming, *steady], [1.0] * 27, 1.0)

    assert found.seconds == pytest.approx(1.01, rel=0.01)
    assert found.timed == 20


def test_what_gets_slower_is_no_warm_up():
    cooling = [1.0 + 0.01 * (i % 3) for i in range(10)] + [1.5 + 0.01 * (i % 3) for i in range(10)]

    assert estimate(cooling, [1.0] * 20, 1.0).seconds == pytest.approx(1.26, rel=0.01)


def noisy(seed, carried_on):
    """Make 160 micro-steps of 1 s on average; what was slow stays so, as far as `carried_on`."""
    rng, level, found = np.random.default_rng(seed), 0.0, []
    for shock in rng.normal(0, 0.1 * np.sqrt(1 - carried_on**2), 160):
        level = carried_on * level + shock
        found.append(1.0 + level)
    return found


@pytest.mark.parametrize("carried_on", [0.0, 0.6, 0.9])
def test_the_interval_holds_the_mean_where_the_machine_drifts(carried_on):
    found = [estimate(noisy(seed, carried_on), [1.0] * 160, 1.0) for seed in range(300)]
    held = sum(abs(one.seconds - 1.0) <= one.half_width_s for one in found) / len(found)
    assert held > {0.0: 0.93, 0.6: 0.82, 0.9: 0.65}[carried_on]


def test_independent_micro_steps_are_hardly_doubted():
    widths = [estimate(noisy(seed, 0.0), [1.0] * 160, 1.0).half_width_s for seed in range(300)]
    assert np.mean(widths) < 1.3 * 1.96 * 0.1 / np.sqrt(160)


def test_too_few_are_refused():
    with pytest.raises(ValueError, match="2 micro-steps timed, 3 needed"):
        estimate([1.0, 1.0], [1.0, 1.0], 1.0)


@pytest.mark.parametrize("micro_batch", [1, 4, 16])
@pytest.mark.parametrize("flat", [0.0, 0.05])
def test_eight_balanced_batches_tell_the_mean_of_an_epoch(micro_batch, flat):
    rng = np.random.default_rng(3)
    lengths = np.minimum(rng.lognormal(5.2, 0.5, 12_000), 1024).astype(np.int64)
    none = np.zeros_like(lengths)
    padded = padded_lengths(rng.permutation(len(lengths)), lengths, none, micro_batch)
    costs = micro_batch_costs(padded, Cost(1.0, source_squared=1e-4), micro_batch)
    # launch-bound at the bottom, then affine, with 1 % of noise
    epoch = np.maximum(flat * costs.mean(), costs) * 1e-3 * rng.lognormal(0, 0.01, len(costs))
    chosen = typical(costs, 96)[:8]

    found = estimate([epoch[i] for i in chosen], [costs[i] for i in chosen], float(costs.mean()))

    assert found.seconds == pytest.approx(epoch.mean(), rel=0.02)


def test_the_rule_wants_enough_steps_enough_time_and_certainty():
    rule = Rule(0.02, fewest=8, shortest_s=1.0, longest_s=5.0)
    sure, unsure = Estimate(1.0, 0.01, 8), Estimate(1.0, 0.05, 8)

    assert rule.enough(sure, 1.5)
    assert not rule.enough(sure, 0.5)
    assert not rule.enough(Estimate(1.0, 0.01, 7), 1.5)
    assert not rule.enough(unsure, 4.0)
    assert rule.enough(unsure, 4.1)  # another would end after 5 s


def test_a_wide_interval_is_given_more_time_but_not_for_ever():
    rule = Rule(0.02, shortest_s=15.0, longest_s=20.0, tolerance=0.05, patience_s=60.0)
    wide, fair = Estimate(0.5, 0.03, 40), Estimate(0.5, 0.02, 40)

    assert not rule.enough(fair, 19.0)
    assert rule.enough(fair, 20.0)
    assert not rule.enough(wide, 20.0)
    assert rule.enough(wide, 59.6)


def simulated(accumulation, workers, prefetch, batch_s, compute_s):
    """Run the Trainer's loop against workers, event by event, and return the mean wait of later steps."""
    steps, free = 200, [0.0] * workers
    now, ready, waits = 0.0, [], []

    def order(at):
        worker = min(range(workers), key=free.__getitem__)
        free[worker] = max(free[worker], at) + batch_s
        ready.append(free[worker])

    for _ in range(workers * prefetch):
        order(0.0)
    for _ in range(steps):
        start = now
        for _ in range(accumulation):
            now = max(now, ready.pop(0))
            order(now)
        waits.append(now - start)
        now += compute_s
    return float(np.mean(waits[steps // 2 :]))


@pytest.mark.parametrize("accumulation", [1, 2, 8, 32])
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("compute_s", [0.5, 2.0, 50.0])
def test_starvation_agrees_with_a_simulated_loader(accumulation, workers, compute_s):
    expected = simulated(accumulation, workers, 2, 1.0, compute_s)

    found = starvation_s(accumulation, workers, 2, 1.0, compute_s)

    assert found == pytest.approx(expected, abs=1.01)


def test_without_workers_every_batch_is_waited_for():
    assert starvation_s(8, 0, 2, 0.5, 100.0) == 4.0
