"""The last stage: the best again, longer, in a fresh process; its rivals shortly; the one confirmed best is chosen."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autobatch import attributes
from autobatch.request import Plan, Purpose
from autobatch.search.budget import Budget, longest_s, typical_probe_s
from autobatch.search.desk import Desk
from autobatch.search.eval_memory import likeness, too_large_alike
from autobatch.search.facts import ACCIDENTS, HOST_MEMORY, Fact, too_large
from autobatch.search.judge import Core, Judge, drift, failed, latest, preferred
from autobatch.search.samplers import core
from autobatch.settings import EVAL_BATCH, WORKERS, Configuration, Scalar
from autobatch.verdict import MEMORY_KINDS, Kind

LARGEST_ROUNDS = 6
"""Confirmations and comparisons together."""
LARGEST_ODD_FAILURES = 2
"""Confirmations that fail for no reason of memory, with none that ran, after which the fault is not a setting's."""
SETTINGS_FAULT = MEMORY_KINDS | HOST_MEMORY | {Kind.NUMERICS}
"""Kinds for which another configuration may do."""
DEADLINE_S = 300.0
WHOLE_STEPS = 4
"""Optimizer steps of a confirmation: two that meet the worst case, and those that are timed."""
LEAST_LOSS = 0.02
"""A finalist that turns out too large is stood in for by another this near to it, if there is one."""
LARGEST_LOSS = 0.1
"""By this much must the best be faster than all that was confirmed to be chosen without a confirmation."""


