"""What the measurements make of the prior: the most probable arms, and joint samples around them.

The model is Gaussian in the logarithms before it sees a probe; memory and time are smooth functions of them, so the
posterior is found by Gauss-Newton steps and taken as Gaussian there (Laplace), then weighed by the true likelihood.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autobatch.search import normal
from autobatch.search.normal import FAR
from autobatch.search.prior import FIGURES, FIXED, FLOOR, OPTIMIZER, OVERHEAD, PER_SAMPLE, SLOPE, Array, Prior

SHARPNESS = 8.0
"""Power of the smooth maximum between the floor and the affine part."""
FLAT_WITHIN = math.log(1.3)
"""Below this much over the floor, launches are the bound and timing repeats badly."""
FLAT_NOISE, AFFINE_NOISE = 0.15, 0.02
"""Relative standard deviation of one measured micro-step in either part."""
FLAT_MISFIT, AFFINE_MISFIT = 0.08, 0.03
"""Relative deviation of a configuration's true time from its arm's curve."""
MEMORY_NOISE, MEMORY_MISFIT = 0.01, 0.02
OPTIMIZER_NOISE = 0.15
STEPS = 12
LARGEST_STEP = 1.5
SAMPLES = 256
LEAST_EFFECTIVE = 48


Places = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


@dataclass(frozen=True)
class Observations:
    """Measurements, one row a configuration that was probed: index of the arm, micro-batch, logarithms or NaN."""

    arm: Places
    batch: Array
    memory: Array
    """log bytes used; NaN where it was not measured."""
    at_least: Array
    """log bytes that it needs at least (out of memory); NaN elsewhere."""
    micro_step: Array
    optimizer: Array
    repeats: Array
    """Measurements averaged in the row."""


def log_memory(x: Array, arm: Places, batch: Array) -> Array:
    """Return log bytes; `x` is (figures, arms, ...)."""
    scale = _column(np.log(batch), x)
    return np.logaddexp(x[FIXED, arm], x[PER_SAMPLE, arm] + scale)


def log_micro_step(x: Array, arm: Places, batch: Array) -> Array:
    """Return log seconds of a micro-step; `x` is (figures, arms, ...)."""
    floor = x[FLOOR, arm]
    affine = np.logaddexp(floor + x[OVERHEAD, arm], x[SLOPE, arm] + _column(np.log(batch), x))
    return np.logaddexp(SHARPNESS * floor, SHARPNESS * affine) / SHARPNESS


def _column(values: Array, x: Array) -> Array:
    return values.reshape(values.shape + (1,) * (x.ndim - 2))


def flatness(log_over_floor: Array) -> Array:
    """Return 1 where launches are the bound, 0 where the device is, smoothly between."""
    return 1 / (1 + np.exp((log_over_floor - FLAT_WITHIN) / 0.05))


def noise(flat: Array) -> Array:
    """Return the relative standard deviation of one measurement."""
    return AFFINE_NOISE + (FLAT_NOISE - AFFINE_NOISE) * flat


def misfit(flat: Array) -> Array:
    """Return the relative standard deviation of a configuration around its arm's curve."""
    return AFFINE_MISFIT + (FLAT_MISFIT - AFFINE_MISFIT) * flat


