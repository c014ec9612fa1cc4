"""The last stage: the finalists again, longer, in fresh processes; the one confirmed best is chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from autobatch import attributes
from autobatch.request import Plan
from autobatch.search.budget import Budget, typical_probe_s
from autobatch.search.desk import Desk
from autobatch.search.facts import Fact
from autobatch.search.judge import Core, Judge, latest, preferred
from autobatch.search.samplers import core
from autobatch.settings import EVAL_BATCH, Scalar
from autobatch.verdict import Kind

LARGEST_CONFIRMATIONS = 6
DEADLINE_S = 300.0


@dataclass
class Confirmation:
    """Confirms finalists one after the other until the best is a confirmed one and no other is worth comparing."""

    desk: Desk
    judge: Judge
    budget: Budget
    tuned: Mapping[str, Scalar]
    """Loader and eval settings for every finalist."""
    tie: float

    def run(self) -> Core | None:
        """Return the chosen configuration's key; None where nothing is safe."""
        for _ in range(LARGEST_CONFIRMATIONS):
            finalist, reason = self._next()
            if finalist is None or self.budget.left_s < typical_probe_s(self.desk.facts):
                break
            self._confirm(finalist, reason)
        return self._chosen()

    def _chosen(self) -> Core | None:
        scores = self.judge.scores(self.desk.facts)
        confirmed = {key: score for key, score in scores.items() if key in self._settled()}
        return preferred(confirmed or scores, self.desk.facts, self.tie)

    def _next(self) -> tuple[Core | None, str]:
        facts, settled = self.desk.facts, self._settled()
        best = preferred(self.judge.scores(facts), facts, self.tie)
        if best is None:
            return None, "nothing to confirm"
        if best not in settled:
            return best, "confirms the best"
        rival = self.judge.contender(facts, best, settled)
        if rival is None:
            return None, "no rival is worth it"
        # both decide the comparison: the one measured less often tells more
        times = Counter(core(fact.configuration) for fact in facts if fact.ok)
        return min(rival, best, key=lambda key: times[key]), "compares the best with its rival"

    def _settled(self) -> frozenset[Core]:
        confirmed = (fact for fact in self.desk.facts if fact.purpose == "confirm")
        return frozenset(core(f.configuration) for f in confirmed if f.verdict.kind is not Kind.CUDA_OOM_EVAL)

    def _confirm(self, key: Core, reason: str) -> Fact:
        fact = latest(self.desk.facts, key)
        assert fact is not None
        plan = Plan(purpose="confirm", max_seconds=min(DEADLINE_S, self.budget.left_s))
        configuration = fact.configuration.replace(self.tuned)
        confirmed = self.desk.probe(configuration, plan, "confirm", {attributes.WHY: reason})
        if confirmed.verdict.kind is Kind.CUDA_OOM_EVAL:
            # evaluation is made to fit, never the training batch
            self.tuned = {name: value for name, value in self.tuned.items() if name != EVAL_BATCH}
        return confirmed
