"""The TrainingArguments of a configuration."""

from dataclasses import dataclass

import pytest
import transformers

from autobatch.arguments import renew, training_arguments
from autobatch.settings import Configuration

NOW = transformers.__version__


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("sampling", ["random", "group_by_length"])
def test_the_installed_transformers_accepts_them(workers, precision, checkpointing, sampling, tmp_path):
    configuration = Configuration(
        dataloader_num_workers=workers,
        precision=precision,
        gradient_checkpointing=checkpointing,
        train_sampling_strategy=sampling,
        per_device_train_batch_size=3,
        gradient_accumulation_steps=5,
    )
    keys = training_arguments(configuration, "cpu", NOW)

    arguments = transformers.TrainingArguments(output_dir=str(tmp_path), **keys)

    assert arguments.per_device_train_batch_size == 3
    assert arguments.gradient_accumulation_steps == 5
    assert arguments.bf16 is (precision == "bf16")
    assert arguments.gradient_checkpointing is checkpointing
    assert arguments.train_sampling_strategy == sampling
    assert arguments.dataloader_prefetch_factor == (2 if workers else None)
    assert arguments.dataloader_persistent_workers is bool(workers)


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ("5.17.0", "gradient_checkpointing"),
        ("5.22.3", "gradient_checkpointing"),
        ("5.23.0", "activation_checkpointing"),
        ("5.24.0.dev0", "activation_checkpointing"),
        ("6", "activation_checkpointing"),
    ],
)
def test_checkpointing_goes_by_the_name_of_the_version(version, name):
    keys = training_arguments(Configuration(gradient_checkpointing=True), "cuda", version)

    assert {k: v for k, v in keys.items() if "checkpointing" in k} == {name: True}


def test_grouping_by_length_goes_by_the_name_of_the_version():
    configuration = Configuration(train_sampling_strategy="group_by_length")

    assert training_arguments(configuration, "cuda", "5.2.0")["train_sampling_strategy"] == "group_by_length"
    assert training_arguments(configuration, "cuda", "5.1.0")["group_by_length"] is True


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", False), ("tf32", True), ("bf16", None), ("fp16", None)])
def test_tf32_is_said_where_it_matters(precision, tf32):
    assert training_arguments(Configuration(precision=precision), "cuda", NOW).get("tf32") is tf32
    assert "tf32" not in training_arguments(Configuration(precision=precision), "cpu", NOW)


def test_arguments_that_the_library_does_not_know_are_left_to_themselves():
    @dataclass
    class Own:
        learning_rate: float = 1.0

        def __post_init__(self):
            self.learning_rate *= 2

    own = Own()
    renew(own)
    assert own.learning_rate == 2.0
