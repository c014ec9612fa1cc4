"""From the wall clock of a few micro-steps to the seconds of an optimizer step over a whole epoch."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray

from autobatch.intervals import student_975

_STALL_MADS = 8.0
"""A single micro-step whose residual is more robust deviations out is an accident; more than one are the machine's way,
which a long training meets as often: leaving them out took up to 8 % off the mean on a busy host."""
_MAD_TO_SIGMA = 1.4826
FEWEST_TIMED = 3
"""Micro-steps below which there is no interval."""
FEWEST_WARM = 8
"""Micro-steps below which none is taken for warm-up."""
STRETCHES = 8
"""Of the time, whose means tell whether the machine drifts: on a shared host a slow second is followed by another."""
FEWEST_IN_STRETCH = 4


@dataclass(frozen=True)
class Estimate:
    """Seconds of a mean micro-step, and how sure that is."""

    seconds: float
    half_width_s: float
    """Of the 95 % confidence interval."""
    timed: int

    @property
    def rel_error(self) -> float:
        """Half width relative to the estimate."""
        return self.half_width_s / self.seconds if self.seconds > 0 else float("inf")


def estimate(seconds: list[float], costs: list[float], expected_cost: float) -> Estimate:
    """Estimate the mean micro-step of an epoch from some, by regression of time on the cost of the padded batch.

    The batches timed have another mean cost than the epoch's; the line through them takes that out, and its residuals
    are what is left of doubt, more so where they drift. The slope is held between 0 and proportional. Warm-up and a
    single stall are left out.

    Args:
        seconds: wall clock of each micro-step.
        costs: of its padded batch.
        expected_cost: mean over the epoch.

    Raises:
        ValueError: fewer than `FEWEST_TIMED`.

    """
    if len(seconds) < FEWEST_TIMED:
        message = f"{len(seconds)} micro-steps timed, {FEWEST_TIMED} needed"
        raise ValueError(message)
    y, x = np.asarray(seconds), np.asarray(costs)
    stall = _stall(_residuals(y, x))
    if stall is not None:
        y, x = np.delete(y, stall), np.delete(x, stall)
    warm = _warm_up(_residuals(y, x))
    y, x = y[warm:], x[warm:]
    slope = _slope(y, x)
    at = expected_cost - x.mean()
    value = float(y.mean() + slope * at)
    n = len(y)
    spread = float(((x - x.mean()) ** 2).sum())
    sigma = sqrt(float((_residuals(y, x) ** 2).sum()) / max(1, n - (2 if spread else 1)))
    error = sigma * sqrt(1 / n + (at**2 / spread if spread else 0.0)) * sqrt(_drift(_residuals(y, x)))
    return Estimate(value, student_975(n - 2) * error, n)


def _slope(y: NDArray[np.float64], x: NDArray[np.float64]) -> float:
    spread = ((x - x.mean()) ** 2).sum()
    if spread <= 0:
        return 0.0
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / spread)
    return min(max(slope, 0.0), float(y.mean() / x.mean()))


def _residuals(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(y - y.mean() - _slope(y, x) * (x - x.mean()))


def _stall(residuals: NDArray[np.float64]) -> int | None:
    """Return the one that is far out; None where there is none, or more than one."""
    centred = residuals - np.median(residuals)
    sigma = _MAD_TO_SIGMA * float(np.median(np.abs(centred)))
    found = np.flatnonzero(centred > _STALL_MADS * sigma)
    return int(found[0]) if sigma and len(found) == 1 else None


def _warm_up(residuals: NDArray[np.float64]) -> int:
    """Return how many of the first are slow because the process is new: without them the mean is known best.

    That is the marginal standard error rule (White, 1997), for at most the first half.
    """
    count = len(residuals)
    if count < FEWEST_WARM:
        return 0
    first = np.arange(count // 2 + 1)
    rest = count - first
    sums, squares = (np.concatenate([[0.0], np.cumsum(values)]) for values in (residuals, residuals**2))
    mean = (sums[-1] - sums[first]) / rest
    error = ((squares[-1] - squares[first]) / rest - mean**2) / rest
    slow = sums[first] > mean * first
    return int(np.argmin(np.where((first == 0) | slow, error, np.inf)))


def _drift(residuals: NDArray[np.float64]) -> float:
    """Return by what the variance of the mean exceeds that of as many independent residuals (batch means); 1 at least.

    Source: Law, Simulation Modeling and Analysis, 9.5.3.
    """
    size = len(residuals) // STRETCHES
    if size < FEWEST_IN_STRETCH:
        return 1.0
    means = residuals[-size * STRETCHES :].reshape(STRETCHES, size).mean(axis=1)
    each = float(residuals.var(ddof=1))
    return max(1.0, size * float(means.var(ddof=1)) / each) if each else 1.0


@dataclass(frozen=True)
class Rule:
    """When timing has gone on for long enough.

    It ends when the 95 % interval's half width is below `precision` of the estimate, but not before `fewest`
    micro-steps and `shortest_s`; from `longest_s` on `tolerance` will do; and at the latest where another micro-step
    would end after `patience_s`.
    """

    precision: float
    shortest_s: float
    longest_s: float
    tolerance: float = inf
    patience_s: float = inf
    fewest: int = 5

    def enough(self, current: Estimate, elapsed_s: float) -> bool:
        """Tell whether to stop."""
        then_s = elapsed_s + current.seconds
        if then_s > self.longest_s:
            return current.rel_error <= self.tolerance or then_s > self.patience_s
        settled = current.timed >= self.fewest and elapsed_s >= self.shortest_s
        return settled and current.rel_error <= self.precision


def starvation_s(accumulation: int, workers: int, prefetch: int, batch_s: float, compute_s: float) -> float:
    """Return the seconds per optimizer step for which the device waits for the DataLoader.

    The Trainer takes all micro-batches of a step from the loader before it computes the first. Workers keep at most
    `workers x prefetch` ready while the device computes; the others are made while it waits.

    Args:
        accumulation: micro-batches in a step.
        workers: processes; 0 makes them in the training process.
        prefetch: micro-batches each of them keeps ready.
        batch_s: seconds that one worker needs for one.
        compute_s: seconds that the device computes in a step.

    """
    if workers == 0:
        return accumulation * batch_s
    ready = min(workers * prefetch, compute_s * workers / batch_s if batch_s else accumulation)
    return max(0.0, accumulation - ready) * batch_s / workers
