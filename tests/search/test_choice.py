"""What is chosen is a configuration with its own figures."""

import pytest

from autobatch.search.choice import choose
from autobatch.search.facts import Fact
from autobatch.search.samplers import core
from autobatch.settings import EVAL_BATCH, WORKERS, Configuration
from autobatch.verdict import Kind, Measurements, Verdict

GIB = 2**30
ONE = Configuration({WORKERS: 1, EVAL_BATCH: 8, "per_device_train_batch_size": 4, "precision": "bf16"})
TWO = ONE.replace({WORKERS: 2})


def fact(number, configuration, rate, stage="search", kind=Kind.OK, **figures):
    purpose = stage if stage in {"eval", "confirm"} else "probe"
    measured = Measurements(samples_per_s=rate or None, device_peak_used_bytes=10 * GIB, **figures)
    return Fact(number, configuration, stage, purpose, Verdict(kind, measured))


def test_without_a_confirmation_the_figures_are_those_of_the_tuned_workers():
    facts = [fact(0, ONE, 45.0), fact(1, TWO, 78.0, "loader"), fact(2, TWO, 0, "confirm", Kind.TIMEOUT)]

    chosen = choose(facts, core(ONE), {WORKERS: 2})

    assert (chosen.configuration[WORKERS], chosen.trial, chosen.measurements.samples_per_s) == (2, 1, 78.0)
    assert not chosen.confirmed


def test_without_a_confirmation_the_time_is_the_mean_of_all_probes_with_these_settings():
    facts = [fact(0, ONE, 20.0, step_s=1.0), fact(1, ONE, 10.0, "compare", step_s=2.0), fact(2, TWO, 90.0, "loader")]

    chosen = choose(facts, core(ONE), {WORKERS: 1})

    assert chosen.measurements.samples_per_s == pytest.approx(2 / (1 / 20.0 + 1 / 10.0))
    assert chosen.measurements.step_s == pytest.approx(1.5)
    assert chosen.rates == (20.0, 10.0)


def test_workers_that_were_not_measured_are_not_claimed():
    chosen = choose([fact(0, ONE, 45.0)], core(ONE), {WORKERS: 2})

    assert (chosen.configuration[WORKERS], chosen.trial) == (1, 0)


def test_the_eval_batch_comes_with_its_own_measurement():
    large = TWO.replace({EVAL_BATCH: 32})
    evaluated = fact(2, large, 0, "eval", eval_samples_per_s=7.0, eval_device_peak_used_bytes=12 * GIB)
    facts = [fact(0, ONE, 45.0), fact(1, TWO, 78.0, "loader"), evaluated]

    chosen = choose(facts, core(ONE), {WORKERS: 2, EVAL_BATCH: 32})

    assert chosen.configuration[EVAL_BATCH] == 32
    assert (chosen.trial, chosen.measurements.eval_samples_per_s) == (1, 7.0)
    assert chosen.measurements.eval_device_peak_used_bytes == 12 * GIB


def test_a_confirmation_stands_before_faster_probes():
    facts = [fact(0, ONE, 90.0), fact(1, TWO, 70.0, "confirm")]

    chosen = choose(facts, core(ONE), {WORKERS: 2})

    assert (chosen.trial, chosen.confirmed) == (1, True)


def test_several_confirmations_count_alike():
    facts = [
        fact(0, ONE, 90.0),
        fact(1, TWO, 80.0, "confirm", step_s=2.0, mfu=0.4),
        fact(2, TWO, 50.0, "confirm", step_s=3.2, mfu=0.25),
        fact(3, TWO.replace({EVAL_BATCH: 1}), 100.0, "loader"),
    ]

    chosen = choose(facts, core(ONE), {WORKERS: 2})

    assert (chosen.trial, chosen.measurements.step_s) == (2, pytest.approx(2.6))
    assert chosen.measurements.samples_per_s * chosen.measurements.step_s == pytest.approx(160.0)
    assert chosen.measurements.mfu == pytest.approx(0.25 * 3.2 / 2.6)
    assert chosen.rates == (80.0, 50.0, 100.0)
    assert chosen.to_dict()["measured_samples_per_s"] == [80.0, 50.0, 100.0]
