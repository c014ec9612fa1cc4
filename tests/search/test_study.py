from __future__ import annotations

import optuna
import pytest
from optuna.storages import InMemoryStorage

from autobatch.errors import UsageError


def somebodys(direction, *, trials=0, **attributes):
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="autobatch", direction=direction)
    for _ in range(trials):
        study.ask()
    for name, value in attributes.items():
        study.set_user_attr(name, value)
    return study


@pytest.mark.parametrize(
    "study",
    [
        somebodys("minimize"),
        somebodys("maximize", trials=1),
        somebodys("maximize", owner="somebody"),
    ],
    ids=["minimises", "has a trial", "has an attribute"],
)
def test_a_study_that_another_program_made_is_left_alone(search, world, study):
    before = study.trials, study.user_attrs

    with pytest.raises(UsageError, match="another program") as caught:
        search(storage=study._storage).run()

    assert "--study" in caught.value.do
    assert (study.trials, study.user_attrs) == before
    assert not world.tried


def test_a_search_that_died_while_it_made_its_study_can_go_on(search):
    assert search(storage=somebodys("maximize")._storage).run().chosen is not None
