"""The eval batch: the smallest after which evaluation gets no faster, within the memory that training leaves."""

from __future__ import annotations

from dataclasses import dataclass, field

from autobatch import attributes
from autobatch.request import Plan, Purpose
from autobatch.search.budget import Budget, confirmation_s, evaluation_s, longest_s
from autobatch.search.desk import Desk
from autobatch.search.facts import Fact, device_limit
from autobatch.search.samplers import core
from autobatch.settings import EVAL_BATCH, SETTINGS, Configuration
from autobatch.workload.spec import Workload

LEAST_GAIN = 0.02
LEAST_SHARE = 0.01
"""Evaluation is not worth a probe where halving its time would shorten the whole training by less than this."""
DEADLINE_S = 180.0


@dataclass
class EvalStage:
    """Climbs the eval batches, doubling, until one gains too little, fails, or is predicted not to fit."""

    desk: Desk
    budget: Budget
    purpose: Purpose = "eval"
    workload: Workload | None = None
    """Whose whole training the gain is held against; None: evaluation is all that matters."""
    out_of_time: bool = field(default=False, init=False)
    """Whether a size was not tried for want of time."""

    def run(self, configuration: Configuration, carried: float | None = None) -> Fact | None:
        """Return the fact of the eval batch to use; None where none ran or there is nothing to choose.

        Args:
            configuration: training settings, which stay as they are.
            carried: samples/s of training, told to the study as the value of these trials.

        """
        best: Fact | None = None
        rungs: list[Fact] = []
        for size in self._ladder(self._first(configuration)):
            if not self._may(rungs, size):
                break
            fact = self._probe(configuration.replace({EVAL_BATCH: size}), carried)
            if not fact.ok:
                break
            rungs.append(fact)
            if best is not None and speed(fact) < (1 + LEAST_GAIN) * speed(best):
                break
            best = fact
            if not self._matters(fact, carried):
                break
        return best or self._descend(configuration, rungs, carried)

    def untried_below(self, configuration: Configuration) -> int | None:
        """Return the next size below the smallest that was too large, or the smallest; None where none was."""
        own = (f for f in self.desk.facts if f.purpose == self.purpose and core(f.configuration) == core(configuration))
        over = min((int(fact.configuration[EVAL_BATCH]) for fact in own if fact.eval_to_blame), default=None)
        sizes = self._sizes()
        return None if over is None else max((size for size in sizes if size < over), default=sizes[0])

    def _descend(self, configuration: Configuration, rungs: list[Fact], carried: float | None) -> Fact | None:
        """Return the largest below the first rung that runs, halving; None where none does."""
        for size in reversed(self._ladder(1)):
            if size < self._first(configuration) and self._may(rungs, size):
                fact = self._probe(configuration.replace({EVAL_BATCH: size}), carried)
                if fact.ok:
                    return fact
        return None

    def _first(self, configuration: Configuration) -> int:
        """Return where to begin: evaluation without generation keeps less than training at the same batch."""
        if self.purpose != "eval":
            return 1
        generates = self.workload is None or self.workload.generation is not None
        wanted = max(int(configuration[EVAL_BATCH]), 1 if generates else configuration.micro_batch)
        sizes = self._sizes()
        return max((size for size in sizes if size <= wanted), default=sizes[0])

    def _sizes(self) -> list[int]:
        space = self.desk.space
        held = space.fixed.get(EVAL_BATCH, SETTINGS[EVAL_BATCH].default)
        return sorted(int(size) for size in space.searched.get(EVAL_BATCH, (held,)))

    def _matters(self, fact: Fact, carried: float | None) -> bool:
        """Tell whether twice the evaluation speed would shorten the whole training, evaluated once an epoch."""
        if self.workload is None or not carried or not speed(fact):
            return True
        evaluation_s = self.workload.eval_samples / speed(fact)
        return evaluation_s / 2 >= LEAST_SHARE * (self.workload.train_samples / carried + evaluation_s)

    def _ladder(self, first: int) -> list[int]:
        """Return the sizes to climb from the first, doubling."""
        ladder: list[int] = []
        for size in self._sizes():
            if size >= first and (not ladder or size >= 2 * ladder[-1]):
                ladder.append(size)
        return ladder

    def _may(self, rungs: list[Fact], size: int) -> bool:
        if self._time_s() < evaluation_s(self.desk.facts):
            self.out_of_time = True
            return False
        limit = device_limit(self.desk.limits)
        peaks = [(int(f.configuration[EVAL_BATCH]), f.verdict.measurements.eval_device_peak_used_bytes) for f in rungs]
        known = [(batch, peak) for batch, peak in peaks if peak]
        if limit is None or not known:
            return True
        (batch, peak), (lower, base) = known[-1], known[-2] if len(known) > 1 else (0, 0)
        per_sample = (peak - base) / (batch - lower) if base else 0.0
        return peak + per_sample * (size - batch) <= limit

    def _time_s(self) -> float:
        """Return the seconds left, those for a confirmation held back."""
        return self.budget.left_s - (confirmation_s(self.desk.facts) if self.desk.facts else 0.0)

    def _probe(self, configuration: Configuration, carried: float | None) -> Fact:
        for earlier in self.desk.facts:
            if earlier.configuration == configuration and earlier.purpose == self.purpose:
                return earlier
        plan = Plan(purpose=self.purpose, max_seconds=min(longest_s(DEADLINE_S, self.desk.facts), self._time_s()))
        why = {attributes.WHY: f"eval batch {configuration[EVAL_BATCH]}: is evaluation faster?"}
        return self.desk.probe(configuration, plan, "eval", why, carried=carried)


def speed(fact: Fact) -> float:
    """Return the measured evaluation throughput, samples/s; 0 where there is none."""
    return fact.verdict.measurements.eval_samples_per_s or 0.0
