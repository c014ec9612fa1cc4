"""transformers: `HfArgumentParser((TrainingArguments,)).parse_yaml_file`, which rejects unknown keys."""

from __future__ import annotations

from typing import Any

from autobatch.export import rivals
from autobatch.export.chosen import Chosen
from autobatch.export.targets import Target

ALIASES = {
    "gradient_checkpointing": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
    "activation_checkpointing": "gradient_checkpointing",
    "activation_checkpointing_kwargs": "gradient_checkpointing_kwargs",
    "group_by_length": "train_sampling_strategy",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "no_cuda": "use_cpu",
}


def settings(chosen: Chosen) -> dict[str, Any]:
    """Return the training arguments of the chosen configuration."""
    return chosen.training_arguments()


TARGET = Target("hf", settings, aliases=ALIASES, rivals=rivals.COMMON)
