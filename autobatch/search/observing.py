"""From facts to rows that the posterior learns from: one a configuration, what was measured of it averaged."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from autobatch.request import Limits
from autobatch.search.facts import Fact, too_large, training_bytes
from autobatch.search.judge import Core, drift
from autobatch.search.posterior import MEMORY_MISFIT, Observations
from autobatch.search.prior import Array
from autobatch.search.samplers import core
from autobatch.settings import SearchSpace
from autobatch.verdict import Kind

REFUTED = 5 * MEMORY_MISFIT
"""Measured memory this far off its arm's line refutes it: there is a step, and the larger micro-batches tell more."""
LARGEST_MEMORIES = 2
"""So many of such an arm's micro-batches, the largest, are kept."""
WHOLE = frozenset({Kind.OK, Kind.OVER_LIMIT, Kind.HOST_OVER_LIMIT, Kind.HOPELESS, Kind.NUMERICS, Kind.SPILL})
"""Kinds of probes that met their worst case: what others had taken when they ended is no need, only a part of one."""

Row = tuple[float, float, float, float, float, float]
"""Logarithms of memory, of what it is at least, of micro-step and optimizer step (NaN: not known), repeats, error."""


def tells(fact: Fact) -> bool:
    """Tell whether a fact says something of the arm and micro-batch, and not of the later stages' settings."""
    confirmed = fact.purpose == "confirm" and not fact.eval_to_blame
    return fact.stage in {"search", "compare"} or confirmed


def table(groups: Sequence[Sequence[Fact]], space: SearchSpace, limits: Limits, sd: Callable[[Core], float]) -> Array:
    """Return the columns of `Row` for groups of facts, each of one configuration: (6, groups).

    Args:
        groups: not empty each.
        space: that is searched.
        limits: of the machine.
        sd: standard deviation of one measured micro-step of a configuration, as a share.

    """
    every = [fact for group in groups for fact in group]
    apart = drift(every, lambda fact: fact.verdict.measurements.micro_step_s if fact.ok else None, sd)
    rows = [_row(group, apart, space, limits, sd(core(group[0].configuration))) for group in groups]
    return np.array(rows, dtype=float).reshape(len(rows), 6).T


def below_a_step(seen: Observations, expected: Array) -> NDArray[np.bool_]:
    """Tell which measured memory an arm is better without: it is on no line with that of the larger micro-batches.

    Args:
        seen: the rows.
        expected: log bytes of each by its arm's line.

    """
    off = np.abs(seen.memory - expected) > REFUTED
    below = np.zeros(len(off), dtype=bool)
    for arm in np.unique(seen.arm[off]):
        known = np.flatnonzero((seen.arm == arm) & ~np.isnan(seen.memory))
        below[known[np.argsort(seen.batch[known])][:-LARGEST_MEMORIES]] = True
    return below


def _row(group: Sequence[Fact], apart: float, space: SearchSpace, limits: Limits, sd: float) -> Row:
    ended = [fact.verdict for fact in group]
    timed = [fact for fact in group if fact.verdict.measurements.micro_step_s]
    known = [b for v in ended if v.kind in WHOLE and (b := training_bytes(v.measurements))]
    over = any(too_large(fact, space, limits) for fact in group)
    micro_step, repeats, error = _micro_step(timed, apart, sd)
    return (
        _mean_log(known),
        math.log(limits.device_bytes) if over and not known and limits.device_bytes else math.nan,
        micro_step,
        _mean_log([s for f in timed if (s := f.verdict.measurements.optimizer_step_s)]),
        repeats,
        error,
    )


def _micro_step(timed: Sequence[Fact], apart: float, sd: float) -> tuple[float, float, float]:
    """Return the mean log micro-step, measurements in it, and their error; what was measured surely counts for more."""
    if not timed:
        return math.nan, 1.0, 0.0
    logs = [math.log(_micro_step_s(f)) - (apart if f.purpose == "confirm" else 0.0) for f in timed]
    weights = [1 / (sd**2 + fact.time_sd**2) for fact in timed]
    squares = [weight**2 for weight in weights]
    error = math.sqrt(sum(s * f.time_sd**2 for s, f in zip(squares, timed, strict=True))) / sum(weights)
    return statistics.fmean(logs, weights), sum(weights) ** 2 / sum(squares), error


def _mean_log(values: Sequence[float]) -> float:
    return statistics.fmean(math.log(value) for value in values) if values else math.nan


def _micro_step_s(fact: Fact) -> float:
    return fact.verdict.measurements.micro_step_s or 0.0
