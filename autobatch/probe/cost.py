"""What a padded micro-batch costs a model, from its layers: to compare batches, and to count FLOPs."""

from __future__ import annotations

import re

from torch import nn
from transformers import PretrainedConfig

from autobatch.probe.build import base_of
from autobatch.probe.order import Cost

_OF_THE_SOURCE = re.compile(r"\.(encoder_attn|EncDecAttention)\.(k|v)(_proj)?$")
"""Names of the layers that make cross-attention's keys and values, of the encoder's output."""


def cost_of(model: nn.Module) -> Cost:
    """Return the FLOPs of one forward pass by padded tokens.

    Each linear layer takes 2 x inputs x outputs a token, and attention two products of length x length x width in every
    layer; embeddings are looked up. An encoder's layers, and what makes cross-attention's keys and values, work on
    source tokens, all others on target tokens.
    """
    base = base_of(model)
    attention = 4.0 * base.config.hidden_size
    layers = base.config.num_hidden_layers
    if not base.config.is_encoder_decoder:
        return Cost(source=2.0 * linear_weights(base), source_squared=attention * layers)
    crossed = sum(linear_weights(m) for name, m in base.named_modules() if _OF_THE_SOURCE.search(name))
    source = linear_weights(base.get_encoder()) + crossed
    return Cost(
        source=2.0 * source,
        target=2.0 * (linear_weights(base) - source),
        source_squared=attention * layers,
        target_squared=attention * _decoder_layers(base.config, layers),
    )


def _decoder_layers(config: PretrainedConfig, usual: int) -> int:
    found = (getattr(config, name, None) for name in ("decoder_layers", "num_decoder_layers"))
    return next((layers for layers in found if layers is not None), usual)


def linear_weights(module: nn.Module) -> int:
    """Return the weights in all linear layers, quantised ones and adapters included."""
    return sum(m.in_features * m.out_features for m in module.modules() if isinstance(m, nn.Linear))
