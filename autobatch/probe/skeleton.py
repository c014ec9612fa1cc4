"""A model by its architecture alone: its shape without memory, then random weights made where they will be used."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PretrainedConfig, PreTrainedModel

from autobatch.settings import Scalar
from autobatch.workload.spec import Model

STD = 0.02
"""Standard deviation of random weights: small enough that activations and loss stay finite in half precision."""
AUTO_CLASSES = {"causal": AutoModelForCausalLM, "seq2seq": AutoModelForSeq2SeqLM}


def configuration(model: Model) -> PretrainedConfig:
    """Return the transformers configuration: the preset's, else the folder's or the hub's (its cache when offline)."""
    if not model.config:
        return AutoConfig.from_pretrained(model.path or model.hub_id, trust_remote_code=model.trust_remote_code)
    values = dict(model.config)
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    if config.pad_token_id is None:
        config.pad_token_id = 0
    return config


def skeleton(model: Model, dtype: torch.dtype, attention: Scalar = "sdpa") -> PreTrainedModel:
    """Return the model with its parameters on the meta device and its buffers in host memory.

    Args:
        model: the architecture.
        dtype: of the parameters.
        attention: as `attn_implementation`; `sdpa` takes the library's own choice, eager where SDPA is missing.

    """
    options: dict[str, Any] = {} if attention == "sdpa" else {"attn_implementation": attention}
    with init_empty_weights(include_buffers=False):
        built = AUTO_CLASSES[model.family].from_config(configuration(model), dtype=dtype, **options)
    built.tie_weights()  # parameters that were tied became separate on their way to the meta device
    if model.config.get("tie_word_embeddings") is False:
        untie_head(built)
    return built


def untie_head(model: PreTrainedModel) -> None:
    """Give the output head weights of its own, as published T5 v1.1 and mT5 checkpoints have them.

    Transformers 5 ties the head of a T5 that is built from a configuration whatever that says.
    """
    head = model.get_output_embeddings()
    if head.weight is model.get_input_embeddings().weight:
        head.weight = nn.Parameter(torch.empty_like(head.weight))
    model.all_tied_weights_keys.pop("lm_head.weight", None)


def parameter_count(model: nn.Module) -> int:
    """Return the number of distinct parameters, a tied one counted once and a quantised one by its unpacked shape."""
    return sum(_elements(parameter) for parameter in model.parameters())


def _elements(parameter: nn.Parameter) -> int:
    state = getattr(parameter, "quant_state", None)
    return int(parameter.numel() if state is None else state.shape.numel())


def materialize(module: nn.Module, device: torch.device) -> None:
    """Give every parameter that is still on the meta device random weights, and move the buffers, in place.

    Tied parameters stay one. Matrices are drawn from N(0, 0.02), biases are 0 and the scales of norms 1.
    """
    done: dict[int, nn.Parameter] = {}
    for child in module.modules():
        for name, parameter in child.named_parameters(recurse=False):
            if parameter.is_meta:
                fresh = done.setdefault(id(parameter), random_parameter(name, parameter, device))
                setattr(child, name, fresh)
        for name, buffer in child.named_buffers(recurse=False):
            setattr(child, name, buffer.to(device))


def random_parameter(name: str, like: torch.Tensor, device: torch.device) -> nn.Parameter:
    """Return a parameter of the same shape and type on a device, with random weights."""
    values = torch.empty(like.shape, dtype=like.dtype, device=device)
    if like.ndim > 1:
        values.normal_(std=STD)
    else:
        values.fill_(0.0 if name.endswith("bias") else 1.0)
    return nn.Parameter(values, requires_grad=like.requires_grad)
