"""What is known of settings before any probe."""

import pytest

from autobatch.search.effects import effect, properties
from autobatch.settings import Configuration

OPTIMIZER = -1


def expected(optim):
    return sum(effect(one).mean[OPTIMIZER] for one in properties(Configuration({"precision": "bf16", "optim": optim})))


def test_the_plain_arm_has_no_property():
    assert properties(Configuration({"precision": "bf16"})) == ()


@pytest.mark.parametrize("name", ["adamw_8bit", "adamw_bnb_8bit"])
def test_two_names_of_an_optimizer_are_one(name):
    assert properties(Configuration({"precision": "bf16", "optim": name})) == (("optim", "8bit"),)


def test_what_a_paged_optimizer_has_in_common_is_shared():
    paged = properties(Configuration({"precision": "bf16", "optim": "paged_adamw_8bit"}))
    assert paged == (("optim", "8bit"), ("optim", "paged"))


def test_optimizers_that_launch_for_every_tensor_are_expected_to_take_longer():
    assert 0 < expected("adamw_8bit") < expected("paged_adamw_8bit") < expected("adafactor")


def test_an_unknown_optimizer_is_its_own_and_little_is_known_of_it():
    (found,) = properties(Configuration({"precision": "bf16", "optim": "lomo"}))
    assert found == ("optim", "lomo")
    assert effect(found).sd[OPTIMIZER] > effect(("optim", "8bit")).sd[OPTIMIZER]