@dataclass
class Confirmation:
    """Confirms finalists one after the other until the best is a confirmed one and no other is worth comparing.

    A rival is compared by a short probe: processes differ more than the steps within one, so that two short ones tell
    more than a long one, and only what is best then need be confirmed.
    """

    desk: Desk
    judge: Judge
    budget: Budget
    tuned: Mapping[str, Scalar]
    """Loader and eval settings for every finalist."""
    tie: float
    candidates: Sequence[Configuration] = ()
    """What may be tried, where a finalist turns out to be too large."""
    lowered: dict[str, Scalar] = field(default_factory=dict, init=False)
    """Of `tuned`: what alone made a finalist fail, as it is now."""
    exhausted: bool = field(default=False, init=False)
    """Whether there were as many rounds as there may be, and each refuted its finalist."""
    _too_large: Fact | None = field(default=None, init=False)
    _compared: frozenset[Core] = field(default=frozenset(), init=False)
    _start: int = field(default=0, init=False)
    """Confirmations of earlier runs."""

    def run(self) -> Core | None:
        """Return the chosen configuration's key; None where nothing is safe, `broken` or `exhausted`.

        And where the first stage should go on without what evaluates like a finalist that was too large.
        """
        self._start = len(self._confirmed())
        for _ in range(LARGEST_ROUNDS):
            finalist, reason = self._to_confirm()
            if self.broken or self.desk.hindered or self.budget.left_s < typical_probe_s(self.desk.facts):
                break
            if finalist is not None and self._is_lucky(finalist):
                self._compared |= {core(finalist)}
                self._probe(finalist, "probe", "compare", "probes once more what is best by a single probe")
            elif finalist is not None:
                if self._rules_out_others(self._confirm(finalist, reason)):
                    return None
            elif not self._compare():
                break
        else:
            own = self._confirmed()[self._start :]  # an accident tells nothing
            refuted = [fact for fact in own if not fact.ok and fact.verdict.kind not in ACCIDENTS]
            self.exhausted = len(refuted) == LARGEST_ROUNDS
        return None if self.broken or self.exhausted else self.chosen()

    @property
    def broken(self) -> str:
        """The kind of failure for which no confirmation runs to its end, which is no setting's fault; empty if none."""
        ended = [fact.verdict.kind for fact in self._confirmed()[self._start :]]
        last = ended[-LARGEST_ODD_FAILURES:]
        odd = not any(kind in SETTINGS_FAULT | ACCIDENTS | {Kind.OK} for kind in last)
        return str(last[-1]) if odd and len(last) == LARGEST_ODD_FAILURES and Kind.OK not in ended else ""

    def _rules_out_others(self, confirmed: Fact) -> bool:
        """Tell whether evaluation was too large for what was confirmed, and so for all that evaluates like it."""
        alike = too_large_alike(self.desk.facts, self.desk.space)
        return confirmed.eval_to_blame and likeness(confirmed.configuration) in alike

    def _smaller(self) -> Configuration | None:
        """Return the next smaller micro-batch of a finalist that was too large, unless another is about as fast."""
        over, self._too_large = self._too_large, None
        if over is None:
            return None
        facts = self.desk.facts
        lost = max(
            (f.unhindered_per_s for f in facts if core(f.configuration) == core(over.configuration)), default=0.0
        )
        if max(self.judge.scores(facts).values(), default=0.0) >= (1 - LEAST_LOSS) * lost:
            return None
        same = [c for c in self.candidates if c.arm == over.configuration.arm]
        known = failed(facts, self.desk.space) | self._settled()
        below = [c for c in same if c.micro_batch < over.configuration.micro_batch and core(c) not in known]
        return max(below, key=lambda c: c.micro_batch, default=None)

    def chosen(self) -> Core | None:
        """Return the best confirmed one's key, as things stand; where none is, the best's."""
        scores = self.judge.scores(self.desk.facts)
        ran = {core(fact.configuration) for fact in self._confirmed() if fact.ok}
        confirmed = {key: score for key, score in scores.items() if key in ran}
        # an earlier run may have confirmed what this one found to be far from the best, or a confirmation refuted it
        worth = max((min(score, self._confirmed_rate(key)) for key, score in confirmed.items()), default=0.0)
        far = worth < (1 - LARGEST_LOSS) * max(scores.values(), default=0.0)
        return preferred(scores if far else confirmed, self.desk.facts, self.tie)

    def _confirmed_rate(self, key: Core) -> float:
        """Return the throughput that its confirmations came to: what made it a finalist may have been luck."""
        facts = self.desk.facts
        apart = math.exp(drift(facts, lambda fact: fact.unhindered_per_s if fact.ok else None))
        own = [f.unhindered_per_s for f in self._confirmed() if f.ok and core(f.configuration) == key]
        return statistics.fmean(own) / apart

    def _to_confirm(self) -> tuple[Configuration | None, str]:
        lowered = self._lowered()
        if lowered is not None:
            return lowered, "confirms with less of what alone needed too much"
        smaller = self._smaller()
        if smaller is not None:
            return smaller, "confirms the next smaller micro-batch: the best one needs too much"
        best = self._best()
        if best is None or best in self._settled():
            return None, ""
        return self._measured(best), "confirms the best"

    def _is_lucky(self, finalist: Configuration) -> bool:
        """Tell whether a finalist may be best by chance: a single probe says so, and a better one's was no more."""
        key = core(finalist)
        measured = sum(fact.ok and core(fact.configuration) == key for fact in self.desk.facts)
        took_s = [fact.verdict.duration_s for fact in self._confirmed() if fact.ok]
        if measured != 1 or key in self._compared or not took_s:
            return False
        return self.budget.left_s > max(took_s) + typical_probe_s(self.desk.facts)  # and it can be confirmed then

    def _compare(self) -> bool:
        """Probe the best or its rival once more; tell whether there was a rival worth it."""
        facts, best = self.desk.facts, self._best()
        rival = None if best is None else self.judge.contender(facts, best, self._settled() | self._compared)
        if best is None or rival is None:
            return False
        self._compared |= {rival}
        # both decide the comparison: the one measured less often tells more
        times = Counter(core(fact.configuration) for fact in facts if fact.ok)
        measured = self._measured(min(rival, best, key=lambda key: times[key]))
        if measured is not None:
            self._probe(measured, "probe", "compare", "compares the best with its rival")
        return measured is not None

    def _best(self) -> Core | None:
        return preferred(self.judge.scores(self.desk.facts), self.desk.facts, self.tie)

    def _measured(self, key: Core) -> Configuration | None:
        fact = latest(self.desk.facts, key)
        return fact.configuration if fact else None

    def _settled(self) -> frozenset[Core]:
        return frozenset(core(fact.configuration) for fact in self._confirmed() if not self._lower(fact))

    def _confirmed(self) -> list[Fact]:
        return [fact for fact in self.desk.facts if fact.purpose == "confirm"]

    def _confirm(self, finalist: Configuration, reason: str) -> Fact:
        confirmed = self._probe(finalist, "confirm", "confirm", reason)
        if too_large(confirmed, self.desk.space, self.desk.limits) and not confirmed.eval_to_blame:
            self._too_large = confirmed
        return confirmed

    def _probe(self, configuration: Configuration, purpose: Purpose, stage: str, reason: str) -> Fact:
        plan = Plan(purpose=purpose, max_seconds=min(self._may_s(configuration), self.budget.left_s))
        return self.desk.probe(configuration.replace(self.tuned), plan, stage, {attributes.WHY: reason})

    def _may_s(self, configuration: Configuration) -> float:
        """Return what a confirmation may take: it makes whole optimizer steps, which a short probe does not."""
        fact = latest(self.desk.facts, core(configuration))
        step_s = (fact.verdict.measurements.step_s if fact else None) or 0.0
        return max(longest_s(DEADLINE_S, self.desk.facts), typical_probe_s(self.desk.facts) + WHOLE_STEPS * step_s)

    def _lowered(self) -> Configuration | None:
        """Return what was confirmed last, where a setting of a later stage alone made it fail and can be lowered."""
        last = self._confirmed()[-1:]
        allowed = {core(candidate) for candidate in self.candidates}
        lower = self._lower(last[0]) if last and core(last[0].configuration) in allowed else {}
        # evaluation and the loader are made to fit, never the training batch
        self.lowered |= lower
        self.tuned = {**self.tuned, **lower}
        return last[0].configuration if lower else None

    def _lower(self, fact: Fact) -> Mapping[str, Scalar]:
        """Return the setting that alone made a finalist fail at its next lower value; empty where there is none."""
        if fact.eval_to_blame:
            name, most = EVAL_BATCH, int(fact.configuration[EVAL_BATCH]) // 2
        elif fact.verdict.kind in HOST_MEMORY:
            name, most = WORKERS, int(fact.configuration[WORKERS]) - 1
        else:
            return {}
        below = [int(value) for value in self.desk.space.searched.get(name, ()) if int(value) <= most]
        return {name: max(below)} if below else {}
