"""Which configurations evaluate alike."""

import pytest

from autobatch.search.eval_memory import likeness, too_large_alike
from autobatch.search.facts import Fact
from autobatch.settings import EVAL_BATCH, Configuration, SearchSpace
from autobatch.verdict import Kind, Verdict

TUNED = Configuration(method="lora", precision="bf16", per_device_train_batch_size=4, per_device_eval_batch_size=8)
HELD = SearchSpace({EVAL_BATCH: 8}, {}, 4)
SEARCHED = SearchSpace({}, {EVAL_BATCH: (4, 8)}, 4)


@pytest.mark.parametrize(
    "other",
    [
        {"per_device_train_batch_size": 1},
        {"gradient_checkpointing": True},
        {"train_sampling_strategy": "group_by_length"},
        {"precision": "fp16"},
        {"optim": "adafactor"},
    ],
)
def test_what_has_no_part_in_evaluation_makes_no_difference(other):
    assert likeness(TUNED.replace(other)) == likeness(TUNED)


@pytest.mark.parametrize("other", [{"quantization": "nf4"}, {"precision": "tf32"}, {"use_liger_kernel": True}])
def test_what_has_a_part_in_it_does(other):
    assert likeness(TUNED.replace(other)) != likeness(TUNED)


def test_the_state_of_a_whole_models_optimizer_is_no_small_part():
    full = TUNED.replace(method="full")
    assert likeness(full) != likeness(full.replace(optim="adafactor"))


def confirmed(kind, **settings):
    return Fact(0, TUNED.replace(settings), "confirm", "confirm", Verdict(kind))


def test_one_that_was_too_large_rules_out_all_that_are_alike():
    facts = [confirmed(Kind.CUDA_OOM_EVAL, optim="adafactor")]
    assert too_large_alike(facts, HELD) == {likeness(TUNED)}


def test_where_a_smaller_eval_batch_may_do_nothing_is_ruled_out():
    assert not too_large_alike([confirmed(Kind.CUDA_OOM_EVAL)], SEARCHED)
    assert too_large_alike([confirmed(Kind.CUDA_OOM_EVAL, per_device_eval_batch_size=4)], SEARCHED)


def test_one_that_was_confirmed_speaks_for_the_others():
    facts = [confirmed(Kind.CUDA_OOM_EVAL), confirmed(Kind.OK, optim="adafactor")]
    assert not too_large_alike(facts, HELD)


def test_training_that_was_too_large_says_nothing_of_evaluation():
    assert not too_large_alike([confirmed(Kind.CUDA_OOM_TRAIN), confirmed(Kind.TIMEOUT)], HELD)
