"""Model FLOPs utilisation: what the model's arithmetic takes, over what the card could do in that time."""

from __future__ import annotations

import re

from autobatch.settings import METHOD, PRECISION, Configuration

_PASSES = {"full": 3.0, "lora": 2.0}
"""Times a forward pass: the backward pass takes two, one of them for the gradients of weights, which a frozen base has
not. What checkpointing computes again does not count."""

_TERAFLOPS: tuple[tuple[str, float, float, float], ...] = (
    ("H200 NVL", 835.5, 417.5, 60.0),
    ("G?H200", 989.4, 494.7, 66.9),
    ("H100 PCIe", 756.0, 378.0, 51.2),
    ("H100 NVL", 835.0, 417.5, 60.0),
    ("H100", 989.4, 494.7, 66.9),
    ("A100", 312.0, 156.0, 19.5),
    ("L40S", 362.0, 183.0, 91.6),
    ("L4", 121.0, 60.0, 30.3),
    ("A10", 125.0, 62.5, 31.2),
    ("RTX 4090", 165.2, 82.6, 82.6),
    ("RTX 3090", 71.0, 35.6, 35.6),
    ("RTX 3080", 59.5, 29.8, 29.8),
    ("V100S", 130.0, 16.4, 16.4),
    ("V100-PCIE", 112.0, 14.0, 14.0),
    ("V100", 125.0, 15.7, 15.7),
    ("T4", 65.0, 8.1, 8.1),
)
"""Words of a card's name, as a pattern; its dense peaks in 16 bits (accumulated in 32), TF32 and FP32, by the vendor's
data sheets. The first that matches counts."""
_OTHER_CARD = r" (Ti|SUPER|D|Laptop|with Max-Q)\b"
"""What makes a name that of another, slower or faster card."""


def peak_flops(card: str, precision: str) -> float | None:
    """Return the FLOP/s that a card could do at best in a precision; None for a card that is not known."""
    for name, half, tf32, fp32 in _TERAFLOPS:
        if re.search(rf"\b{name}\b(?!{_OTHER_CARD})", card):
            return 1e12 * {"fp32": fp32, "tf32": tf32}.get(precision, half)
    return None


def mfu(configuration: Configuration, forward_flops: float, micro_step_s: float, card: str | None) -> float | None:
    """Return the share of the card's peak that a micro-step reaches.

    Args:
        configuration: its method and precision.
        forward_flops: of one padded micro-batch.
        micro_step_s: forward and backward.
        card: its name; None on the CPU.

    """
    peak = peak_flops(card, str(configuration[PRECISION])) if card else None
    return _PASSES[str(configuration[METHOD])] * forward_flops / (micro_step_s * peak) if peak else None
