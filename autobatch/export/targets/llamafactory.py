"""LLaMA-Factory: its arguments and transformers' in one YAML file; it rejects unknown keys."""

from __future__ import annotations

from typing import Any

from autobatch.export import rivals
from autobatch.export.chosen import Chosen
from autobatch.export.targets import Target
from autobatch.export.targets.hf import ALIASES
from autobatch.settings import ALLOCATOR, ATTENTION, CHECKPOINTING, CUDNN_ATTENTION, LIGER, METHOD, QUANTIZATION

_ATTENTION = {"eager": "disabled", "sdpa": "sdpa", "flash_attention_2": "fa2"}
_REPLACED = frozenset({"gradient_checkpointing", "activation_checkpointing", "use_liger_kernel"})
"""Arguments of transformers' for which LLaMA-Factory has its own."""
_ALIASES = {
    **ALIASES,
    # it turns on what either of the two asks for
    "gradient_checkpointing": "disable_gradient_checkpointing",
    "activation_checkpointing": "disable_gradient_checkpointing",
    "use_liger_kernel": "enable_liger_kernel",
}


def settings(chosen: Chosen) -> dict[str, Any]:
    """Return transformers' arguments, with those that LLaMA-Factory names its own way replaced."""
    configuration = chosen.configuration
    common = {k: v for k, v in chosen.training_arguments().items() if not k.startswith(tuple(_REPLACED))}
    own: dict[str, dict[str, Any]] = {
        CHECKPOINTING: {"disable_gradient_checkpointing": not configuration[CHECKPOINTING]},
        LIGER: {"enable_liger_kernel": configuration[LIGER]},
        ATTENTION: {"flash_attn": _ATTENTION.get(str(configuration[ATTENTION]), "auto")},
        METHOD: _adapter(chosen),
    }
    if configuration[CHECKPOINTING]:
        # LLaMA-Factory's default is the other kind, which was not measured
        own[CHECKPOINTING]["use_reentrant_gc"] = False
    return {**common, **chosen.of_taken(own)}


def _adapter(chosen: Chosen) -> dict[str, Any]:
    if chosen.configuration[METHOD] == "full":
        return {"finetuning_type": "full"}
    lora = chosen.workload.lora
    targets = lora.target_modules
    linear = targets == "all-linear"
    adapter: dict[str, Any] = {
        "finetuning_type": "lora",
        "lora_rank": lora.r,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "lora_target": "all" if linear else targets if isinstance(targets, str) else ",".join(targets),
    }
    if lora.modules_to_save:
        adapter["additional_target"] = ",".join(lora.modules_to_save)
    return adapter | _quantization(str(chosen.configuration[QUANTIZATION]))


def _quantization(name: str) -> dict[str, Any]:
    if name == "nf4":
        return {"quantization_bit": 4, "quantization_type": "nf4", "double_quantization": False}
    return {"quantization_bit": 8} if name == "int8" else {}


def elsewhere(chosen: Chosen) -> dict[str, Any]:
    """Return what CUDA and its libraries read when they start, and an attention that LLaMA-Factory cannot name."""
    unnamed = set() if chosen.configuration[ATTENTION] in _ATTENTION else {ATTENTION}
    return {k: v for k, v in chosen.model_settings.items() if k in {ALLOCATOR, CUDNN_ATTENTION, *unnamed}}


TARGET = Target(
    "llamafactory",
    settings,
    elsewhere=elsewhere,
    aliases=_ALIASES,
    rivals={
        **rivals.COMMON,
        **dict.fromkeys(("packing", "neat_packing"), rivals.PACKED),
        "quantization_bit": rivals.QUANTIZED,
    },
)
