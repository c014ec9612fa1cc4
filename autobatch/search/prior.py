"""What is believed of arms before any probe: how each setting shifts memory and time, and how surely.

Six figures describe an arm, each as a natural logarithm: memory is `fixed + per_sample * b` bytes at micro-batch b,
a micro-step takes `max(floor, overhead * floor + per_sample_s * b)` seconds, the optimizer step is one constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autobatch.settings import (
    ALLOCATOR,
    ARM_KEYS,
    ATTENTION,
    CHECKPOINTING,
    COMPILE,
    CUDNN_ATTENTION,
    LIGER,
    METHOD,
    MICRO_BATCH,
    OPTIM,
    PRECISION,
    QUANTIZATION,
    SAMPLING,
    Configuration,
    Scalar,
)

Array = NDArray[np.float64]
FIXED, PER_SAMPLE, FLOOR, OVERHEAD, SLOPE, OPTIMIZER = range(6)
FIGURES = 6
GIB = 2**30

COMMON_MEAN = np.log([4 * GIB, 0.2 * GIB, 0.1, 0.2, 0.01, 0.01])
COMMON_SD = np.array([1.5, 2.0, 1.2, 0.7, 2.0, 1.5])
OWN_SD = np.array([0.05, 0.08, 0.08, 0.3, 0.05, 0.1])
"""What an arm has to itself, beyond the effects of its settings."""
SHARED = 0.75
"""Share of the variance of a prediction from shapes that is common to every arm of a model."""
HOST_SD = 0.4
"""How much the speed of this host and this device may differ from the predictor's, all arms alike."""


class Prediction(Protocol):
    """A prediction of peak device memory."""

    @property
    def bytes(self) -> float:
        """Expected peak, as the card reports it."""

    @property
    def rel_sigma(self) -> float:
        """Its standard deviation, as a share."""


Predict = Callable[[Configuration], Prediction]


@dataclass(frozen=True)
class Pace:
    """A prediction of an arm's time."""

    floor_s: float
    """Micro-step as the host's launches bound it."""
    sample_s: float
    """Time of one more sample as the device bounds it."""
    rel_sigma: float
    host_sd: float = HOST_SD
    """How much this host's launches may differ from it, all arms alike."""
    device_sd: float = HOST_SD
    """How much this device's speed may."""


PaceOf = Callable[[Configuration], Pace]


