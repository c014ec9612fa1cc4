"""The first stage: arm and micro-batch, probe by probe, until the time or what is left to gain runs out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from optuna.samplers import BaseSampler

from autobatch import attributes
from autobatch.request import Plan
from autobatch.search.budget import Budget, longest_s, typical_probe_s
from autobatch.search.desk import Desk
from autobatch.search.eval_memory import evaluable
from autobatch.search.facts import ENDING, HOST_MEMORY, Fact, from_parameters, too_large
from autobatch.search.faulty import faults, has_faults
from autobatch.search.judge import Core, failed
from autobatch.search.samplers import CandidateSampler, Decision, core, holding
from autobatch.settings import EVAL_BATCH, PIN_MEMORY, PREFETCH, SETTINGS, WORKERS, Configuration, Scalar, SearchSpace
from autobatch.verdict import Kind

LATER = (WORKERS, EVAL_BATCH, PREFETCH, PIN_MEMORY)
"""Settings that later stages decide."""
FIRST_WORKERS, FIRST_EVAL_BATCH = 2, 8
LARGEST_FRUITLESS = 5
"""Proposals in a row that cannot be tried, or were tried before, after which a generic sampler has run dry."""
OWN = "first: what the script has now"
LOWERED = "tried again with less of what alone made it fail"
LARGEST_ODD_FAILURES = 3
"""Failures in a row that are not of memory, with no success yet, after which the fault is not a setting's."""
HOPELESS_SHARE = 0.5
TUNING_PROBES = 2
"""Probes that each later stage is expected to take."""
DEADLINE_S = 120.0
FIRST_SHARE = 0.25
"""Of the budget: what a probe may take at most before any has run."""


def outdated(facts: Sequence[Fact], space: SearchSpace) -> list[Fact]:
    """Return probes that were cut short beside one that proved unsafe since, and would not be beside what is safe."""
    unsafe = failed(facts, space)
    safe = (fact.samples_per_s for fact in facts if fact.ok and core(fact.configuration) not in unsafe)
    worth = HOPELESS_SHARE * max(safe, default=0.0)
    return [fact for fact in facts if fact.verdict.kind is Kind.HOPELESS and fact.samples_per_s >= worth]


def initial_settings(space: SearchSpace) -> dict[str, Scalar]:
    """Return the values at which the first stage holds the settings of the later ones."""
    usual: dict[str, Scalar] = {WORKERS: FIRST_WORKERS, EVAL_BATCH: FIRST_EVAL_BATCH}
    held = {name: usual.get(name, SETTINGS[name].default) for name in LATER if name in space.searched}
    return {name: _nearest(space.searched[name], value) for name, value in held.items()}


def _nearest(choices: Sequence[Scalar], usual: Scalar) -> Scalar:
    below = [choice for choice in choices if int(choice) <= int(usual)]
    return max(below, key=int) if below else min(choices, key=int)


