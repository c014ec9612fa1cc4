"""axolotl: its own YAML keys. It lets a misspelt key vanish, so a test reads them against its schema."""

from __future__ import annotations

from typing import Any

from autobatch.export import rivals
from autobatch.export.chosen import Chosen
from autobatch.export.targets import MIXED, Target
from autobatch.settings import (
    ACCUMULATION,
    ALLOCATOR,
    ATTENTION,
    CHECKPOINTING,
    COMPILE,
    CUDNN_ATTENTION,
    EVAL_BATCH,
    LIGER,
    METHOD,
    MICRO_BATCH,
    OPTIM,
    PIN_MEMORY,
    PRECISION,
    PREFETCH,
    QUANTIZATION,
    SAMPLING,
    WORKERS,
)
from autobatch.workload.spec import Lora

_LIGER = {
    "plugins": ["axolotl.integrations.liger.LigerPlugin"],
    "liger_rope": True,
    "liger_rms_norm": True,
    "liger_glu_activation": True,
    "liger_fused_linear_cross_entropy": True,
}
_PLAIN_LORA = dict.fromkeys(("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel", "lora_embedding_kernel"), False)
"""axolotl's own LoRA kernels, which it turns on where they are not named: the measured training had none."""


def settings(chosen: Chosen) -> dict[str, Any]:
    """Return axolotl's keys."""
    values = chosen.configuration
    keys: dict[str, dict[str, Any]] = {
        MICRO_BATCH: {"micro_batch_size": values[MICRO_BATCH]},
        EVAL_BATCH: {"eval_batch_size": values[EVAL_BATCH]},
        ACCUMULATION: {"gradient_accumulation_steps": values[ACCUMULATION]},
        PRECISION: {kind: values[PRECISION] == kind for kind in ("bf16", "fp16", "tf32")},
        CHECKPOINTING: {"gradient_checkpointing": values[CHECKPOINTING]},
        OPTIM: {"optimizer": values[OPTIM]},
        SAMPLING: {"group_by_length": values[SAMPLING] == "group_by_length"},
        ATTENTION: {"attn_implementation": values[ATTENTION]},
        COMPILE: {"torch_compile": values[COMPILE]},
        WORKERS: {"dataloader_num_workers": values[WORKERS]},
        PIN_MEMORY: {"dataloader_pin_memory": values[PIN_MEMORY]},
        PREFETCH: {"dataloader_prefetch_factor": values[PREFETCH]} if values[WORKERS] else {},
        METHOD: _adapter(chosen),
        LIGER: _LIGER if values[LIGER] else {},
    }
    if values[CHECKPOINTING]:
        # axolotl's default is the other kind, which was not measured
        keys[CHECKPOINTING]["gradient_checkpointing_kwargs"] = {"use_reentrant": False}
    return chosen.of_taken(keys)


def _adapter(chosen: Chosen) -> dict[str, Any]:
    values = chosen.configuration
    if values[METHOD] == "full":
        return {}
    lora = chosen.workload.lora
    adapter: dict[str, Any] = {
        "adapter": "qlora" if values[QUANTIZATION] == "nf4" else "lora",
        "load_in_4bit": values[QUANTIZATION] == "nf4",
        "load_in_8bit": values[QUANTIZATION] == "int8",
        "lora_r": lora.r,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        **_PLAIN_LORA,
    }
    if values[QUANTIZATION] == "nf4":
        # axolotl quantises the scales too unless it is told not to, which was not measured
        adapter["bnb_config_kwargs"] = {"bnb_4bit_use_double_quant": False}
    return adapter | _lora_modules(lora)


def _lora_modules(lora: Lora) -> dict[str, Any]:
    targets = lora.target_modules
    # axolotl adds the linear layers to those that are listed
    modules: dict[str, Any] = {"lora_target_linear": targets == "all-linear"}
    if targets != "all-linear":
        modules["lora_target_modules"] = targets if isinstance(targets, str) else list(targets)
    if lora.modules_to_save:
        modules["lora_modules_to_save"] = list(lora.modules_to_save)
    return modules


def elsewhere(chosen: Chosen) -> dict[str, Any]:
    """Return what CUDA and its libraries read when they start, and the type of weights that axolotl would halve."""
    of_the_process = {k: v for k, v in chosen.model_settings.items() if k in {ALLOCATOR, CUDNN_ATTENTION}}
    halved = not chosen.unasked and chosen.configuration[METHOD] == "full" and chosen.configuration[PRECISION] in MIXED
    return of_the_process | ({"dtype": "float32"} if halved else {})


_FLAGS = tuple(f"{name}_attention" for name in ("flash", "sdp", "eager", "flex", "xformers", "sage"))
"""axolotl's former switches: it refuses one that is on beside `attn_implementation`, and reads any value as on."""

TARGET = Target(
    "axolotl",
    settings,
    elsewhere=elsewhere,
    aliases={
        **dict.fromkeys(_FLAGS, "attn_implementation"),
        "batch_size": "gradient_accumulation_steps",  # it refuses the two together
        "liger_swiglu": "liger_glu_activation",
    },
    rivals={
        **{name: rivals.COMMON[name] for name in ("auto_find_batch_size", "bfloat16", "float16")},
        **dict.fromkeys(("load_in_4bit", "load_in_8bit"), rivals.QUANTIZED),
        **dict.fromkeys(("sample_packing", "eval_sample_packing"), rivals.PACKED),
        **dict.fromkeys((*_LIGER, "liger_swiglu"), "Liger's kernels were off when this was measured"),
        "adapter": "the whole model was trained when this was measured",
    },
)
