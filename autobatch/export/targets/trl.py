"""TRL: `TrlParser((SFTConfig, ModelConfig))`. Its defaults differ from transformers', so nothing is left to them."""

from __future__ import annotations

from typing import Any

from autobatch.export import rivals
from autobatch.export.chosen import Chosen
from autobatch.export.targets import Target
from autobatch.export.targets.hf import ALIASES
from autobatch.settings import ALLOCATOR, ATTENTION, CUDNN_ATTENTION, METHOD, PRECISION, QUANTIZATION, Configuration
from autobatch.workload.spec import Lora

_HALF = {"bf16": "bfloat16", "fp16": "float16"}


def settings(chosen: Chosen) -> dict[str, Any]:
    """Return the keys of SFTConfig, and those of ModelConfig where no script of a person's makes the model itself."""
    precision = chosen.configuration[PRECISION]
    # SFTConfig turns bf16 on unless it is told not to
    explicit = chosen.of_taken({PRECISION: {"bf16": precision == "bf16", "fp16": precision == "fp16"}})
    model = {} if chosen.workload.script else _model(chosen)
    return {**chosen.training_arguments(), **explicit, **model}


def _model(chosen: Chosen) -> dict[str, Any]:
    configuration = chosen.configuration
    model = {
        "attn_implementation": configuration[ATTENTION],
        "dtype": base_dtype(configuration),
        "use_peft": configuration[METHOD] == "lora",
        "load_in_4bit": configuration[QUANTIZATION] == "nf4",
        "load_in_8bit": configuration[QUANTIZATION] == "int8",
    }
    if configuration[QUANTIZATION] == "nf4":
        model |= {"bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": False}
    return model | (_adapter(chosen.workload.lora) if configuration[METHOD] == "lora" else {})


def base_dtype(configuration: Configuration) -> str:
    """Return the type that the probe loads the base in, and computes in where it is quantised; TRL's own is float32."""
    half = _HALF if configuration[METHOD] == "lora" else {}
    return half.get(str(configuration[PRECISION]), "float32")


def _adapter(lora: Lora) -> dict[str, Any]:
    targets = lora.target_modules
    adapter: dict[str, Any] = {"lora_r": lora.r, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout}
    adapter["lora_target_modules"] = [targets] if isinstance(targets, str) else list(targets)
    if lora.modules_to_save:
        adapter["lora_modules_to_save"] = list(lora.modules_to_save)
    return adapter


def elsewhere(chosen: Chosen) -> dict[str, Any]:
    """Return what CUDA and its libraries read when they start: no key of TRL's."""
    return {k: v for k, v in chosen.model_settings.items() if k in {ALLOCATOR, CUDNN_ATTENTION}}


TARGET = Target(
    "trl",
    settings,
    elsewhere=elsewhere,
    aliases={**ALIASES, "torch_dtype": "dtype"},
    rivals={
        **rivals.COMMON,
        **dict.fromkeys(("packing", "eval_packing"), rivals.PACKED),
        "padding_free": "padding was there when this was measured: time and memory are others without it",
    },
)
