"""The model of a probe: built from its architecture, or read from disk, with quantisation and adapter as configured."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from autobatch import settings as s
from autobatch.probe.quantize import Quantization, quantization_config, quantize
from autobatch.probe.skeleton import AUTO_CLASSES, materialize, skeleton
from autobatch.settings import Configuration
from autobatch.workload.spec import Lora, Workload

WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")


def build_model(workload: Workload, configuration: Configuration, device: torch.device) -> nn.Module:
    """Return the model on the device, ready for the Trainer.

    Real weights are read from `workload.model.path` where that holds them, or by its hub id where no architecture is
    given; else weights are random. `full` training keeps fp32 master weights under autocast. `lora` freezes the base in
    the precision computed in, and trains an fp32 adapter.
    """
    if has_weights(workload):
        model = pretrained(workload, configuration, device)
    else:
        model = random_model(workload, configuration, device)
    if configuration[s.METHOD] == "full":
        return cast("nn.Module", model)
    return with_adapter(model, workload.lora, device)


def base_of(model: nn.Module) -> Any:  # noqa: ANN401 - a transformers model, which is not typed
    """Return the transformers model, without its adapter if it has one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator] # peft's


def base_dtype(configuration: Configuration) -> torch.dtype:
    """Return the type of the base's parameters."""
    if configuration[s.METHOD] == "full":
        return torch.float32
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(str(configuration[s.PRECISION]), torch.float32)


def has_weights(workload: Workload) -> bool:
    """Tell whether real weights are to be read: a folder that holds some, or a hub id without an architecture."""
    path = workload.model.path
    if path is None:
        return not workload.model.config
    return any(file for pattern in WEIGHT_FILES for file in Path(path).glob(pattern))


def random_model(workload: Workload, configuration: Configuration, device: torch.device) -> PreTrainedModel:
    """Return the model with random weights made on the device."""
    dtype = base_dtype(configuration)
    model = skeleton(workload.model, dtype, configuration[s.ATTENTION])
    if configuration[s.QUANTIZATION] != "none":
        quantize(model, cast("Quantization", configuration[s.QUANTIZATION]), dtype, device)
    materialize(model, device)
    return model


def pretrained(workload: Workload, configuration: Configuration, device: torch.device) -> PreTrainedModel:
    """Return the model with the weights of its folder or hub id."""
    dtype = base_dtype(configuration)
    options: dict[str, Any] = {"dtype": dtype, "device_map": {"": device}}
    if configuration[s.ATTENTION] != "sdpa":
        options["attn_implementation"] = configuration[s.ATTENTION]
    if configuration[s.QUANTIZATION] != "none":
        kind = cast("Quantization", configuration[s.QUANTIZATION])
        options["quantization_config"] = quantization_config(kind, dtype)
    source = workload.model.path or workload.model.hub_id
    trust = workload.model.trust_remote_code
    model = AUTO_CLASSES[workload.model.family].from_pretrained(source, trust_remote_code=trust, **options)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = model.config.eos_token_id or 0
    return cast("PreTrainedModel", model)


def with_adapter(model: PreTrainedModel, lora: Lora, device: torch.device) -> nn.Module:
    """Return the model under a LoRA adapter in fp32; the base is frozen and keeps its type, embeddings and norms too.

    The adapter is made on the device: drawn on the host it takes longer than all else of the model. Checkpointing is
    non-reentrant, so inputs need no gradient of their own.
    """
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora import LoraLayer

    names = lora.target_modules
    adapter = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=names if isinstance(names, str) else list(names),
        modules_to_save=list(lora.modules_to_save) or None,
        task_type="SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
    )
    wrapped = get_peft_model(model, adapter, low_cpu_mem_usage=True)
    materialize(wrapped, device)
    for layer in wrapped.modules():
        if isinstance(layer, LoraLayer):
            layer.reset_lora_parameters(wrapped.active_adapter, init_lora_weights=True)
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # a GradScaler refuses fp16 gradients
    return cast("nn.Module", wrapped)
