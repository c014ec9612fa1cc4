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

from autobatch.search.effects import PLAIN, effect, properties
from autobatch.settings import MICRO_BATCH, OPTIM, PRECISION, Configuration, Scalar

Array = NDArray[np.float64]
FIXED, PER_SAMPLE, FLOOR, OVERHEAD, SLOPE, OPTIMIZER = range(6)
FIGURES = 6
GIB = 2**30

COMMON_MEAN = np.log([4 * GIB, 0.2 * GIB, 0.1, 0.2, 0.01, 0.01])
COMMON_SD = np.array([1.5, 2.0, 1.2, 0.7, 2.0, 1.5])
OWN_SD = np.array([0.05, 0.08, 0.08, 0.3, 0.05, 0.1])
"""What an arm has to itself, beyond the effects of its settings."""
KIN = 0.9
"""Share of it that arms have in common which differ by a setting that has no part in it: the optimizer has none in
micro-steps and in what a sample takes of memory, which of two formats as wide none in memory at all."""
WIDTHS: Mapping[Scalar, str] = {"fp16": "bf16", "fp32": "tf32"}
"""Another format of the same width, as activations and states are kept."""
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
    between = (OWN_SD**2)[:, None, None] * _own(arms)
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


def _own(arms: Sequence[Configuration]) -> Array:
    """Return the correlation of what arms have to themselves, (figures, arms, arms)."""
    alone, kin = np.eye(len(arms)), _kin([arm.replace({OPTIM: PLAIN[OPTIM]}) for arm in arms])
    return np.array([kin if f in {PER_SAMPLE, FLOOR, OVERHEAD, SLOPE} else alone for f in range(FIGURES)])


def _kin(arms: Sequence[Configuration]) -> Array:
    """Return a correlation of arms: that of kin where these are the same."""
    same = np.array([[float(one.arm == other.arm) for other in arms] for one in arms])
    correlation: Array = KIN * same + (1 - KIN) * np.eye(len(arms))
    return correlation


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
    wide = [arm.replace({PRECISION: WIDTHS.get(arm[PRECISION], arm[PRECISION])}) for arm in arms]
    own = {FIXED: _kin(wide), PER_SAMPLE: _kin([arm.replace({OPTIM: PLAIN[OPTIM]}) for arm in wide])}
    for figure, correlation in own.items():
        # most of the predictor's error is the same in every arm
        covariance[figure] = np.outer(sigma, sigma) * (SHARED + (1 - SHARED) * correlation)


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
