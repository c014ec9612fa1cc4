"""The search itself: three stages over one Optuna study, one seam to whatever runs the probes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

from autobatch import attributes
from autobatch.request import Limits, Runner
from autobatch.search import earlier, speed
from autobatch.search import facts as kept
from autobatch.search.advice import what_would_fit
from autobatch.search.budget import Budget, Clock
from autobatch.search.choice import Choice, choose
from autobatch.search.confirm import Confirmation
from autobatch.search.desk import Desk
from autobatch.search.first_stage import FirstStage, initial_settings, outdated
from autobatch.search.inference import InferencePhase, fastest, rates
from autobatch.search.judge import Core, Judge, PlainJudge, failed
from autobatch.search.prior import PaceOf, Predict
from autobatch.search.quarantine import allowed
from autobatch.search.result import Result, failure_hints, failures
from autobatch.search.samplers import CandidateSampler, core, generic
from autobatch.search.seams import Ended, Gate, Ledger, NullLedger, NullObserver, Observer, open_gate
from autobatch.search.structured import StructuredSampler
from autobatch.search.study import open_study
from autobatch.search.telling import settle
from autobatch.search.tuning import no_larger, tune
from autobatch.settings import ARM_KEYS, Configuration, Scalar, SearchSpace
from autobatch.workload.spec import Workload

THRESHOLD = 0.01
TIE = 0.02
INTERRUPTED = "interrupted"


@dataclass
class Search:
    """One search over one workload on one machine.

    Attributes:
        workload: what must not change.
        space: settings that vary and those that do not.
        runner: runs probes: a GPU, a CPU or a recorded surface.
        storage: Optuna's storage.
        limits: memory that is safe.
        study_name: a study of that name is gone on with.
        budget_s: wall clock for everything, in seconds.
        threshold: the search ends when the best of what is left is expected to gain less than this share.
        tie: within this share of the best, less memory wins; 0 turns it off.
        candidates: arm and micro-batch pairs to choose from; the space's whole grid unless given.
        own: what the person trains with now: tried first, and told in the answer.
        predict: memory prior, `configuration -> (bytes, relative sigma)`; None for none.
        pace: time prior, `configuration -> Pace`; None for none.
        pace_for: `workload -> pace`, to learn of this machine from other models' studies; None for not.
        phase: `train`, or `inference` for the inference batch alone.
        gate: called before each probe; it may wait, or raise `StopSearch`.
        machine: the fingerprint, kept with the study for whoever checks it later.
        confirmations: finalists that time is held back for; 0 leaves the last stage out.
        untold: probes that had ended when a search was killed: their trials are told now, and they are not made again.

    """

    workload: Workload
    space: SearchSpace
    runner: Runner
    storage: BaseStorage
    limits: Limits
    study_name: str = "autobatch"
    ledger: Ledger = field(default_factory=NullLedger)
    sampler_name: str = "structured"
    budget_s: float = 1800.0
    seed: int = 0
    clock: Clock = time.monotonic
    observer: Observer = field(default_factory=NullObserver)
    threshold: float = THRESHOLD
    tie: float = TIE
    candidates: Sequence[Configuration] | None = None
    own: Configuration | None = None
    predict: Predict | None = None
    pace: PaceOf | None = None
    pace_for: speed.PaceFor | None = None
    phase: str = "train"
    machine: Mapping[str, Any] | None = None
    gate: Gate = open_gate
    confirmations: int = 2
    untold: Sequence[Ended] = ()

    def run(self) -> Result:
        """Search to the end, and return the answer.

        Raises:
            UsageError: the study's name belongs to another workload or space, or the sampler is unknown.
            AutobatchError: what the runner or the store raises; what was measured is kept.

        """
        self._budget = Budget(self.budget_s, self.clock)
        study = open_study(self.storage, self.study_name, self.workload, self.space, self.limits)
        settle(study, self.untold, self.limits)
        if self.machine is not None:
            study.set_user_attr(attributes.MACHINE, json.dumps(self.machine, ensure_ascii=False))
        seams = (self.runner, self.ledger, self.limits, self.observer, self.gate)
        self._desk = Desk(study, self.space, *seams, left_s=lambda: self._budget.left_s)
        known = kept.read_all(study, self.space)
        self._desk.facts.extend(fact for fact in known if fact.verdict.kind not in kept.MENDABLE)
        self._sampler = self._make_sampler()
        study.sampler = self._sampler
        result = self._guarded()
        study.set_user_attr(attributes.ANSWER, json.dumps(result.to_dict(), ensure_ascii=False))
        return result

    def _guarded(self) -> Result:
        first = FirstStage(self._desk, self._sampler, self._budget, self._allowed, self.confirmations, self.own)
        self._tuned: Mapping[str, Scalar] = {}
        self._lowered: Mapping[str, Scalar] = {}
        self._forgotten = 0
        self._confirmation: Confirmation | None = None
        chosen: Core | None = None
        interrupted = False
        try:
            chosen = self._stages(first)
        except KeyboardInterrupt:
            interrupted = True
            first.stopped, chosen = INTERRUPTED, self._so_far()
        return self._result(first, chosen, interrupted=interrupted)

    def _stages(self, first: FirstStage) -> Core | None:
        self._desk.gate()  # what it takes until probes can start is gone from the budget before the first is planned
        if self.phase == "inference":
            phase = InferencePhase(self._desk, self._budget, self.observer, self._allowed)
            chosen = phase.run(confirms=self.confirmations > 0)
            first.stopped = phase.stopped
            return chosen
        while True:
            before = self._confirmations()
            chosen = self._round(first)
            # what all finalists turned out to need too much of, others that were not worth a probe may need less of
            known = chosen is not None and not outdated(self._desk.facts, self.space)
            if known or self._confirmations() == before or self._ends():
                return chosen

    def _round(self, first: FirstStage) -> Core | None:
        while True:
            self._forget(outdated(self._desk.facts, self.space))
            self.observer.stage("search")
            first.run()
            best = self._best()
            tuned = tune(self._desk, best, self._budget, self.observer, self.workload)
            self._tuned = no_larger(tuned, self._lowered)
            if best is None or best not in failed(self._desk.facts, self.space):
                break
        if not self.confirmations:
            return self._best()
        self.observer.stage("confirm")
        self._confirmation = self._last_stage()
        chosen = self._confirmation.run()
        self._tuned, self._lowered = self._confirmation.tuned, {**self._lowered, **self._confirmation.lowered}
        if self._broken():
            first.stopped = f"confirmations fail for another reason than memory: {self._broken()}"
        elif self._confirmation.exhausted:
            first.stopped = "confirmations fail one after the other"
        return chosen

    def _forget(self, cut_short: Sequence[kept.Fact]) -> None:
        """Have probes made again."""
        self._forgotten += len(cut_short)
        for fact in cut_short:
            self._desk.facts.remove(fact)

    def _broken(self) -> str:
        return self._confirmation.broken if self._confirmation else ""

    def _ends(self) -> bool:
        """Tell whether there is no use in another round: confirmations fail whatever is confirmed."""
        return bool(self._broken()) or (self._confirmation is not None and self._confirmation.exhausted)

    def _so_far(self) -> Core | None:
        """Return the choice of a search that was interrupted."""
        if self.phase == "inference":
            return fastest(self._desk.facts)
        if not self.confirmations:
            return self._best()
        confirmation = self._confirmation or self._last_stage()
        self._tuned = confirmation.tuned
        return confirmation.chosen()

    def _confirmations(self) -> int:
        return sum(fact.confirms for fact in self._desk.facts)

    def _last_stage(self) -> Confirmation:
        return Confirmation(self._desk, self._judge(), self._budget, self._tuned, self.tie, self._allowed)

    def _judge(self) -> Judge:
        if isinstance(self._sampler, StructuredSampler):
            return self._sampler
        return PlainJudge(self.space, frozenset(core(one) for one in self._allowed))

    def _scores(self) -> Mapping[Core, float]:
        return rates(self._desk.facts) if self.phase == "inference" else self._judge().scores(self._desk.facts)

    def _best(self) -> Core | None:
        scores = self._judge().scores(self._desk.facts)
        return max(scores, key=lambda key: scores[key], default=None)

    def _ready(self, candidate: Configuration) -> Configuration:
        """Return it as the first stage tries it: settings of the later stages at what they are held at."""
        arm = {name: candidate[name] for name in ARM_KEYS}
        return self.space.at({**arm, **initial_settings(self.space)}, candidate.micro_batch)

    def _make_sampler(self) -> BaseSampler:
        held = initial_settings(self.space)
        usual = self.candidates if self.candidates is not None else self.space.grid()
        ready = [self._ready(one) for one in usual]
        self._allowed = allowed(ready, self.ledger.quarantined(self.study_name), self.predict)
        if self.sampler_name == "grid" or not self._allowed:  # where all is held back there is nothing to model
            return CandidateSampler(self.space, self._allowed, self.seed)
        if self.sampler_name == "structured":
            past = earlier.Past(self.storage, self.study_name, self.workload, self.machine)
            return StructuredSampler(
                self.space,
                self._allowed,
                self.limits,
                self.predict,
                speed.corrected(self.pace, self.pace_for, past),
                threshold=self.threshold,
                earlier=earlier.read(past),
                seed=self.seed,
            )
        return generic(self.sampler_name, self.seed, held)

    def _result(self, first: FirstStage, chosen: Core | None, *, interrupted: bool) -> Result:
        facts, choice = self._desk.facts, self._choice(chosen)
        others = {k: v for k, v in self._scores().items() if k != chosen}
        second = max(others, key=lambda key: others[key], default=None)
        return Result(
            study=self.study_name,
            chosen=choice,
            runner_up=self._choice(second),
            own=self._own_choice(),
            stopped=first.stopped,
            trials=len(facts) + self._forgotten,
            probes=self._desk.probes,
            failures=failures(facts),
            failure_hints=failure_hints(facts),
            remaining_gain=first.gain,
            probe_seconds=self._desk.probe_seconds,
            elapsed_s=self._budget.elapsed_s,
            interrupted=interrupted,
            advice=None if choice else what_would_fit(facts, self._sampler, self.space, self.limits),
        )

    def _own_choice(self) -> Choice | None:
        """Return what was measured of the person's own settings, with these workers and no others."""
        own = self.own
        facts = [fact for fact in self._desk.facts if fact.configuration == own]
        return choose(facts, core(own), {}) if own is not None and facts else None

    def _choice(self, key: Core | None) -> Choice | None:
        return None if key is None else choose(self._desk.facts, key, self._tuned)
