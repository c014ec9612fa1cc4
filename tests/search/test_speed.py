import json
import math
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from optuna.storages import InMemoryStorage

from autobatch import attributes
from autobatch.errors import UsageError
from autobatch.search import speed
from autobatch.search.earlier import Past
from autobatch.search.facts import Fact
from autobatch.search.prior import HOST_SD, Pace
from autobatch.search.speed import LARGEST_SHIFT, UNKNOWN
from autobatch.settings import Configuration
from autobatch.verdict import Kind, Measurements, Verdict
from autobatch.workload.spec import Model, Workload

H100 = {"device": "cuda:0", "gpus": [{"index": 0, "name": "H100"}]}
A100 = {"device": "cuda:0", "gpus": [{"index": 0, "name": "A100"}]}
OTHER = Workload(Model("other", "other", "causal"), effective_batch=48)


def pace(arm):
    again = 1.35 if arm["gradient_checkpointing"] else 1.0
    slower = {"bf16": 1.0, "fp32": 4.0}[arm["precision"]]
    return Pace(0.2 * again, 0.06 * slower * again, 0.25)


def facts(factor, count=4):
    """A model's measurements, flat up to 2 samples and then affine, all of them longer by a factor."""
    for number in range(count):
        arm = Configuration({"precision": "bf16", "gradient_checkpointing": bool(number % 2)})
        for batch in (1, 16):
            configuration = arm.replace({"per_device_train_batch_size": batch})
            step_s = factor * max(pace(arm).floor_s, pace(arm).sample_s * batch)
            verdict = Verdict(Kind.OK, Measurements(micro_step_s=step_s, device_peak_used_bytes=2**33))
            yield Fact(number, configuration, "search", "probe", verdict)


@pytest.fixture
def storage(search):
    """A database in which a search over another model has ended on the same device, whose times the prior tells."""
    storage = InMemoryStorage()
    search(storage=storage, study_name="before", workload=OTHER, machine=H100, pace=pace).run()
    return storage


def told(past, pace_for=lambda _: pace):
    found = speed.corrected(pace, pace_for, past)(Configuration({"precision": "bf16"}))
    return found.floor_s / 0.2, found.sample_s / 0.06, found.host_sd, found.device_sd


def test_a_slower_machine_is_recognised_and_the_model_s_own_share_is_left_open():
    found = speed.after(UNKNOWN, pace, list(facts(1.5)))
    assert (found.mean > 0.5 * math.log(1.5)).all()
    assert (found.mean < math.log(1.5)).all()
    assert (np.sqrt(found.variance) > 0.5 * 0.25).all()
    assert (found.variance < 0.6 * UNKNOWN.variance).all()


def test_a_second_model_that_agrees_makes_it_surer():
    once = speed.after(UNKNOWN, pace, list(facts(1.3)))
    twice = speed.after(once, pace, list(facts(1.3)))
    assert (twice.variance < once.variance).all()
    assert (np.abs(twice.mean - math.log(1.3)) < np.abs(once.mean - math.log(1.3))).all()


@pytest.mark.parametrize("factor", [5.0, 0.2, 1e9])
def test_what_is_far_off_moves_it_by_so_much_at_most_and_makes_nothing_surer(factor):
    found = UNKNOWN
    for _ in range(3):
        found = speed.after(found, pace, list(facts(factor)))
    assert (np.abs(found.mean) <= LARGEST_SHIFT).all()
    assert (found.variance > 0.5 * UNKNOWN.variance).all()
    assert (found.variance <= UNKNOWN.variance).all()


@pytest.mark.parametrize("factor", [math.inf, math.nan, -1.0])
def test_figures_that_are_no_times_teach_nothing(factor):
    study = SimpleNamespace(workload=OTHER, facts=lambda: list(facts(factor)))
    assert speed.learned([study], lambda _: pace) is UNKNOWN


def test_only_other_models_on_the_same_device_are_learned_from(storage, workload):
    nothing = (1.0, 1.0, HOST_SD, HOST_SD)
    assert min(told(Past(storage, "now", workload, H100))[2:]) < HOST_SD
    assert told(Past(storage, "now", OTHER, H100)) == pytest.approx(nothing)
    assert told(Past(storage, "now", workload, A100)) == pytest.approx(nothing)
    assert told(Past(storage, "now", workload, None)) == pytest.approx(nothing)
    assert speed.corrected(pace, None, Past(storage, "now", workload, H100)) is pace
    assert speed.corrected(None, lambda _: pace, Past(storage, "now", workload, H100)) is None


def test_a_study_that_cannot_be_understood_is_left_out(storage, workload):
    broken = optuna.create_study(storage=storage, study_name="broken")
    broken.set_user_attr(attributes.WORKLOAD, json.dumps(Workload(Model("third", "third", "causal")).to_dict()))
    broken.set_user_attr(attributes.MACHINE, json.dumps(H100))
    broken.set_user_attr(attributes.SPACE, "[]")

    def fails(_):
        raise UsageError("The architecture is not known.", "Name another.")

    assert told(Past(storage, "now", workload, H100))[2] < HOST_SD
    assert told(Past(storage, "now", workload, H100), fails)[2] == pytest.approx(HOST_SD)


@pytest.mark.parametrize("factor", [1.0, 5.0, 0.2])
def test_a_misleading_study_is_survived(search, storage, optimum, factor):
    """The earlier study's times are all that factor longer than its prior told; this model's are as told."""

    def misled(arm):
        told = pace(arm)
        return Pace(told.floor_s / factor, told.sample_s / factor, told.rel_sigma)

    result = search(storage=storage, machine=H100, pace=pace, pace_for=lambda _: misled).run()
    assert result.chosen.measurements.samples_per_s >= 0.97 * optimum


def test_an_earlier_model_saves_probes_on_a_slow_machine(search):
    def slow(arm):
        told = pace(arm)
        return Pace(told.floor_s / 2, told.sample_s / 2, told.rel_sigma)

    def probes(seed, storage):
        return search(storage=storage, machine=H100, pace=slow, pace_for=lambda _: slow, seed=seed).run().probes

    def after(seed):
        storage = InMemoryStorage()
        search(storage=storage, study_name="before", workload=OTHER, machine=H100, pace=slow, seed=seed).run()
        return probes(seed, storage)

    seeds = range(5)
    assert sum(map(after, seeds)) < sum(probes(seed, InMemoryStorage()) for seed in seeds)
