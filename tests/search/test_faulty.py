"""Settings under which training fails by an error of its own."""

import pytest

from autobatch.search.facts import Fact
from autobatch.search.faulty import faults, has_faults
from autobatch.settings import Configuration, SearchSpace
from autobatch.verdict import Kind, Verdict

SPACE = SearchSpace({}, {"precision": ("bf16", "fp32"), "gradient_checkpointing": (False, True)}, 8)
CHECKPOINTS = ("gradient_checkpointing", True)


def fact(kind, precision="fp32", *, checkpoints=True):
    configuration = Configuration(precision=precision, gradient_checkpointing=checkpoints)
    return Fact(0, configuration, "search", "probe", Verdict(kind))


TRAINED = fact(Kind.OK, checkpoints=False)
ERROR = fact(Kind.USER_ERROR)


def test_what_all_errors_have_and_nothing_that_trained_is_at_fault():
    found = faults([TRAINED, ERROR, ERROR], SPACE)
    assert found == {CHECKPOINTS}
    assert has_faults(ERROR.configuration.replace(precision="bf16"), found)
    assert not has_faults(TRAINED.configuration, found)


@pytest.mark.parametrize(
    "facts",
    [
        [TRAINED, ERROR],
        [ERROR, ERROR],
        [TRAINED, ERROR, fact(Kind.CUDA_OOM_TRAIN), ERROR],
        [TRAINED, ERROR, fact(Kind.USER_ERROR, checkpoints=False), ERROR],
        [TRAINED, fact(Kind.TIMEOUT), fact(Kind.TIMEOUT)],
    ],
)
def test_else_nothing_is_blamed(facts):
    found = faults(facts, SPACE)
    assert not found
    assert not has_faults(ERROR.configuration, found)


def test_where_it_may_be_one_of_two_only_both_together_are_blamed():
    found = faults([TRAINED, fact(Kind.USER_ERROR, "bf16"), fact(Kind.USER_ERROR, "bf16")], SPACE)
    assert found == {CHECKPOINTS, ("precision", "bf16")}
    assert not has_faults(ERROR.configuration, found)


@pytest.mark.parametrize("sampler", ["structured", "random", "tpe"])
def test_a_setting_at_fault_is_not_tried_again_and_again(search, world, space, sampler):
    usual = world.run

    def run(configuration, plan, journal):
        verdict = usual(configuration, plan, journal)
        return Verdict(Kind.USER_ERROR, duration_s=5.0) if configuration["gradient_checkpointing"] else verdict

    world.run = run
    world.sample_gib = 0.1
    result = search(space=space, sampler_name=sampler, budget_s=200.0).run()
    assert not result.chosen.configuration["gradient_checkpointing"]
    assert sum(configuration["gradient_checkpointing"] for configuration, _ in world.tried) <= 3
    assert result.failure_hints.keys() == result.failures.keys()
    assert all("(trial " in hint for hint in result.failure_hints.values())
