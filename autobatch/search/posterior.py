"""What the measurements make of the prior: joint samples of all arms.

The prior is Gaussian in the logarithms; memory and time are smooth functions of them. Whether launches or the device
bound a measured micro-step is often open, so the posterior may have several modes: every sample starts at its own
draw from the prior and is fitted to its own noisy copy of the data (randomised maximum likelihood), by Gauss-Newton
steps, all samples side by side. Arms that were not measured follow by conditioning.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from autobatch.search.prior import FIXED, FLOOR, OPTIMIZER, OVERHEAD, PER_SAMPLE, SLOPE, Array, Prior

SHARPNESS = 8.0
"""Power of the smooth maximum between the floor and the affine part."""
FLAT_WITHIN = math.log(1.3)
"""Below this much over the floor, launches are the bound and timing repeats badly."""
FLAT_NOISE, AFFINE_NOISE = 0.15, 0.02
"""Relative standard deviation of one measured micro-step in either part."""
FLAT_MISFIT, AFFINE_MISFIT = 0.1, 0.03
"""Relative deviation of a configuration's true time from its arm's curve."""
MEMORY_NOISE, MEMORY_MISFIT = 0.01, 0.02
OPTIMIZER_NOISE = 0.15
SAMPLES = 128
MANY_ARMS, LEAST_SAMPLES = 12, 16
"""Where more arms have been measured the samples agree, and fewer of them do: a fit's time grows with arms cubed."""
ALL = slice(None)
STEPS = 12
LARGEST_STEP, CLOSE = 1.5, 0.01
FIT_SPREADS = 4.0
"""A sample whose misfit is this many standard deviations too large is stuck, and is left out."""
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
    error: Array
    """Relative standard error of the micro-step, beyond the noise of its kind: a disturbed probe tells less."""


@dataclass(frozen=True)
class Expected:
    """What a sample expects of the rows: (rows, samples), and its slopes by figure: (figures, rows, samples)."""

    value: Array
    slopes: Array
    sd: Array


Forward = Callable[[Array], Expected]
"""From the rows' own figures, (figures, rows, samples), to what they expect."""


@dataclass(frozen=True)
class Problem:
    """The rows that tell of some of the figures."""

    figures: list[int]
    arm: Places
    target: Array
    """Logarithms measured; NaN where only `bound` is known."""
    bound: Array
    draws: Array
    """Each sample's own noise, (rows, samples)."""
    forward: Forward

    def residual(self, expected: Expected, samples: NDArray[np.bool_] | slice = ALL) -> Array:
        """Return residuals in standard deviations, (rows, samples); for a bound, only by how much it is broken."""
        draws = self.draws[:, samples]
        off = (self.target[:, None] - expected.value) / expected.sd + draws
        short = np.maximum((self.bound[:, None] - expected.value) / expected.sd + draws, 0.0)
        return np.where(np.isnan(self.target)[:, None], short, off)


Maker = Callable[..., Expected]


def log_memory(fixed: Array, per_sample: Array, log_batch: Array) -> Array:
    """Return log bytes."""
    return np.logaddexp(fixed, per_sample + log_batch)


def log_micro_step(floor: Array, overhead: Array, slope: Array, log_batch: Array) -> Array:
    """Return log seconds of a micro-step."""
    affine = np.logaddexp(floor + overhead, slope + log_batch)
    return np.logaddexp(SHARPNESS * floor, SHARPNESS * affine) / SHARPNESS


def flatness(log_over_floor: Array) -> Array:
    """Return 1 where launches are the bound, 0 where the device is, smoothly between."""
    return 1 / (1 + np.exp(np.minimum((log_over_floor - FLAT_WITHIN) / 0.05, 500.0)))


def noise(flat: Array) -> Array:
    """Return the relative standard deviation of one measurement."""
    return AFFINE_NOISE + (FLAT_NOISE - AFFINE_NOISE) * flat


def misfit(flat: Array) -> Array:
    """Return the relative standard deviation of a configuration around its arm's curve."""
    return AFFINE_MISFIT + (FLAT_MISFIT - AFFINE_MISFIT) * flat