class Posterior:
    """The arms as the measurements leave them."""

    def __init__(self, prior: Prior, seed: int) -> None:
        self._prior = prior
        self._arms = prior.mean.shape[1]
        self._precision = np.stack([np.linalg.inv(block) for block in prior.covariance])
        self._normal = np.random.default_rng(seed).standard_normal((FIGURES * self._arms, SAMPLES))
        self.mode = prior.mean.copy()

    def update(self, seen: Observations) -> None:
        """Learn from all measurements; the last mode is the starting point."""
        for _ in range(STEPS):
            hessian, gradient = self._system(seen)
            step = np.linalg.solve(hessian, gradient)
            step *= min(1.0, LARGEST_STEP / max(np.abs(step).max(), 1e-12))
            self.mode = self.mode + step.reshape(self.mode.shape)
            if np.abs(step).max() < 1e-3:
                break
        hessian, _ = self._system(seen)
        spread = np.linalg.solve(np.linalg.cholesky(hessian).T, self._normal)
        self.samples = self.mode[:, :, None] + spread.reshape(FIGURES, self._arms, SAMPLES)
        self.weights = self._weigh(seen)

    def _system(self, seen: Observations) -> tuple[Array, Array]:
        size = FIGURES * self._arms
        hessian = np.zeros((size, size))
        gradient = np.zeros(size)
        for figure in range(FIGURES):
            part = slice(figure * self._arms, (figure + 1) * self._arms)
            hessian[part, part] = self._precision[figure]
            gradient[part] = self._precision[figure] @ (self._prior.mean[figure] - self.mode[figure])
        for figures, slopes, residual, precision in self._terms(seen):
            places = [figure * self._arms + seen.arm for figure in figures]
            for one, slope in zip(places, slopes, strict=True):
                np.add.at(gradient, one, slope * precision * residual)
                for two, other in zip(places, slopes, strict=True):
                    np.add.at(hessian, (one, two), slope * other * precision)
        return hessian, gradient

    def _terms(self, seen: Observations) -> list[tuple[tuple[int, ...], tuple[Array, ...], Array, Array]]:
        return [self._memory_term(seen), self._time_term(seen), self._optimizer_term(seen)]

    def _memory_term(self, seen: Observations) -> tuple[tuple[int, ...], tuple[Array, ...], Array, Array]:
        expected = log_memory(self.mode, seen.arm, seen.batch)
        share = np.exp(self.mode[PER_SAMPLE, seen.arm] + np.log(seen.batch) - expected)
        sd = _memory_sd(seen)
        residual, precision = _or_nothing(seen.memory - expected, 1 / sd**2)
        short = np.nan_to_num((expected - seen.at_least) / sd, nan=0.0)
        # a censored measurement pulls like one at the truncated mean
        hazard = np.where(short < FAR, -short, normal.density(short) / normal.below(np.maximum(short, FAR)))
        pull = np.maximum(hazard * (hazard + short), 1e-6)
        censored = ~np.isnan(seen.at_least)
        residual = np.where(censored, sd * hazard / pull, residual)
        precision = np.where(censored, pull / sd**2, precision)
        return (FIXED, PER_SAMPLE), (1 - share, share), residual, precision

    def _time_term(self, seen: Observations) -> tuple[tuple[int, ...], tuple[Array, ...], Array, Array]:
        x, arm = self.mode, seen.arm
        floor, start = x[FLOOR, arm], x[FLOOR, arm] + x[OVERHEAD, arm]
        affine = np.logaddexp(start, x[SLOPE, arm] + np.log(seen.batch))
        expected = log_micro_step(x, arm, seen.batch)
        above = np.exp(SHARPNESS * (affine - expected))
        of_start = above * np.exp(start - affine)
        residual, precision = _or_nothing(seen.micro_step - expected, 1 / time_sd(expected - floor, seen.repeats) ** 2)
        slopes = (1 - above + of_start, of_start, above - of_start)
        return (FLOOR, OVERHEAD, SLOPE), slopes, residual, precision

    def _optimizer_term(self, seen: Observations) -> tuple[tuple[int, ...], tuple[Array, ...], Array, Array]:
        sd = OPTIMIZER_NOISE / np.sqrt(seen.repeats)
        residual, precision = _or_nothing(seen.optimizer - self.mode[OPTIMIZER, seen.arm], 1 / sd**2)
        return (OPTIMIZER,), (np.ones_like(residual),), residual, precision

    def _weigh(self, seen: Observations) -> Array:
        """Return sample weights: true likelihood over the Gaussian one, tempered until enough samples count."""
        excess = self._true_log_likelihood(seen) - self._gaussian_log_likelihood(seen)
        excess -= excess.max()
        power = 1.0
        while True:
            weights = np.exp(power * excess)
            weights /= weights.sum()
            if 1 / (weights**2).sum() >= LEAST_EFFECTIVE:
                return weights
            power /= 2

    def _true_log_likelihood(self, seen: Observations) -> Array:
        x = self.samples
        memory, sd = log_memory(x, seen.arm, seen.batch), _memory_sd(seen)[:, None]
        fit = -0.5 * ((seen.memory[:, None] - memory) / sd) ** 2
        over = normal.log_below((memory - seen.at_least[:, None]) / sd)
        step = log_micro_step(x, seen.arm, seen.batch)
        mode = log_micro_step(self.mode, seen.arm, seen.batch) - self.mode[FLOOR, seen.arm]
        timed = -0.5 * ((seen.micro_step[:, None] - step) / time_sd(mode, seen.repeats)[:, None]) ** 2
        return np.nan_to_num(fit).sum(0) + np.nan_to_num(over).sum(0) + np.nan_to_num(timed).sum(0)

    def _gaussian_log_likelihood(self, seen: Observations) -> Array:
        moved = self.samples - self.mode[:, :, None]
        total = np.zeros(SAMPLES)
        for figures, slopes, residual, precision in self._terms(seen)[:2]:
            shift = sum(slope[:, None] * moved[f, seen.arm] for f, slope in zip(figures, slopes, strict=True))
            total -= 0.5 * (precision[:, None] * (residual[:, None] - shift) ** 2).sum(0)
        return total


def time_sd(log_over_floor: Array, repeats: Array) -> Array:
    """Return the standard deviation of a row's measured log micro-step around its arm's curve."""
    flat = flatness(log_over_floor)
    return np.sqrt(misfit(flat) ** 2 + noise(flat) ** 2 / repeats)


def _memory_sd(seen: Observations) -> Array:
    return np.sqrt(MEMORY_MISFIT**2 + MEMORY_NOISE**2 / seen.repeats)


def _or_nothing(residual: Array, precision: Array) -> tuple[Array, Array]:
    known = ~np.isnan(residual)
    return np.where(known, residual, 0.0), np.where(known, precision, 0.0)
