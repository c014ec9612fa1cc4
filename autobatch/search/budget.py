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
