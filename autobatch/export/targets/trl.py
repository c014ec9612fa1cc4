"""TRL: `TrlParser((SFTConfig, ModelConfig))`. Its defaults differ from transformers', so nothing is left to them."""

from __future__ import annotations

from typing import Any

from autobatch.export import rivals
from autobatch.export.chosen import Chosen
from autobatch.export.targets import Target
from autobatch.export.targets.hf import ALIASES
from autobatch.settings import ALLOCATOR, ATTENTION, CUDNN_ATTENTION, METHOD, PRECISION, QUANTIZATION


def settings(chosen: Chosen) -> dict[str, Any]:
    """Return the keys of SFTConfig, and those of ModelConfig where no script of a person's makes the model itself."""
    precision = chosen.configuration[PRECISION]
    # SFTConfig turns bf16 on unless it is told not to
    explicit = {"bf16": precision == "bf16", "fp16": precision == "fp16"}
    model = {} if chosen.workload.script else _model(chosen)
    return {**chosen.training_arguments(), **explicit, **model}


def _model(chosen: Chosen) -> dict[str, Any]:
    configuration = chosen.configuration
    model: dict[str, Any] = {"attn_implementation": configuration[ATTENTION]}
    if configuration[METHOD] == "lora":
        lora = chosen.workload.lora
        targets = lora.target_modules
        model |= {"use_peft": True, "lora_r": lora.r, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout}
        model["lora_target_modules"] = [targets] if isinstance(targets, str) else list(targets)
        if lora.modules_to_save:
            model["lora_modules_to_save"] = list(lora.modules_to_save)
    if configuration[QUANTIZATION] == "nf4":
        model |= {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": True}
    if configuration[QUANTIZATION] == "int8":
        model["load_in_8bit"] = True
    return model


def elsewhere(chosen: Chosen) -> dict[str, Any]:
    """Return what CUDA and its libraries read when they start: no key of TRL's."""
    return {k: v for k, v in chosen.model_settings.items() if k in {ALLOCATOR, CUDNN_ATTENTION}}


TARGET = Target("trl", settings, elsewhere=elsewhere, aliases=ALIASES, rivals=rivals.COMMON)
