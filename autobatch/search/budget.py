"""Wall clock of a search: a ceiling for everything, with the later stages' share held back."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from autobatch.search.facts import Fact

Clock = Callable[[], float]
"""Seconds that only grow: `time.monotonic`, or a simulated clock."""

FIRST_GUESS_S = 15.0
"""Length of a probe before any has been seen."""
CONFIRMATION_COST = 2.0
"""A confirmation times longer and evaluates: it is counted as this many probes."""
EVALUATION_GROWTH = 1.5
"""Twice the eval batch is expected to take this many times as long."""
SLOW = 3.0
"""A probe may take this many times as long as a usual one, where that is more than what a stage allows."""
LARGEST_RESERVE = 0.5
"""The later stages never hold back more than this share of the budget."""


@dataclass
class Budget:
    """Time that a search may take, from the moment this is made."""

    total_s: float
    clock: Clock
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.started

    @property
    def left_s(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self.total_s - self.elapsed_s)

    def reserve_s(self, facts: Sequence[Fact], tuning_probes: int, confirmations: int) -> float:
        """Return the seconds to hold back for the stages to come."""
        probe_s = typical_probe_s(facts)
        return min(LARGEST_RESERVE * self.total_s, probe_s * (tuning_probes + CONFIRMATION_COST * confirmations))


def typical_probe_s(facts: Sequence[Fact]) -> float:
    """Return the median length of the probes that ran, in seconds."""
    lengths = [fact.verdict.duration_s for fact in facts if fact.ok] or [f.verdict.duration_s for f in facts]
    return statistics.median(lengths) if lengths else FIRST_GUESS_S


def longest_s(usual_s: float, facts: Sequence[Fact]) -> float:
    """Return what a probe may take: what its stage usually allows, more where the machine or the model is slow."""
    return max(usual_s, SLOW * typical_probe_s(facts)) if facts else usual_s


def evaluation_s(facts: Sequence[Fact]) -> float:
    """Return the expected length of the next evaluation probe, in seconds."""
    seen = [fact.verdict.duration_s for fact in facts if fact.stage == "eval" and fact.ok]
    return EVALUATION_GROWTH * seen[-1] if seen else typical_probe_s(facts)


def confirmation_s(facts: Sequence[Fact]) -> float:
    """Return the expected length of a confirmation, in seconds: it evaluates as long as the probes that did."""
    seen = [fact.verdict.duration_s for fact in facts if fact.stage == "eval" and fact.ok]
    probe_s = typical_probe_s(facts)
    return CONFIRMATION_COST * probe_s + max(0.0, max(seen, default=0.0) - probe_s)