@dataclass(frozen=True)
class Effect:
    """Shift of the six logarithms by one property of an arm: expected, and its standard deviation."""

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
    (QUANTIZATION, "nf4"): Effect((-0.8, 0, 0.4, 0, 0.1, 0), (0.5, 0.15, 0.3, 0.2, 0.15, 0.2)),
    (QUANTIZATION, "int8"): Effect((-0.5, 0, 0.6, 0, 0.4, 0), (0.4, 0.2, 0.4, 0.2, 0.3, 0.2)),
    (LIGER, True): Effect((0, -0.4, 0, 0, -0.03, 0), (0.05, 0.4, 0.1, 0.1, 0.1, 0.02)),
    (COMPILE, True): Effect((0, -0.1, -0.4, 0, -0.15, 0), (0.05, 0.2, 0.4, 0.2, 0.2, 0.02)),
}
# A CPU has no units for narrow formats, or has: bf16 took 1.4 times as long as fp32 on one without, and less on others.
_ON_CPU: Mapping[tuple[str, Scalar], Effect] = {
    (PRECISION, "wide"): Effect((0, 0.35, 0, 0, 0, 0), (0.1, 0.25, 0.3, 0.2, 0.5, 0.1)),
    (PRECISION, "fp32"): Effect((0, 0, 0, 0, 0, 0), (0.02, 0.02, 0.05, 0.1, 0.3, 0.02)),
}
_BY_SETTING: Mapping[str, Effect] = {
    OPTIM: Effect((-0.2, 0, 0, 0, 0, 0.5), (0.3, 0.03, 0.02, 0.02, 0.02, 0.8)),
    ATTENTION: Effect((0, 0, 0, 0, 0, 0), (0.02, 0.4, 0.2, 0.2, 0.2, 0.02)),
    SAMPLING: Effect((0, 0, 0, 0, -0.1, 0), (0.02, 0.05, 0.05, 0.2, 0.2, 0.02)),
    CUDNN_ATTENTION: Effect((0, 0, 0, 0, 0, 0), (0.02, 0.1, 0.7, 0.2, 0.7, 0.02)),
    ALLOCATOR: Effect((0, -0.05, 0, 0, 0, 0), (0.03, 0.08, 0.02, 0.05, 0.02, 0.02)),
}
_PLAIN: Mapping[str, Scalar] = {
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
    others = (name for name in ARM_KEYS if name != PRECISION)
    return (*found, *((name, arm[name]) for name in others if arm[name] != _PLAIN[name]))


def effect(part: tuple[str, Scalar], *, on_cpu: bool = False) -> Effect:
    """Return what a property does, as far as it is known beforehand."""
    known = {**_EFFECTS, **_ON_CPU} if on_cpu else _EFFECTS
    return known.get(part) or _BY_SETTING.get(part[0], _UNKNOWN)


@dataclass(frozen=True)
class Prior:
    """A Gaussian over the six logarithms of every arm; the figures are independent beforehand."""

    mean: Array
    """(figures, arms)"""
    covariance: Array
    """(figures, arms, arms)"""


def build(
    arms: Sequence[Configuration],
    batches: tuple[int, int],
    predict: Predict | None,
    pace: PaceOf | None = None,
    *,
    on_cpu: bool = False,
) -> Prior:
    """Build the prior of the arms.

    `predict`, asked at two micro-batches, replaces the effects on memory, and `pace` those on time.
    """
    mean = np.tile(COMMON_MEAN[:, None], (1, len(arms)))
    between = (OWN_SD**2)[:, None, None] * np.eye(len(arms))
    for part in dict.fromkeys(part for arm in arms for part in properties(arm)):
        has = np.array([float(part in properties(arm)) for arm in arms])
        known = effect(part, on_cpu=on_cpu)
        mean += np.array(known.mean)[:, None] * has
        between = between + (np.array(known.sd) ** 2)[:, None, None] * np.outer(has, has)
    covariance = (COMMON_SD**2)[:, None, None] + between
    if predict is not None:
        _lay_memory(mean, covariance, arms, batches, predict)
    if pace is not None:
        _lay_time(mean, covariance, between, [pace(arm) for arm in arms])
    return Prior(mean, covariance)


def _lay_memory(
    mean: Array, covariance: Array, arms: Sequence[Configuration], batches: tuple[int, int], predict: Predict
) -> None:
    low, high = batches
    sigmas = []
    for index, arm in enumerate(arms):
        small, large = (predict(arm.replace({MICRO_BATCH: b})) for b in (low, high))
        slope = max((large.bytes - small.bytes) / max(high - low, 1), 1.0)
        mean[FIXED, index] = math.log(max(small.bytes - slope * low, 0.05 * small.bytes))
        mean[PER_SAMPLE, index] = math.log(slope)
        sigmas.append(max(small.rel_sigma, large.rel_sigma))
    sigma = np.array(sigmas)
    # most of the predictor's error is the same in every arm
    covariance[FIXED] = covariance[PER_SAMPLE] = np.outer(sigma, sigma) * SHARED + np.diag(sigma**2) * (1 - SHARED)


def _lay_time(mean: Array, covariance: Array, between: Array, paces: Sequence[Pace]) -> None:
    """Lay the predicted times; how they err between arms follows the effects, as far as the predictor may err."""
    sigma = np.array([pace.rel_sigma for pace in paces])
    floor, slope = [(p.floor_s, p.host_sd) for p in paces], [(p.sample_s, p.device_sd) for p in paces]
    for figure, predicted in ((FLOOR, floor), (SLOPE, slope)):
        seconds, common = np.array(predicted).T
        mean[figure] = np.log(seconds)
        shrink = np.minimum(1.0, sigma * math.sqrt(1 - SHARED) / np.sqrt(np.diag(between[figure])))
        own = between[figure] * np.outer(shrink, shrink)
        covariance[figure] = np.outer(sigma, sigma) * SHARED + own + np.outer(common, common)
