"""Quantised linear layers of random weights, made on the device one at a time, so that memory holds one unquantised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from autobatch.probe.skeleton import random_parameter

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig

Quantization = Literal["int8", "nf4"]
OUTLIER_THRESHOLD = 6.0
"""LLM.int8() multiplies columns with larger activations in 16 bits; the library's default."""


def quantize(model: PreTrainedModel, kind: Quantization, compute_dtype: torch.dtype, device: torch.device) -> None:
    """Replace the linear layers of a model on the meta device by quantised ones on a device, in place.

    The output head stays as it is, and so do the layers that the architecture keeps out (T5's `wo`).
    """
    kept = kept_out(model)
    linears = [(name, module) for name, module in model.named_modules() if type(module) is nn.Linear]
    for name, linear in linears:
        if name.rpartition(".")[2] not in kept and linear is not model.get_output_embeddings():
            model.set_submodule(name, quantized(linear, kind, compute_dtype, device))
    # peft chooses its adapter classes by these marks
    model.is_loaded_in_4bit = kind == "nf4"
    model.is_loaded_in_8bit = kind == "int8"


def kept_out(model: PreTrainedModel) -> frozenset[str]:
    """Return the names of modules that must keep their type, by their last part."""
    return frozenset(getattr(model, "_keep_in_fp32_modules", None) or ())


def quantized(linear: nn.Linear, kind: Quantization, compute_dtype: torch.dtype, device: torch.device) -> nn.Module:
    """Return a frozen quantised layer of the same shape with random weights."""
    import bitsandbytes as bnb  # only a quantised probe pays for it

    layer: Any
    options = {"bias": linear.bias is not None, "device": "meta"}
    weight = random_parameter("weight", linear.weight, device).data
    if kind == "nf4":
        layer = bnb.nn.Linear4bit(
            linear.in_features,
            linear.out_features,
            compute_dtype=compute_dtype,
            compress_statistics=False,
            quant_type="nf4",
            **options,
        )
        layer.weight = bnb.nn.Params4bit(
            weight,
            requires_grad=False,
            compress_statistics=False,
            quant_type="nf4",
            module=layer,
        ).to(device)
    else:
        layer = bnb.nn.Linear8bitLt(
            linear.in_features,
            linear.out_features,
            has_fp16_weights=False,
            threshold=OUTLIER_THRESHOLD,
            **options,
        )
        # Int8Params quantises by itself only what comes from host memory
        packed, scales, _ = bnb.functional.int8_vectorwise_quant(weight.half())
        layer.weight = bnb.nn.Int8Params(packed, requires_grad=False, has_fp16_weights=False, CB=packed, SCB=scales)
    if linear.bias is not None:
        layer.bias = random_parameter("bias", linear.bias, device)
    layer.requires_grad_(requires_grad=False)
    return cast("nn.Module", layer)


def quantization_config(kind: Quantization, compute_dtype: torch.dtype) -> BitsAndBytesConfig:
    """Return the same for `from_pretrained`, where real weights are read."""
    from transformers import BitsAndBytesConfig

    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=OUTLIER_THRESHOLD)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=False,
        bnb_4bit_compute_dtype=compute_dtype,
    )