@dataclass
class FirstStage:
    """Runs the sampler's proposals; `stopped` says why it ended, `gain` what was still to be expected."""

    desk: Desk
    sampler: BaseSampler
    budget: Budget
    candidates: Sequence[Configuration]
    confirmations: int
    own: Configuration | None = None
    """What a person has now: tried first."""
    stopped: str = ""
    gain: float | None = None
    _fruitless: int = field(default=0, init=False)
    _start: int = field(default=0, init=False)
    _lowered: dict[str, Scalar] = field(default_factory=dict, init=False)

    def run(self) -> None:
        """Probe until there is a reason to stop."""
        self._known = {core(candidate) for candidate in self.candidates}
        self._start, self.stopped = len(self.desk.facts), ""
        if isinstance(self.sampler, CandidateSampler):
            self._resume()
        while not self.stopped:
            self.stopped = self._out_of_time() or self._out_of_luck() or self._step()

    def _resume(self) -> None:
        """Lower again what an earlier run had lowered; it may have ended before it tried with less."""
        own = [fact for fact in self.desk.facts if fact.stage == "search"]
        lowered = [self._lower(fact) for fact in own]
        held_back = bool(own) and core(own[-1].configuration) not in self._known
        if lowered and lowered[-1] and not held_back and not self._out_of_time():
            self._probe(Decision(own[-1].configuration, "goes on", why={attributes.WHY: LOWERED}))

    def _step(self) -> str:
        if self.own is not None and not self.desk.facts and core(self.own) in self._known:
            self._probe(Decision(self.own, "a person's own", why={attributes.WHY: OWN}))
            return ""
        if isinstance(self.sampler, CandidateSampler):
            return self._decided(self.sampler.decide(self.desk.facts))
        return self._proposed()

    def _decided(self, decision: Decision) -> str:
        self.gain = decision.gain
        if decision.configuration is None:
            return decision.reason
        self._probe(decision)
        return ""

    def _probe(self, decision: Decision) -> None:
        assert decision.configuration is not None
        while True:
            configuration = decision.configuration.replace(self._lowered)
            fact = self.desk.probe(configuration, self._plan(), "search", decision.why)
            if not self._lower(fact):
                return

    def _lower(self, fact: Fact) -> bool:
        """Lower the setting of a later stage that alone made the probe fail; tell whether that was possible."""
        kind = fact.verdict.kind
        name = WORKERS if kind in HOST_MEMORY else EVAL_BATCH if kind is Kind.CUDA_OOM_EVAL else None
        if name is None or name not in self.desk.space.searched:
            return False
        now = int(fact.configuration[name])
        lower = [int(v) for v in self.desk.space.searched[name] if int(v) <= now // 2 and int(v) < now]
        if lower:
            self._lowered[name] = max(lower)
        return bool(lower) and self.budget.left_s > 0

    def _proposed(self) -> str:
        trial = self.desk.propose()
        configuration = from_parameters(trial.params, self.desk.space)
        earlier = self._tried().get(core(configuration))
        if core(configuration) not in self._known:
            self.desk.reject(trial, "not in the space: the settings do not go together, or are quarantined")
        elif not evaluable([configuration], self.desk.facts, self.desk.space):
            self.desk.reject(trial, "evaluates like what was too large to evaluate")
        elif has_faults(configuration, faults(self.desk.facts, self.desk.space)):
            self.desk.reject(trial, "has the setting with which training failed by itself each time")
        elif earlier is not None:
            self.desk.repeat(trial, earlier)
        else:
            self._fruitless = 0
            if self._lower(self.desk.run(trial, configuration, self._plan(), {})):
                self._probe(Decision(configuration, "goes on", why={attributes.WHY: LOWERED}))
                self.desk.study.sampler = holding(self.sampler, self._lowered)
            return ""
        self._fruitless += 1
        return self._drawn() if self._fruitless >= LARGEST_FRUITLESS else ""

    def _drawn(self) -> str:
        """Probe a candidate drawn at random, where a generic sampler only repeats itself."""
        tried = self._tried()
        open_ = [candidate for candidate in self.candidates if core(candidate) not in tried]
        found = faults(self.desk.facts, self.desk.space)
        possible = evaluable(open_, self.desk.facts, self.desk.space)
        left = [candidate for candidate in possible if not has_faults(candidate, found)]
        if not left:
            return "every configuration has been tried"
        self._fruitless = 0
        chosen = random.Random(len(tried)).choice(left)  # noqa: S311 - no secret
        self._probe(Decision(chosen, "drawn", why={attributes.WHY: "drawn: the sampler proposes nothing new"}))
        return ""

    def _tried(self) -> dict[Core, Fact]:
        return {core(fact.configuration): fact for fact in self.desk.facts}

    def _plan(self) -> Plan:
        unsafe = failed(self.desk.facts, self.desk.space)
        safe = (fact for fact in self.desk.facts if core(fact.configuration) not in unsafe)
        best = max((fact.samples_per_s for fact in safe), default=0.0)
        # where nothing has run yet, the machine may be a slow one: a large budget then buys long probes
        first_s = max(DEADLINE_S, FIRST_SHARE * self.budget.total_s)
        may_s = longest_s(DEADLINE_S, self.desk.facts) if best else first_s
        return Plan(
            max_seconds=max(1.0, min(may_s, self.budget.left_s)),
            hopeless_samples_per_s=HOPELESS_SHARE * best / self.desk.space.devices if best else None,
        )

    def _out_of_time(self) -> str:
        facts = self.desk.facts
        tuning = TUNING_PROBES * sum(name in self.desk.space.searched for name in LATER)
        # with nothing safe yet there is nothing to tune or to confirm
        unsafe = failed(facts, self.desk.space)
        feasible = any(fact.ok and core(fact.configuration) not in unsafe for fact in facts)
        held = self.budget.reserve_s(facts, tuning, self.confirmations) if feasible else 0.0
        needed = held + typical_probe_s(facts) if facts else 0.0
        if self.budget.left_s > needed:
            return ""
        if isinstance(self.sampler, CandidateSampler):
            self.gain = self.sampler.decide(facts).gain
        return "the budget is used up"

    def _out_of_luck(self) -> str:
        if self.desk.hindered:
            return self.desk.hindered
        last = self.desk.facts[self._start :][-LARGEST_ODD_FAILURES:]
        if last and last[-1].verdict.kind in ENDING:
            return last[-1].verdict.hint
        if any(fact.ok for fact in self.desk.facts):
            return ""
        if last and "fails_alone" in last[-1].verdict.flags:
            return last[-1].verdict.hint
        if len(last) < LARGEST_ODD_FAILURES:
            return ""
        odd = not any(too_large(fact, self.desk.space, self.desk.limits) for fact in last)
        return f"probes fail for another reason than the card's memory: {last[-1].verdict.kind}" if odd else ""