class Posterior:
    """The arms as the measurements leave them; `samples` is (figures, arms, samples), `weights` sums to 1."""

    def __init__(self, prior: Prior, seed: int) -> None:
        self._prior = prior
        self._seed = seed
        roots = np.linalg.cholesky(prior.covariance)
        draws = np.random.default_rng(seed).standard_normal((*prior.mean.shape, SAMPLES))
        self._deviation = roots @ draws
        self.samples = prior.mean[:, :, None] + self._deviation
        self.weights = np.full(SAMPLES, 1 / SAMPLES)

    def update(self, seen: Observations) -> None:
        """Learn from all measurements, afresh."""
        share = min(1.0, MANY_ARMS / max(len(np.unique(seen.arm)), 1)) ** 1.5
        samples = max(round(share * SAMPLES), LEAST_SAMPLES)
        self.samples, self._deviation = self.samples[:, :, :samples], self._deviation[:, :, :samples]
        misfits, count = np.zeros(self.samples.shape[-1]), 0
        for problem in self._problems(seen):
            misfits += self._fit(problem)
            count += len(problem.arm)
        good = misfits <= max(count + FIT_SPREADS * math.sqrt(2 * count), float(np.median(misfits)))
        self.weights = good / good.sum()

    def _problems(self, seen: Observations) -> list[Problem]:
        # drawn row by row, so that a row keeps its noise when others follow
        draws = np.random.default_rng(self._seed + 1).standard_normal((len(seen.arm), 3, SAMPLES)).swapaxes(0, 1)
        draws = draws[:, :, : self.samples.shape[-1]]
        unbounded = np.full_like(seen.at_least, math.nan)
        parts: list[tuple[list[int], Array, Array, Maker]] = [
            ([FIXED, PER_SAMPLE], seen.memory, seen.at_least, _memory),
            ([FLOOR, OVERHEAD, SLOPE], seen.micro_step, unbounded, _micro_step),
            ([OPTIMIZER], seen.optimizer, unbounded, _optimizer),
        ]
        found = []
        for (figures, target, bound, maker), noises in zip(parts, draws, strict=True):
            rows = np.flatnonzero(~np.isnan(target) | ~np.isnan(bound))
            told = {"repeats": seen.repeats[rows][:, None], "error": seen.error[rows][:, None]}
            forward = partial(maker, log_batch=np.log(seen.batch[rows])[:, None], **told)
            found.append(Problem(figures, seen.arm[rows], target[rows], bound[rows], noises[rows], forward))
        return found

    def _inflation(self, problem: Problem) -> float:
        """Return by how much the variance of the prior must grow for it not to be surprised by what was measured."""
        chosen = problem.figures
        if not len(problem.arm):
            return 1.0
        expected = problem.forward(self._prior.mean[chosen][:, problem.arm][:, :, None])
        own = self._prior.covariance[chosen][:, problem.arm, problem.arm]
        variance = (expected.slopes[:, :, 0] ** 2 * own).sum(0) + expected.sd[:, 0] ** 2
        off = problem.target - expected.value[:, 0]
        short = np.maximum(problem.bound - expected.value[:, 0], 0.0)
        surprise = np.where(np.isnan(off), short, off) ** 2 / variance
        return max(1.0, float(surprise.mean()))

    def _fit(self, problem: Problem) -> Array:
        """Fit every sample to its own copy of the rows; return each one's misfit (sum of squared residuals)."""
        chosen, scale = problem.figures, self._inflation(problem)
        start = self._prior.mean[chosen][:, :, None] + math.sqrt(scale) * self._deviation[chosen]
        if not len(problem.arm):
            self.samples[chosen] = start
            return np.zeros(start.shape[-1])
        arms, local = np.unique(problem.arm, return_inverse=True)
        covariance = self._prior.covariance[chosen] * scale
        inner = np.linalg.inv(covariance[:, arms[:, None], arms[None, :]]).astype(np.float64)
        fitted = _gauss_newton(start[:, arms], self.samples[chosen][:, arms], inner, local, problem)
        moved = inner @ (fitted - start[:, arms])
        self.samples[chosen] = start + covariance[:, :, arms] @ moved
        misfits: Array = (problem.residual(problem.forward(fitted[:, local])) ** 2).sum(0)
        return misfits


