"""What is known of settings before any probe: how each shifts memory and time, and how surely."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autobatch.settings import (
    ALLOCATOR,
    ARM_KEYS,
    ATTENTION,
    CHECKPOINTING,
    COMPILE,
    CUDNN_ATTENTION,
    LIGER,
    METHOD,
    OPTIM,
    PRECISION,
    QUANTIZATION,
    SAMPLING,
    Configuration,
    Scalar,
)


@dataclass(frozen=True)
class Effect:
    """Shift of the six logarithms of `prior` by one property of an arm: expected, and its standard deviation."""

    mean: tuple[float, float, float, float, float, float]
    sd: tuple[float, float, float, float, float, float]


_UNKNOWN = Effect((0, 0, 0, 0, 0, 0), (0.2, 0.3, 0.2, 0.2, 0.3, 0.5))
# Reasons: checkpointing repeats the forward pass (a third to a half of the work) and keeps layer inputs alone; wide
# formats double activations and run on slower units; a frozen base has no gradients and no optimizer state.
_EFFECTS: Mapping[tuple[str, Scalar], Effect] = {
    (CHECKPOINTING, True): Effect((0, -1.0, 0.4, 0, 0.32, 0), (0.05, 0.5, 0.2, 0.2, 0.1, 0.05)),
    (PRECISION, "wide"): Effect((0, 0.35, -0.15, 0, 0.7, 0), (0.1, 0.25, 0.2, 0.2, 0.5, 0.1)),
    (PRECISION, "fp32"): Effect((0, 0, 0, 0, 1.0, 0), (0.02, 0.02, 0.05, 0.1, 0.6, 0.02)),
    (PRECISION, "fp16"): Effect((0, 0, 0.03, 0, 0, 0.1), (0.02, 0.02, 0.05, 0.1, 0.05, 0.2)),
    (METHOD, "lora"): Effect((-1.0, -0.1, 0.3, 0, -0.2, -1.0), (0.7, 0.3, 0.3, 0.2, 0.2, 0.8)),
    # Beside a bf16 base under peft's adapters, a 3B model's micro-steps took a quarter longer at the median where
    # launches are the bound (-13 to +80 %: processes differ), and 5 to 14 % less where the device is, which is
    # counted: no copy of a layer's input in fp32 (an H200).
    (QUANTIZATION, "nf4"): Effect((-0.8, 0, 0.2, 0, 0.02, 0), (0.5, 0.15, 0.15, 0.2, 0.1, 0.2)),
    (QUANTIZATION, "int8"): Effect((-0.5, 0, 0.6, 0, 0.4, 0), (0.4, 0.2, 0.4, 0.2, 0.3, 0.2)),
    (LIGER, True): Effect((0, -0.4, 0, 0, -0.03, 0), (0.05, 0.4, 0.1, 0.1, 0.1, 0.02)),
    (COMPILE, True): Effect((0, -0.1, -0.4, 0, -0.15, 0), (0.05, 0.2, 0.4, 0.2, 0.2, 0.02)),
    # These launch kernels for every tensor, the fused AdamW a few for all: beside its 6 to 13 ms, 8-bit AdamW took 27
    # to 35, the paged one 28 to 49 and Adafactor 50 to 82 (KoBART and T5 on an H200).
    (OPTIM, "8bit"): Effect((-0.2, 0, 0, 0, 0, 1.1), (0.3, 0.03, 0.02, 0.02, 0.02, 0.5)),
    (OPTIM, "paged"): Effect((-0.1, 0, 0, 0, 0, 0.2), (0.2, 0.03, 0.02, 0.02, 0.02, 0.2)),
    (OPTIM, "adafactor"): Effect((-0.2, 0, 0, 0, 0, 1.9), (0.3, 0.03, 0.02, 0.02, 0.02, 0.5)),
}
_OPTIMIZERS: Mapping[Scalar, tuple[str, ...]] = {
    "adamw_8bit": ("8bit",),
    "adamw_bnb_8bit": ("8bit",),
    "paged_adamw_8bit": ("8bit", "paged"),
}
"""What optimizers have in common; any other is its own."""
# A CPU has no units for narrow formats, or has: bf16 took 1.4 times as long as fp32 on one without, and less on others.
_ON_CPU: Mapping[tuple[str, Scalar], Effect] = {
    # autocast keeps a narrow copy of the weights beside the wide one
    (PRECISION, "wide"): Effect((-0.2, 0.35, 0, 0, 0, 0), (0.3, 0.25, 0.3, 0.2, 0.5, 0.1)),
    (PRECISION, "fp32"): Effect((0, 0, 0, 0, 0, 0), (0.02, 0.02, 0.05, 0.1, 0.3, 0.02)),
}
_BY_SETTING: Mapping[str, Effect] = {
    OPTIM: Effect((-0.2, 0, 0, 0, 0, 0.5), (0.3, 0.03, 0.02, 0.02, 0.02, 0.8)),
    ATTENTION: Effect((0, 0, 0, 0, 0, 0), (0.02, 0.4, 0.2, 0.2, 0.2, 0.02)),
    SAMPLING: Effect((0, 0, 0, 0, -0.1, 0), (0.02, 0.05, 0.05, 0.2, 0.2, 0.02)),
    CUDNN_ATTENTION: Effect((0, 0, 0, 0, 0, 0), (0.02, 0.1, 0.7, 0.2, 0.7, 0.02)),
    ALLOCATOR: Effect((0, -0.05, 0, 0, 0, 0), (0.03, 0.08, 0.02, 0.05, 0.02, 0.02)),
}
PLAIN: Mapping[str, Scalar] = {
    CHECKPOINTING: False,
    METHOD: "full",
    QUANTIZATION: "none",
    LIGER: False,
    COMPILE: False,
    OPTIM: "adamw_torch_fused",
    ATTENTION: "sdpa",
    SAMPLING: "random",
    ALLOCATOR: "",
    CUDNN_ATTENTION: False,
}


def properties(arm: Configuration) -> tuple[tuple[str, Scalar], ...]:
    """Return what sets this arm apart from the plain one, as (setting, level) pairs."""
    found: list[tuple[str, Scalar]] = []
    precision = arm[PRECISION]
    if precision in {"tf32", "fp32"}:
        found.append((PRECISION, "wide"))
    if precision in {"fp32", "fp16"}:
        found.append((PRECISION, precision))
    others = (name for name in ARM_KEYS if name != PRECISION and arm[name] != PLAIN[name])
    return (*found, *((name, level) for name in others for level in _levels(name, arm[name])))


def _levels(name: str, value: Scalar) -> tuple[Scalar, ...]:
    return _OPTIMIZERS.get(value, (value,)) if name == OPTIM else (value,)


def effect(part: tuple[str, Scalar], *, on_cpu: bool = False) -> Effect:
    """Return what a property does, as far as it is known beforehand."""
    known = {**_EFFECTS, **_ON_CPU} if on_cpu else _EFFECTS
    return known.get(part) or _BY_SETTING.get(part[0], _UNKNOWN)
