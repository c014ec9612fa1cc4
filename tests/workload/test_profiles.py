import pytest

from autobatch.errors import UsageError
from autobatch.workload.profiles import PROFILES, apply
from autobatch.workload.spec import Model, Workload


@pytest.fixture
def workload():
    return Workload(Model("toy", "toy/toy", "causal"), train_samples=12_457, effective_batch=16, notes=("first",))


@pytest.mark.parametrize(
    ("name", "samples", "batch"), [("quick", 6000, 8), ("medium", 12_457, 8), ("final", 12_457, 16)]
)
def test_a_profile_sets_data_and_effective_batch(workload, name, samples, batch):
    changed = apply(name, workload)

    assert (changed.train_samples, changed.effective_batch) == (samples, batch)
    assert changed.notes[0] == "first"


def test_what_a_profile_changes_is_said(workload):
    assert "6,000 of 12,457 samples, effective batch 8 in place of 16" in apply("quick", workload).notes[1]
    assert apply("final", workload) == workload


def test_a_small_data_set_is_not_grown(workload):
    assert PROFILES["quick"].applied(apply("quick", workload)).train_samples == 6000


def test_an_unknown_profile_is_said(workload):
    with pytest.raises(UsageError, match="no profile 'fast'"):
        apply("fast", workload)


def test_a_profile_leaves_the_data_of_a_script_alone(workload):
    changed = apply("quick", workload, keep_samples=True)
    assert (changed.train_samples, changed.effective_batch) == (12_457, 8)
    assert "samples" not in changed.notes[1]
