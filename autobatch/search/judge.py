"""Which of the measured configurations is best, and which others might be: by the figures, or by a model of them."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from autobatch.search.eval_memory import likeness, too_large_alike
from autobatch.search.facts import ACCIDENTS, DEVICE_MEMORY, Fact, training_bytes
from autobatch.search.samplers import core
from autobatch.settings import EVAL_BATCH, WORKERS, Scalar, SearchSpace

Core = tuple[Scalar, ...]
NOISE = 0.02
"""Relative standard deviation of a measured throughput where the device is the bound."""
PROCESS_SD = 0.05
"""The same where launches may be the bound, of one process beside another."""
DRIFT_SD = 0.05
"""By how much all confirmations may differ from short probes, which are made at another time, and for longer."""
LIKE_MEMORY = 0.01
"""Peaks this near to each other are no difference: a confirmation alone shows a little more than a short probe."""


class Judge(Protocol):
    """Scores what was measured."""

    def scores(self, facts: Sequence[Fact]) -> Mapping[Core, float]:
        """Return the expected throughput, samples/s, of every configuration that is known to be safe."""

    def contender(self, facts: Sequence[Fact], best: Core, settled: frozenset[Core]) -> Core | None:
        """Return the configuration, not settled yet, that is most worth comparing with the best; None if none is."""


@dataclass(frozen=True)
class PlainJudge:
    """Believes the figures: the mean of what was measured of a configuration.

    Attributes:
        space: that is searched.
        allowed: what may be chosen and confirmed: nothing that is held back; None for everything.

    """

    space: SearchSpace
    allowed: frozenset[Core] | None = None

    def scores(self, facts: Sequence[Fact]) -> Mapping[Core, float]:
        """Return the mean throughput of every configuration that never failed, were there no wait for the loader."""
        unsafe, apart = failed(facts, self.space), drift(facts, lambda fact: fact.unhindered_per_s if fact.ok else None)
        found: dict[Core, list[float]] = defaultdict(list)
        for fact in facts:
            key = core(fact.configuration)
            # other numbers of workers than it would train with say nothing of what it can do
            may_be = fact.stage != "loader" and (self.allowed is None or key in self.allowed)
            if fact.ok and fact.samples_per_s and may_be and key not in unsafe:
                found[key].append(fact.unhindered_per_s / (math.exp(apart) if fact.purpose == "confirm" else 1.0))
        return {key: statistics.fmean(values) for key, values in found.items()}

    def contender(self, facts: Sequence[Fact], best: Core, settled: frozenset[Core]) -> Core | None:
        """Return the next best within twice the noise of two measurements."""
        scores = self.scores(facts)
        near = scores[best] * (1 - 2 * NOISE * 2**0.5)
        open_ = {key: score for key, score in scores.items() if key not in settled | {best} and score >= near}
        return max(open_, key=lambda key: open_[key], default=None)


def drift(
    facts: Sequence[Fact], figure: Callable[[Fact], float | None], sd: Callable[[Core], float] = lambda _: PROCESS_SD
) -> float:
    """Return by how much the logarithm of a figure differs in confirmations from short probes, whatever was confirmed.

    What both measured tells it: a difference that they have in common makes none of them better or worse.

    Args:
        facts: of all configurations.
        figure: of a fact; None or 0 where it has none.
        sd: standard deviation of one measurement of a configuration, as a share.

    """
    seen: dict[bool, dict[Core, list[float]]] = {True: defaultdict(list), False: defaultdict(list)}
    for fact in facts:
        value = figure(fact)
        if value and fact.stage != "loader":
            seen[fact.purpose == "confirm"][core(fact.configuration)].append(math.log(value))
    told, weight = 0.0, 1 / DRIFT_SD**2
    for key, long in seen[True].items():
        short = seen[False].get(key)
        if short is None:
            continue
        sure = 1 / (sd(key) ** 2 * (1 / len(long) + 1 / len(short)))
        told += sure * (statistics.fmean(long) - statistics.fmean(short))
        weight += sure
    return told / weight


def failed(facts: Sequence[Fact], space: SearchSpace) -> frozenset[Core]:
    """Return what ran out of device memory in training, or too near to it, and what needs more than that.

    And what failed when confirmed last, or evaluates like what was too large then.
    """
    over = (fact for fact in facts if fact.verdict.kind in DEVICE_MEMORY and not fact.eval_to_blame)
    least: dict[tuple[Scalar, ...], float] = {}
    for fact in over:
        if fact.purpose not in {"eval", "inference"}:
            arm = fact.configuration.arm
            least[arm] = min(least.get(arm, math.inf), fact.configuration.micro_batch)
    tried = [fact.configuration for fact in facts]
    too_large = {core(c) for c in tried if c.micro_batch >= least.get(c.arm, math.inf)}
    alike = too_large_alike(facts, space)
    evaluates_too_large = {core(c) for c in tried if alike and likeness(c) in alike}
    return frozenset(too_large | evaluates_too_large | _refuted(facts))


def _refuted(facts: Sequence[Fact]) -> set[Core]:
    """Return what failed when it was confirmed last; what broke off by accident tells nothing and takes nothing back.

    But where evaluation alone failed, a smaller eval batch was on trial then.
    """
    found: dict[Core, Fact] = {}
    for fact in (fact for fact in facts if fact.purpose == "confirm"):
        before = found.get(core(fact.configuration))
        if fact.verdict.kind not in ACCIDENTS or (before is not None and before.eval_to_blame):
            found[core(fact.configuration)] = fact
    return {key for key, fact in found.items() if not fact.ok and fact.verdict.kind not in ACCIDENTS}


def preferred(scores: Mapping[Core, float], facts: Sequence[Fact], tie: float) -> Core | None:
    """Return the best; within `tie` of it: less device memory, then what is confirmed already, then fewer workers."""
    if not scores:
        return None
    best = max(scores.values())
    near = [key for key, score in scores.items() if score >= best * (1 - tie)]
    seen = {core(fact.configuration): fact for fact in facts if fact.ok}
    if tie <= 0 or any(key not in seen for key in near):
        return max(scores, key=lambda key: scores[key])
    most = min(_memory(seen[key]) for key in near) * (1 + LIKE_MEMORY)
    light = [key for key in near if _memory(seen[key]) <= most]
    sure = {core(fact.configuration) for fact in facts if fact.ok and fact.confirms}
    return min(light, key=lambda key: (key not in sure, int(seen[key].configuration[WORKERS]), -scores[key]))


def _memory(fact: Fact) -> float:
    return training_bytes(fact.verdict.measurements) or float("inf")  # what evaluates shows more than what does not


def latest(facts: Sequence[Fact], key: Core) -> Fact | None:
    """Return the last successful fact of a configuration, confirmations before probes."""
    own = [fact for fact in facts if fact.ok and fact.samples_per_s and core(fact.configuration) == key]
    if any(fact.purpose == "inference" for fact in own):
        return max(fitting(facts, key), key=lambda fact: (fact.confirms, fact.samples_per_s), default=None)
    return max(own, key=lambda fact: (fact.confirms, fact.number), default=None)


def fitting(facts: Sequence[Fact], key: Core) -> list[Fact]:
    """Return the inference of a configuration that ran, at smaller batches than any that failed when confirmed."""
    own = [fact for fact in facts if fact.purpose == "inference" and core(fact.configuration) == key]
    failed_again = [f for f in own if f.confirms and not f.ok and f.verdict.kind not in ACCIDENTS]
    too_large = min((int(fact.configuration[EVAL_BATCH]) for fact in failed_again), default=math.inf)
    return [fact for fact in own if fact.samples_per_s and fact.ok and int(fact.configuration[EVAL_BATCH]) < too_large]
