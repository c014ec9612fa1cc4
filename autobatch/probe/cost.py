"""What a padded micro-batch costs a model, from its layers: to compare batches, and to count FLOPs."""

from __future__ import annotations

from torch import nn

from autobatch.probe.build import base_of
from autobatch.probe.order import Cost


def cost_of(model: nn.Module) -> Cost:
    """Return the FLOPs of one forward pass by padded tokens.

    Each linear layer takes 2 x inputs x outputs a token, and attention two products of length x length x width in every
    layer; embeddings are looked up. An encoder's layers work on source tokens, all others on target tokens.
    """
    base = base_of(model)
    attention = 4.0 * base.config.num_hidden_layers * base.config.hidden_size
    if not base.config.is_encoder_decoder:
        return Cost(source=2.0 * linear_weights(base), source_squared=attention)
    encoder = linear_weights(base.get_encoder())
    return Cost(
        source=2.0 * encoder,
        target=2.0 * (linear_weights(base) - encoder),
        source_squared=attention,
        target_squared=attention,
    )


def linear_weights(module: nn.Module) -> int:
    """Return the weights in all linear layers, quantised ones and adapters included."""
    return sum(m.in_features * m.out_features for m in module.modules() if isinstance(m, nn.Linear))
