"""From a job to what a search needs."""

import pytest

from autobatch.job.prepare import own_of
from autobatch.settings import SearchSpace

SPACE = SearchSpace(
    {"optim": "adamw_torch"}, {"precision": ("bf16", "fp32"), "gradient_checkpointing": (False, True)}, 8
)
OWN = {"per_device_train_batch_size": 4, "precision": "fp32", "gradient_checkpointing": False, "optim": "adamw_torch"}


def test_a_scripts_own_settings_are_one_configuration_of_the_space():
    assert own_of({**OWN, "dataloader_num_workers": 3}, SPACE) == SPACE.at(OWN, 4)


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
