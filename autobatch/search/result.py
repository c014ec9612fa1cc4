"""The answer of a search, JSON-ready."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from autobatch.search.choice import Choice
from autobatch.search.facts import Fact


@dataclass(frozen=True)
class Result:
    """What a search came to. `chosen` is None where nothing fits, or nothing was measured."""

    study: str
    chosen: Choice | None
    runner_up: Choice | None
    stopped: str
    """Why it ended, in words."""
    trials: int
    probes: int
    failures: dict[str, int] = field(default_factory=dict)
    failure_hints: dict[str, str] = field(default_factory=dict)
    """By kind: what the first of it said."""
    """Failed probes by kind."""
    remaining_gain: float | None = None
    """Expected gain of the best probe not made, as a share of the throughput; None where the sampler has no model."""
    probe_seconds: float = 0.0
    elapsed_s: float = 0.0
    interrupted: bool = False
    advice: str | None = None
    """Where nothing fits: what would make it fit."""
    own: Choice | None = None
    """What the person trains with now, as it was measured; None where it was not, or did not run."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "study": self.study,
            "chosen": self.chosen.to_dict() if self.chosen else None,
            "runner_up": self.runner_up.to_dict() if self.runner_up else None,
            "stopped": self.stopped,
            "trials": self.trials,
            "probes": self.probes,
            "failures": self.failures,
            "failure_hints": self.failure_hints,
            "remaining_gain": self.remaining_gain,
            "probe_seconds": self.probe_seconds,
            "elapsed_s": self.elapsed_s,
            "interrupted": self.interrupted,
            "advice": self.advice,
            **({"own": self.own.to_dict()} if self.own else {}),
        }


def failure_hints(facts: Sequence[Fact]) -> dict[str, str]:
    """Return what the first failure of each kind said, and where the rest of it is."""
    first: dict[str, Fact] = {}
    for fact in facts:
        if not fact.ok:
            first.setdefault(str(fact.verdict.kind), fact)
    return {kind: f"{fact.verdict.hint} (trial {fact.number})" for kind, fact in first.items()}


def failures(facts: Sequence[Fact]) -> dict[str, int]:
    """Count the failed probes by kind."""
    return dict(Counter(str(fact.verdict.kind) for fact in facts if not fact.ok))
