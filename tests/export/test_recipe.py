from dataclasses import replace

import pytest

from autobatch.export.recipe import remarks, steps_per_epoch


@pytest.fixture
def recipe(workload):
    def recipe(**values):
        return replace(workload, train_samples=12_457, recipe=values)

    return recipe


def test_nothing_is_said_where_nothing_changes(recipe):
    assert remarks(recipe(learning_rate=1e-4), 16, 16, "adamw_torch_fused") == ()


def test_steps_warm_up_and_learning_rate_are_said(recipe):
    said = remarks(recipe(learning_rate=1e-4, warmup_steps=100), 8, 32, "adamw_torch_fused")

    assert "390 steps an epoch in place of 1,558" in said[0]
    assert "25 would cover the same" in said[1]
    assert "square-root rule for adamw_torch_fused gives 0.0002" in said[2]
    assert said[-1] == "None of this was changed for you."


@pytest.mark.parametrize(
    ("optimizer", "text"),
    [("sgd", "linear rule for sgd gives 0.0004"), ("adafactor", "scales its steps by itself")],
)
def test_each_optimizer_has_its_rule(recipe, optimizer, text):
    assert text in remarks(recipe(learning_rate=1e-4), 8, 32, optimizer)[1]


def test_a_warm_up_by_share_stays(recipe):
    assert "stays as it is" in remarks(recipe(warmup_steps=0.03), 8, 32, "sgd")[1]


def test_a_batch_that_was_free_is_said(recipe):
    assert "free to choose" in remarks(recipe(), None, 32, "sgd")[0]


def test_the_last_step_of_an_epoch_may_be_short():
    assert (steps_per_epoch(16, 8), steps_per_epoch(17, 8)) == (2, 3)
