import math
from dataclasses import replace

import numpy as np
import pytest

from autobatch.search import normal, prior
from autobatch.search.posterior import Observations, Posterior, log_memory, log_micro_step
from autobatch.search.prior import FIXED, FLOOR, OVERHEAD, PER_SAMPLE, SLOPE, Pace
from autobatch.settings import CHECKPOINTING, MICRO_BATCH, PRECISION, Configuration

GIB = 2**30
PLAIN = Configuration({PRECISION: "bf16"})
AGAIN = Configuration({PRECISION: "bf16", CHECKPOINTING: True})


class Guess:
    def __init__(self, value, rel_sigma=0.05):
        self.bytes = value
        self.rel_sigma = rel_sigma


def seen(rows):
    columns = list(zip(*rows, strict=True))
    arm, batch, memory, at_least, step = (np.array(c, dtype=float) for c in columns)
    count = len(rows)
    return Observations(
        arm.astype(int), batch, memory, at_least, step, np.full(count, math.log(0.01)), np.ones(count), np.zeros(count)
    )


def expected_gib(posterior, arm, batch):
    x = posterior.samples[:, arm]
    return math.exp(log_memory(x[FIXED], x[PER_SAMPLE], np.log(batch)) @ posterior.weights) / GIB


def expected_step(posterior, arm, batch):
    x = posterior.samples[:, arm]
    return math.exp(log_micro_step(x[FLOOR], x[OVERHEAD], x[SLOPE], np.log(batch)) @ posterior.weights)


def test_two_measurements_fix_an_arms_memory_line():
    posterior = Posterior(prior.build([PLAIN], (1, 64), None), seed=0)
    rows = [(0, b, math.log((5 + 0.5 * b) * GIB), math.nan, math.log(0.1)) for b in (1, 16)]
    posterior.update(seen(rows))
    assert expected_gib(posterior, 0, 32.0) == pytest.approx(21, rel=0.05)


def test_an_arm_that_was_not_measured_follows_the_one_that_was():
    posterior = Posterior(prior.build([PLAIN, AGAIN], (1, 64), None), seed=0)
    posterior.update(seen([(0, 16.0, math.log(20 * GIB), math.nan, math.log(3.2))]))
    assert expected_step(posterior, 1, 16.0) == pytest.approx(3.2 * 4 / 3, rel=0.15)


def test_out_of_memory_raises_the_expectation_above_the_card():
    posterior = Posterior(prior.build([PLAIN], (1, 64), lambda _: Guess(10 * GIB)), seed=0)
    posterior.update(seen([(0, 8.0, math.nan, math.log(16 * GIB), math.nan)]))
    assert expected_gib(posterior, 0, 8.0) > 15


def test_a_shape_prior_is_believed_until_it_proves_wrong():
    def predict(configuration):
        return Guess((5 + 0.5 * configuration.micro_batch) * GIB, 0.03)

    posterior = Posterior(prior.build([PLAIN, AGAIN], (1, 64), predict), seed=0)
    assert expected_gib(posterior, 1, 20.0) == pytest.approx(15, rel=0.02)
    posterior.update(seen([(0, 20.0, math.log(30 * GIB), math.nan, math.log(0.1))]))
    assert expected_gib(posterior, 0, 20.0) == pytest.approx(30, rel=0.03)
    assert expected_gib(posterior, 1, 20.0) > 22
    memory = log_memory(posterior.samples[FIXED, 1], posterior.samples[PER_SAMPLE, 1], np.log(20.0))
    assert memory.std() > 0.08


def test_a_disturbed_measurement_moves_its_arm_less():
    def moved(error):
        posterior = Posterior(prior.build([PLAIN], (1, 64), None), seed=0)
        before = expected_step(posterior, 0, 32.0)
        measured = seen([(0, 32.0, math.nan, math.nan, math.log(10 * before))])
        posterior.update(replace(measured, error=np.full(1, error)))
        return math.log(expected_step(posterior, 0, 32.0) / before)

    assert 0 < moved(3.0) < 0.5 * moved(0.0)


def test_a_flat_measurement_leaves_open_how_far_it_stays_flat():
    pace = lambda _: Pace(0.1, 0.001, 0.25)  # noqa: E731 - a formula
    posterior = Posterior(prior.build([PLAIN], (1, 256), None, pace), seed=0)
    posterior.update(seen([(0, 8.0, math.log(5 * GIB), math.nan, math.log(0.1))]))
    assert expected_step(posterior, 0, 16.0) == pytest.approx(0.1, rel=0.15)


def test_the_lower_tail_agrees_with_the_error_function():
    z = np.linspace(-5, 5, 101)
    exact = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in z])
    assert np.abs(normal.below(z) - exact).max() < 1e-7


def test_expected_excess_has_its_limits():
    assert normal.expected_excess(np.array([2.0]), np.array([0.0]))[0] == pytest.approx(2.0)
    assert normal.expected_excess(np.array([-2.0]), np.array([1e-9]))[0] == pytest.approx(0.0)
    assert normal.expected_excess(np.array([0.0]), np.array([1.0]))[0] == pytest.approx(1 / math.sqrt(2 * math.pi))


def test_half_precisions_start_alike_and_wide_ones_slower():
    arms = [Configuration({PRECISION: name, MICRO_BATCH: 1}) for name in ("bf16", "fp16", "tf32", "fp32")]
    mean = prior.build(arms, (1, 8), None).mean[SLOPE]
    assert mean[0] == mean[1] < mean[2] < mean[3]


def test_many_measured_arms_are_fitted_with_fewer_samples_to_the_same_end():
    arms = [PLAIN] * 40
    posterior = Posterior(prior.build(arms, (1, 64), None), seed=0)
    posterior.update(seen([(i, 16.0, math.log(20 * GIB), math.nan, math.log(3.2)) for i in range(40)]))
    assert posterior.samples.shape[-1] == len(posterior.weights) < 40
    assert expected_gib(posterior, 7, 16.0) == pytest.approx(20, rel=0.02)
    assert expected_step(posterior, 7, 16.0) == pytest.approx(3.2, rel=0.03)
