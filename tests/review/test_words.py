import pytest

from autobatch.review import words
from autobatch.settings import EXPANDABLE, Configuration


def test_clean_leaves_text_and_replaces_what_drives_a_terminal():
    assert words.clean("한글\tok\n") == "한글\tok\n"
    assert words.clean("\x1b[2Jgone\x07") == "\ufffd[2Jgone\ufffd"


@pytest.mark.parametrize(
    ("value", "said"), [(None, "-"), (0, "0"), (11.04, "11.0"), (0.00412, "0.00412"), (12457.3, "12,457")]
)
def test_number_keeps_three_digits(value, said):
    assert words.number(value) == said


def test_a_configuration_is_said_by_what_matters():
    chosen = Configuration(
        per_device_train_batch_size=4, gradient_accumulation_steps=2, precision="bf16", gradient_checkpointing=True
    )
    assert words.configuration(chosen, brief=True) == "micro-batch 4 x 2, bf16, gradient checkpointing, 2 workers"
    full = words.configuration(chosen)
    assert "accumulation 2" in full
    assert "adamw_torch_fused" in full
    assert "eval batch 8" in full


def test_a_configuration_of_defaults_still_says_its_precision():
    assert "fp32" in words.configuration(Configuration(), brief=True)


def test_the_allocator_that_every_card_is_given_is_said_once():
    usual, other = (Configuration(pytorch_alloc_conf=value) for value in (EXPANDABLE, "max_split_size_mb:128"))

    assert EXPANDABLE not in words.configuration(usual, brief=True)
    assert EXPANDABLE in words.configuration(usual)
    assert "max_split_size_mb:128" in words.configuration(other, brief=True)


def test_varying_names_only_the_device_settings_that_differ():
    one, other = Configuration(precision="bf16"), Configuration(precision="fp16", dataloader_num_workers=4)
    assert words.varying([one, other]) == ("precision",)
    assert words.varying([one]) == ()


def test_arm_says_what_is_on_and_never_nothing():
    settings = {"precision": "bf16", "gradient_checkpointing": False}
    assert words.arm(settings) == "bf16"
    assert words.arm(settings, ["gradient_checkpointing"]) == "no gradient checkpointing"
    assert words.arm(settings, []) == "plain"
