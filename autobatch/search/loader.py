"""DataLoader workers of a configuration: the least that keep the device busy, within host memory."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from autobatch import attributes
from autobatch.request import Limits, Plan
from autobatch.search.budget import Budget, longest_s, typical_probe_s
from autobatch.search.desk import Desk
from autobatch.search.facts import HOST_MEMORY, Fact
from autobatch.settings import WORKERS, Configuration, Scalar
from autobatch.verdict import Measurements

BUSY = 0.02
"""The device is busy where it waits for the loader less than this share of the time."""
WORTH = 0.01
"""More workers that shorten the wait by less are not worth their memory, and short probes cannot tell."""
SLOWER = 0.05
"""A loss of throughput beyond noise: workers whose wait looks short are too few where it comes with them."""
CLEAR = 0.15
"""More than two short probes of one configuration differ by on a busy host: below it, one is not enough to tell."""
MARGIN = 1.1
"""Workers make batches unevenly: they are given this much more than the mean rate asks for."""
LARGEST_STEPS = 3
DEADLINE_S = 120.0


def least_workers(measured: Measurements) -> int | None:
    """Return the least number of workers expected to keep the device busy; None where the loader was not measured."""
    batch_s, step_s = measured.loader_batch_s, measured.micro_step_s
    if batch_s is None or not step_s:
        return None
    if batch_s <= BUSY * step_s:
        return 0
    return math.ceil(MARGIN * batch_s / step_s)


def most_workers(measured: Measurements, workers: int, limits: Limits) -> float:
    """Return how many workers host memory has room for, from what `workers` of them took."""
    each, peak = measured.loader_worker_bytes, measured.host_peak_bytes
    if not each or not peak or limits.host_bytes is None:
        return math.inf
    room = limits.host_bytes * limits.host_fraction - (peak - workers * each)
    return max(0, math.floor(room / each))


def fewest(waits: Mapping[int, float]) -> int:
    """Return the least workers that keep the device busy; where none do, the least that more would not help.

    Args:
        waits: share of the time that the device waits, by workers; not empty.

    """
    floor = min(waits.values())
    enough = max(BUSY, floor + WORTH) if floor <= BUSY else floor + BUSY
    return min(workers for workers, wait in waits.items() if wait <= enough)


@dataclass
class LoaderStage:
    """Predicts the workers, verifies by a probe, and steps by one where the prediction was wrong."""

    desk: Desk
    budget: Budget

    def run(self, fact: Fact) -> int | None:
        """Return the number of workers for a configuration; None where there is nothing to choose or to go by."""
        choices = sorted(int(value) for value in self.desk.space.searched.get(WORKERS, ()))
        wanted = least_workers(fact.verdict.measurements)
        if not choices or wanted is None:
            return None
        same = (f for f in self.desk.facts if f.ok and f.samples_per_s and f.purpose == "probe")
        self._known = {_workers(f): f for f in same if f.configuration == _with(fact, _workers(f))}
        self._measured = {_workers(fact): fact}
        self._most = most_workers(fact.verdict.measurements, _workers(fact), self.desk.limits)
        expected = min((c for c in choices if c >= wanted), default=choices[-1])
        self._climb(fact, choices, expected)
        self._measured = self._known | self._measured
        self._try_none(fact, choices)
        self._doubt(expected)
        return self._least_busy()

    def _try_none(self, fact: Fact, choices: list[int]) -> None:
        """Probe without workers where none is enough and steps are so short that it costs less to make batches here."""
        batch_s, step_s = fact.verdict.measurements.loader_batch_s, fact.verdict.measurements.micro_step_s
        lost = min(self._lost(measured) for measured in self._measured.values())
        if 0 in self._measured or 0 not in choices or not batch_s or not step_s or self._short_of_time():
            return
        if batch_s / (batch_s + step_s) < lost:
            self._probe(fact, 0)

    def _climb(self, fact: Fact, choices: list[int], workers: int) -> None:
        for _ in range(LARGEST_STEPS):
            workers = self._within(choices, workers)
            if workers in self._measured or self._short_of_time():
                return
            seen = self._probe(fact, workers)
            if seen.verdict.kind in HOST_MEMORY:
                self._most = workers - 1
                workers = max((c for c in choices if c < workers), default=workers)
            elif seen.ok and self._lost(seen) > BUSY:
                workers = min((c for c in choices if c > workers), default=workers)
            else:
                return

    def _doubt(self, expected: int) -> None:
        """Measure the number that was expected to be enough again where one probe says, not clearly, that it is not."""
        chosen, seen = self._least_busy(), self._measured.get(expected)
        if seen is None or expected >= chosen or self._short_of_time():
            return
        if self._lost(seen) - self._lost(self._measured[chosen]) > CLEAR:
            return
        same = [f for f in self.desk.facts if f.ok and f.purpose == "probe" and f.configuration == seen.configuration]
        if len(same) < 2:  # noqa: PLR2004 - what an earlier run of the same command has done is not done again
            why = f"are {expected} workers really too few?"
            same = [seen, _probed_now(self.desk, self.budget, seen.configuration, why)]
        self._measured[expected] = _mean([f for f in same if f.ok])

    def _within(self, choices: list[int], workers: int) -> int:
        return max((c for c in choices if c <= min(workers, self._most)), default=choices[0])

    def _probe(self, fact: Fact, workers: int) -> Fact:
        reason = f"{workers} worker{'s' * (workers != 1)} should be the fewest that keep the device busy"
        seen = self._known.get(workers) or _probed(self.desk, self.budget, _with(fact, workers), reason)
        if seen.ok:
            self._measured[workers] = seen
        return seen

    def _short_of_time(self) -> bool:
        return self.budget.left_s < 2 * typical_probe_s(self.desk.facts)

    def _least_busy(self) -> int:
        return fewest({workers: self._lost(fact) for workers, fact in self._measured.items()})

    def _lost(self, fact: Fact) -> float:
        """Return the share of time that waiting costs, or the throughput lost against the fastest, if that is clear.

        Not where the loader's own times say that so many are enough: then it is the steps that took longer, by chance.
        """
        needed = least_workers(fact.verdict.measurements)
        if needed and _workers(fact) >= needed:  # where none are, their times explain nothing
            return _wait(fact)
        fastest = max(other.samples_per_s for other in self._measured.values())
        slower = 1 - fact.samples_per_s / fastest if fastest else 0.0
        return max(_wait(fact), slower if slower > SLOWER else 0.0)


def faster_value(desk: Desk, budget: Budget, fact: Fact, name: str) -> Scalar:
    """Return the value of another of the loader's settings: the fact's own, unless one is faster beyond noise."""
    own = fact.configuration[name]
    measured = {own: fact.samples_per_s}
    for value in desk.space.searched[name]:
        if value in measured or budget.left_s < 2 * typical_probe_s(desk.facts):
            continue
        asked = fact.configuration.replace({name: value})
        seen = _probed(desk, budget, asked, f"is it faster with {name}={value}?")
        measured |= {value: seen.samples_per_s} if seen.ok else {}
    best = max(measured, key=lambda value: measured[value])
    return best if measured[best] > (1 + SLOWER) * measured[own] else own


def _probed(desk: Desk, budget: Budget, asked: Configuration, reason: str) -> Fact:
    """Return what an earlier run of the same command measured of a configuration, or what is measured now."""
    before = next((f for f in desk.facts if f.ok and f.stage == "loader" and f.configuration == asked), None)
    return before or _probed_now(desk, budget, asked, reason)


def _probed_now(desk: Desk, budget: Budget, asked: Configuration, reason: str) -> Fact:
    plan = Plan(max_seconds=min(longest_s(DEADLINE_S, desk.facts), budget.left_s))
    return desk.probe(asked, plan, "loader", {attributes.WHY: reason})


def _mean(same: Sequence[Fact]) -> Fact:
    """Return one fact with the mean throughput and wait of several."""
    first, waits = same[0], statistics.fmean(map(_wait, same))
    speed = statistics.fmean(fact.samples_per_s for fact in same)
    measured = replace(first.verdict.measurements, samples_per_s=speed, loader_wait_fraction=waits)
    return replace(first, verdict=replace(first.verdict, measurements=measured))


def _workers(fact: Fact) -> int:
    return int(fact.configuration[WORKERS])


def _with(fact: Fact, workers: int) -> Configuration:
    return fact.configuration.replace({WORKERS: workers})


def _wait(fact: Fact) -> float:
    return fact.verdict.measurements.loader_wait_fraction or 0.0