def _gauss_newton(start: Array, guess: Array, precision: Array, local: Places, problem: Problem) -> Array:
    """Return the fitted figures of the measured arms, (figures, arms, samples).

    Args:
        start: each sample's draw from the prior.
        guess: where to begin: what was fitted to fewer rows.
        precision: inverse covariances of the prior, (figures, arms, arms).
        local: places each row's arm among the measured ones.
        problem: the rows.

    """
    prior = _block_diagonal(precision)
    sums = (local == np.arange(start.shape[1])[:, None]).astype(float)
    fitted = guess.copy()
    active = np.ones(fitted.shape[-1], dtype=bool)
    for _ in range(STEPS):
        x = fitted[:, :, active]
        expected = problem.forward(x[:, local])
        residual = problem.residual(expected, active)
        # a bound that is kept pulls at nothing
        pulls = expected.slopes * (residual != 0) / expected.sd
        pulled = np.stack([sums @ (pull * residual) for pull in pulls])
        gradient = _flat(start[:, :, active] - x) @ prior + _flat(pulled)
        step = np.linalg.solve(prior + _curvature(pulls, sums), gradient[:, :, None])[:, :, 0]
        largest = np.abs(step).max(1)
        step *= np.minimum(1.0, LARGEST_STEP / np.maximum(largest, 1e-12))[:, None]
        fitted[:, :, active] = x + step.T.reshape(x.shape)
        active[active] = largest >= CLOSE
        if not active.any():
            break
    return fitted


def _flat(x: Array) -> Array:
    """Return (samples, figures x arms) of (figures, arms, samples)."""
    return x.reshape(-1, x.shape[-1]).T


def _curvature(pulls: Array, sums: Array) -> Array:
    """Return what the rows add to each sample's Hessian: a row couples the figures of its own arm alone."""
    count, arms, samples = len(pulls), len(sums), pulls.shape[-1]
    whole = np.zeros((samples, count, arms, count, arms))
    diagonal = np.arange(arms)
    for one in range(count):
        for other in range(count):
            whole[:, one, diagonal, other, diagonal] = (sums @ (pulls[one] * pulls[other])).T
    return whole.reshape(samples, count * arms, count * arms)


def _block_diagonal(blocks: Array) -> Array:
    count, size, _ = blocks.shape
    whole = np.zeros((count * size, count * size))
    for index, block in enumerate(blocks):
        part = slice(index * size, (index + 1) * size)
        whole[part, part] = block
    return whole


def _memory(own: Array, log_batch: Array, repeats: Array, error: Array) -> Expected:  # noqa: ARG001 - as of `Maker`
    value = log_memory(own[0], own[1], log_batch)
    share = np.exp(own[1] + log_batch - value)
    sd = np.sqrt(MEMORY_MISFIT**2 + MEMORY_NOISE**2 / repeats)
    return Expected(value, np.stack([1 - share, share]), np.broadcast_to(sd, value.shape))


def _micro_step(own: Array, log_batch: Array, repeats: Array, error: Array) -> Expected:
    floor, overhead, slope = own
    value = log_micro_step(floor, overhead, slope, log_batch)
    affine = np.logaddexp(floor + overhead, slope + log_batch)
    above = np.exp(SHARPNESS * (affine - value))
    of_start = above * np.exp(floor + overhead - affine)
    flat = flatness(value - floor)
    sd = np.sqrt(misfit(flat) ** 2 + noise(flat) ** 2 / repeats + error**2)
    return Expected(value, np.stack([1 - above + of_start, of_start, above - of_start]), sd)


def _optimizer(own: Array, log_batch: Array, repeats: Array, error: Array) -> Expected:  # noqa: ARG001 - as of `Maker`
    value = own[0] + 0 * log_batch
    sd = np.broadcast_to(OPTIMIZER_NOISE / np.sqrt(repeats), value.shape)
    return Expected(value, np.ones((1, *value.shape)), sd)
