import json
from dataclasses import replace

import optuna
import pytest
from optuna.storages import InMemoryStorage

from autobatch import attributes
from autobatch.search import earlier
from autobatch.search.earlier import Past

H100 = {"device": "cuda:1", "gpus": [{"index": 0, "name": "T4"}, {"index": 1, "name": "H100"}], "processor": "x"}
A100 = {"device": "cuda:0", "gpus": [{"index": 0, "name": "A100"}], "processor": "x"}


@pytest.fixture
def storage(search):
    storage = InMemoryStorage()
    search(storage=storage, study_name="before", machine=H100).run()
    return storage


def test_a_second_study_of_the_same_model_needs_fewer_probes(search, storage, optimum):
    alone = search(machine=H100).run()
    after = search(storage=storage, machine=H100).run()
    assert after.probes < alone.probes
    assert after.chosen.measurements.samples_per_s >= 0.98 * optimum


def test_what_proves_wrong_does_not_mislead(search, storage, world, space):
    world.fixed_gib, world.sample_gib = 10.0, 1.0
    best = max(world.throughput(configuration) for configuration in space.grid())
    result = search(storage=storage, machine=H100).run()
    assert result.chosen.measurements.samples_per_s >= 0.97 * best


def test_times_of_another_gpu_are_left_out(storage, workload):
    same = earlier.read(Past(storage, "now", workload, H100))
    other = earlier.read(Past(storage, "now", workload, A100))
    assert all(fact.verdict.measurements.micro_step_s for fact in same)
    assert len(other) == len(same) > 0
    assert not any(fact.verdict.measurements.micro_step_s for fact in other)
    assert all(fact.verdict.measurements.device_peak_used_bytes for fact in other)


def test_other_models_and_other_tools_studies_are_left_out(storage, workload):
    optuna.create_study(storage=storage, study_name="another tool's")
    broken = optuna.create_study(storage=storage, study_name="broken")
    broken.set_user_attr(attributes.WORKLOAD, json.dumps({"model": 3}))
    half = optuna.create_study(storage=storage, study_name="half of it")
    half.set_user_attr(attributes.WORKLOAD, json.dumps(workload.to_dict()))
    half.set_user_attr(attributes.SPACE, "{")
    other = replace(workload, model=replace(workload.model, name="other"))
    assert earlier.read(Past(storage, "now", other, H100)) == ()
    assert earlier.read(Past(storage, "before", workload, H100)) == ()
    assert earlier.read(Past(storage, "now", workload, H100))
