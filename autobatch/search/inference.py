"""The inference batch: the fastest in any precision, measured once more in a fresh process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autobatch import attributes
from autobatch.request import Plan
from autobatch.search.budget import Budget, longest_s
from autobatch.search.desk import Desk
from autobatch.search.evaluation import DEADLINE_S, EvalStage, speed
from autobatch.search.facts import Fact
from autobatch.search.judge import Core, fitting
from autobatch.search.samplers import core
from autobatch.search.seams import Observer
from autobatch.settings import EVAL_BATCH, PRECISION, Configuration, Scalar


@dataclass
class InferencePhase:
    """All of a search for the inference batch."""

    desk: Desk
    budget: Budget
    observer: Observer
    candidates: Sequence[Configuration]

    stopped: str = field(default="the inference batch gets no faster", init=False)
    """Why it ended."""

    def run(self, *, confirms: bool) -> Core | None:
        """Return the key of the fastest, confirmed where the time allows; None where none ran."""
        self.observer.stage("eval")
        stage = EvalStage(self.desk, self.budget, "inference")
        arms: dict[Scalar, Configuration] = {}
        for candidate in self.candidates:
            arms.setdefault(candidate[PRECISION], candidate)
        found = [fact for fact in map(stage.run, arms.values()) if fact is not None]
        best = max(found, key=speed, default=None)
        if stage.out_of_time:
            self.stopped = "the budget is used up"
        if best is None:
            return None
        if confirms:
            self.observer.stage("confirm")
            self._confirm(best)
        return core(best.configuration)

    def _confirm(self, best: Fact) -> None:
        """Measure it again; where memory fails that time, the next smaller batch."""
        while (fact := self._unconfirmed(best)) is not None and self.budget.left_s >= fact.verdict.duration_s:
            if self.desk.hindered:
                self.stopped = self.desk.hindered
                break
            may_s = min(longest_s(DEADLINE_S, self.desk.facts), self.budget.left_s)
            plan = Plan(purpose="inference", max_seconds=may_s)
            self.desk.probe(fact.configuration, plan, "confirm", {attributes.WHY: "confirms the fastest that fits"})

    def _unconfirmed(self, best: Fact) -> Fact | None:
        """Return the largest batch up to the best that still counts as fitting; None where it was measured again."""
        seen = fitting(self.desk.facts, core(best.configuration))
        largest = max((fact for fact in seen if _batch(fact) <= _batch(best)), key=_batch, default=None)
        again = {fact.configuration for fact in self.desk.facts if fact.confirms}
        return None if largest is None or largest.configuration in again else largest


def fastest(facts: Sequence[Fact]) -> Core | None:
    """Return the key of the fastest inference that fits, as far as it was measured."""
    found = rates(facts)
    return max(found, key=lambda key: found[key], default=None)


def rates(facts: Sequence[Fact]) -> Mapping[Core, float]:
    """Return the samples/s of the fastest inference that fits, by key."""
    fit = {
        key: fitting(facts, key)
        for key in dict.fromkeys(core(f.configuration) for f in facts if f.purpose == "inference")
    }
    return {key: max(map(speed, seen)) for key, seen in fit.items() if seen}


def _batch(fact: Fact) -> int:
    return int(fact.configuration[EVAL_BATCH])
