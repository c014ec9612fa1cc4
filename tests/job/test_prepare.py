"""From a job to what a search needs."""

import pytest

from autobatch.job.prepare import own_of
from autobatch.settings import EVAL_BATCH, WORKERS, SearchSpace

SPACE = SearchSpace(
    {"optim": "adamw_torch"}, {"precision": ("bf16", "fp32"), "gradient_checkpointing": (False, True)}, 8
)
OWN = {"per_device_train_batch_size": 4, "precision": "fp32", "gradient_checkpointing": False, "optim": "adamw_torch"}


def test_a_scripts_own_settings_are_one_configuration_of_the_space():
    assert own_of(OWN, SPACE) == SPACE.at(OWN, 4)


def test_they_have_the_scripts_own_loader_and_eval_batch():
    searched = {**SPACE.searched, WORKERS: (0, 2, 4), EVAL_BATCH: (1, 8, 16)}
    space = SearchSpace(SPACE.fixed, searched, 8)
    found = own_of({**OWN, WORKERS: 0, EVAL_BATCH: 16}, space)
    assert (found[WORKERS], found[EVAL_BATCH]) == (0, 16)
    assert own_of({**OWN, WORKERS: 0, EVAL_BATCH: 24}, space)[EVAL_BATCH] == 8
    assert own_of(OWN, space)[WORKERS] == 2
    assert own_of({**OWN, WORKERS: 3}, space) is None
    assert own_of({**OWN, WORKERS: 3}, SearchSpace({**SPACE.fixed, WORKERS: 2}, SPACE.searched, 8)) is None


def test_another_effective_batch_is_not_the_scripts():
    assert own_of({**OWN, "gradient_accumulation_steps": 2}, SPACE) is not None
    assert own_of({**OWN, "gradient_accumulation_steps": 4}, SPACE) is None


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {**OWN, "precision": "tf32"},
        {**OWN, "per_device_train_batch_size": 3},
        {name: value for name, value in OWN.items() if name != "precision"},
        {name: value for name, value in OWN.items() if name != "per_device_train_batch_size"},
    ],
)
def test_where_the_space_has_them_not_or_several_times_there_is_none(settings):
    assert own_of(settings, SPACE) is None
