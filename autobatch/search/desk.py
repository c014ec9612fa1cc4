"""One probe from question to answer: Optuna trial, ledger row, runner, attributes, tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial

from autobatch import attributes
from autobatch.request import Limits, Plan, Runner
from autobatch.search import facts as kept
from autobatch.search.budget import Clock
from autobatch.search.facts import Fact
from autobatch.search.seams import Gate, Ledger, Observer, open_gate
from autobatch.search.study import distributions, parameters
from autobatch.search.telling import tell
from autobatch.settings import Configuration, SearchSpace
from autobatch.verdict import ENDED_BY, Kind, Verdict

LARGEST_REPEATS = 3
"""A disturbed measurement is made again this often at most."""
SHORTEST_S = 1.0
LARGEST_SPOILT = 3
"""Probes in a row that were disturbed as often as they were made, after which there is no use in more."""


def no_end() -> float:
    """Return the seconds left where nobody counts them."""
    return math.inf


class Pinned(BaseSampler):
    """Proposes the one set of parameters it was given."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = parameters

    def infer_relative_search_space(
        self,
        study: optuna.Study,  # noqa: ARG002 - the sampler's interface
        trial: FrozenTrial,  # noqa: ARG002 - the sampler's interface
    ) -> dict[str, BaseDistribution]:
        """Return nothing: every parameter is given one by one."""
        return {}

    def sample_relative(
        self,
        study: optuna.Study,  # noqa: ARG002 - the sampler's interface
        trial: FrozenTrial,  # noqa: ARG002 - the sampler's interface
        search_space: dict[str, BaseDistribution],  # noqa: ARG002 - the sampler's interface
    ) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,  # noqa: ARG002 - the sampler's interface
        trial: FrozenTrial,  # noqa: ARG002 - the sampler's interface
        param_name: str,
        param_distribution: BaseDistribution,  # noqa: ARG002 - the sampler's interface
    ) -> Any:  # noqa: ANN401 - a parameter may be of any type
        """Return the given value."""
        return self._parameters[param_name]


@dataclass
class Desk:
    """Runs probes of one study and keeps their facts."""

    study: optuna.Study
    space: SearchSpace
    runner: Runner
    ledger: Ledger
    limits: Limits
    observer: Observer
    gate: Gate = open_gate
    left_s: Clock = no_end
    """Seconds left, which a repeat is held to."""
    facts: list[Fact] = field(default_factory=list)
    probes: int = 0
    probe_seconds: float = 0.0
    spoilt: int = 0
    """Probes one after the other that were disturbed each time they were made."""

    def probe(
        self,
        configuration: Configuration,
        plan: Plan,
        stage: str,
        why: Mapping[str, Any],
        *,
        carried: float | None = None,
    ) -> Fact:
        """Probe a configuration; a measurement that another process disturbed is made again.

        Args:
            configuration: what to probe.
            plan: how.
            stage: search, loader, eval, confirm or compare.
            why: the reason, kept with the trial.
            carried: the trial's value where the probe itself measures no training throughput.

        Raises:
            KeyboardInterrupt: the trial is failed and its ledger row closed before it goes on.

        """
        for _ in range(LARGEST_REPEATS):
            self.gate()
            fact = self._once(self._ask(configuration), configuration, plan, stage, why, carried=carried)
            plan = self._within(plan)
            if fact.verdict.kind is not Kind.DISTURBED or plan.max_seconds < fact.verdict.duration_s:
                break
        self.spoilt = self.spoilt + 1 if fact.verdict.kind is Kind.DISTURBED else 0
        return fact

    @property
    def hindered(self) -> str:
        """Why nothing more can be measured here; empty as long as something can."""
        return "another process disturbs every measurement" if self.spoilt >= LARGEST_SPOILT else ""

    def propose(self) -> Trial:
        """Ask the study's own sampler."""
        self.gate()
        return self.study.ask(distributions(self.space))

    def run(self, trial: Trial, configuration: Configuration, plan: Plan, why: Mapping[str, Any]) -> Fact:
        """Probe what the study's own sampler proposed."""
        fact = self._once(trial, configuration, plan, "search", why)
        if fact.verdict.kind is Kind.DISTURBED:
            return self.probe(configuration, self._within(plan), "search", why)
        return fact

    def repeat(self, trial: Trial, earlier: Fact) -> None:
        """Answer a proposal that was measured before with the same measurement, at no cost."""
        verdict = replace(earlier.verdict, duration_s=0.0)
        reason = f"proposed again: measured in trial {earlier.number}"
        kept.write_why(trial, {attributes.WHY: reason, attributes.REPEATS: earlier.number})
        tell(trial, replace(earlier, number=trial.number, verdict=verdict), self.limits)

    def reject(self, trial: Trial, reason: str) -> None:
        """Close a proposal that cannot be tried as infeasible, so that its sampler learns to leave it."""
        kept.write_why(trial, {attributes.WHY: reason})
        kept.write_constraint(trial, kept.UNKNOWN_OVERSHOOT)
        self.study.tell(trial, 0.0)

    def _within(self, plan: Plan) -> Plan:
        return replace(plan, max_seconds=max(SHORTEST_S, min(plan.max_seconds, self.left_s())))

    def _ask(self, configuration: Configuration) -> Trial:
        usual = self.study.sampler
        self.study.sampler = Pinned(parameters(configuration, self.space))
        try:
            return self.study.ask(distributions(self.space))
        finally:
            self.study.sampler = usual

    def _once(
        self,
        trial: Trial,
        configuration: Configuration,
        plan: Plan,
        stage: str,
        why: Mapping[str, Any],
        *,
        carried: float | None = None,
    ) -> Fact:
        kept.write_why(trial, why if carried is None else {**why, attributes.CARRIED: carried})
        entry = self.ledger.begin(self.study.study_name, trial.number, configuration, plan.purpose, stage)
        try:
            self.observer.trial_started(trial.number, configuration, why)
            verdict = _of_all(self.runner.run(configuration, plan, entry), self.space.devices)
        except BaseException as error:
            # the row must not look like a probe that took the machine down with it
            given_up = Verdict(Kind.KILLED, evidence={ENDED_BY: type(error).__name__})
            entry.finish(given_up)
            tell(trial, Fact(trial.number, configuration, stage, plan.purpose, given_up), self.limits)
            raise
        entry.finish(verdict)
        fact = Fact(trial.number, configuration, stage, plan.purpose, verdict)
        self.probes += 1
        self.probe_seconds += verdict.duration_s
        tell(trial, fact, self.limits)
        if verdict.kind is not Kind.DISTURBED:
            self.facts.append(fact)
        self.observer.trial_finished(trial.number, configuration, verdict)
        return fact


def _of_all(verdict: Verdict, devices: int) -> Verdict:
    """Return the verdict with the throughput of all data-parallel devices: a probe runs on one of them."""
    seen = verdict.measurements
    if devices == 1 or not seen.samples_per_s:
        return verdict
    tokens = seen.tokens_per_s * devices if seen.tokens_per_s else None
    measured = replace(seen, samples_per_s=seen.samples_per_s * devices, tokens_per_s=tokens)
    return replace(verdict, measurements=measured)
