"""What the posterior says of every candidate: throughput, memory, chance to fit, gain, and seconds to find out."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from autobatch.request import Limits
from autobatch.search import normal, prior
from autobatch.search.budget import FIRST_GUESS_S
from autobatch.search.deviation import Deviation, kin_of
from autobatch.search.earlier import learned
from autobatch.search.eval_memory import likeness, too_large_alike
from autobatch.search.facts import Fact, device_limit, too_large
from autobatch.search.faulty import faults, has_faults
from autobatch.search.judge import Core, failed
from autobatch.search.observing import below_a_step, table, tells
from autobatch.search.posterior import (
    MEMORY_MISFIT,
    Observations,
    Posterior,
    flatness,
    log_memory,
    log_micro_step,
    noise,
)
from autobatch.search.prior import FIXED, FLOOR, OPTIMIZER, OVERHEAD, PER_SAMPLE, SLOPE, Array, PaceOf, Predict
from autobatch.search.samplers import core
from autobatch.settings import MICRO_BATCH, Configuration, SearchSpace

TIMED_STEPS = 10
LONGEST_TIMING_S = 3.0
WARM_STEPS = 2
"""A probe's untimed steps, in which it meets the worst case."""
LARGEST_LOG_GAIN = 5.0
COMPARISONS = 4.0
"""Measurements that tell two rivals apart: probes once more, and a confirmation, which is as good as several."""


class Outlook:
    """Figures of every candidate, in candidates' order, after `learn`."""

    mean: Array
    """Expected log samples/s."""
    log_bytes: Array
    """Expected log bytes of device memory."""
    chance_to_fit: Array
    gain: Array
    """Expected gain in log samples/s of probing it, over the incumbent; with none, over nothing."""
    seconds: Array
    """Expected length of the probe."""
    incumbent: int | None
    """Index of the best that is known to be safe."""

    def __init__(
        self,
        space: SearchSpace,
        candidates: Sequence[Configuration],
        limits: Limits,
        *,
        predict: Predict | None = None,
        pace: PaceOf | None = None,
        earlier: Sequence[Fact] = (),
        seed: int = 0,
    ) -> None:
        self._space = space
        self._limits = limits
        self._candidates = candidates
        self._index = {core(c): i for i, c in enumerate(candidates)}
        arms = list(dict.fromkeys(c.arm for c in candidates))
        self.arm = np.array([arms.index(c.arm) for c in candidates])
        self._kin = kin_of(candidates)
        self.batch = np.array([float(c.micro_batch) for c in candidates])
        samples = [space.effective_batch or c.micro_batch * space.devices for c in candidates]
        self._log_samples = np.log(np.array(samples, dtype=float))
        self._accumulation = np.array([float(c.accumulation) for c in candidates])
        first = [candidates[int(np.argmax(self.arm == i))].replace({MICRO_BATCH: 1}) for i in range(len(arms))]
        before = prior.build(first, _two(self.batch), predict, pace, on_cpu=limits.host_is_device)
        before = learned(before, arms, earlier, seed)
        self._posterior = Posterior(before, seed)
        self._flat = np.ones(len(candidates))
        self._learned: list[int] | None = None

    def learn(self, facts: Sequence[Fact]) -> None:
        """Bring every figure up to date with the facts; nothing is done where none is new."""
        numbers = [fact.number for fact in facts]
        if numbers == self._learned:
            return
        # systems as small as these are solved eight times as slowly by two threads, where the other core is at work
        with _blas().limit(limits=1, user_api="blas"):
            self._learn(facts)
        self._learned = numbers  # last: an interrupt on the way must not pass for learned

    def _learn(self, facts: Sequence[Fact]) -> None:
        known = [fact for fact in facts if core(fact.configuration) in self._index and tells(fact)]
        self._mark(known)
        self._rule_out(facts)
        seen = self._observations(known)
        self._posterior.update(seen)
        stepped = below_a_step(seen, self._memory_of(seen))
        if stepped.any():
            seen = replace(seen, memory=np.where(stepped, math.nan, seen.memory))
            self._posterior.update(seen)
        self._look(seen)
        self._weigh(known)

    def gains_over(self, best: Core) -> Mapping[Core, float]:
        """Return the expected gain over `best` of comparing each candidate with it, as often as may be needed."""
        gains = self._gains(self._index[best], COMPARISONS) @ self._posterior.weights
        return {key: float(gains[index]) for key, index in self._index.items()}

    def gain_of_all(self, candidates: NDArray[np.bool_]) -> float:
        """Return the expected gain if the best of these candidates could be picked: what is left to gain."""
        if self.incumbent is None or not candidates.any():
            return 0.0
        gains = self.chance_to_fit[:, None] * self._gains(self.incumbent)
        return float(gains[candidates].max(0) @ self._posterior.weights)

    def _mark(self, facts: Sequence[Fact]) -> None:
        count = len(self._candidates)
        self.tried = np.zeros(count, dtype=bool)
        self._repeats = np.zeros(count)
        self._fits = np.zeros(count, dtype=bool)
        self._fails = np.zeros(count, dtype=bool)
        odd: list[int] = []
        for fact in facts:
            index = self._index[core(fact.configuration)]
            same = self.arm == self.arm[index]
            self.tried[index] = True
            if too_large(fact, self._space, self._limits):
                self._fails |= same & (self.batch >= self.batch[index])
            elif fact.ok:
                self._fits |= same & (self.batch <= self.batch[index])
                self._repeats[index] += 1
            else:
                odd.append(index)
        # a failure of another kind counts until the same configuration has run
        self._fails[[index for index in odd if not self._repeats[index]]] = True
        self._fits &= ~self._fails
        self.arm_is_measured = np.isin(self.arm, self.arm[self.tried])

    def _rule_out(self, facts: Sequence[Fact]) -> None:
        """Let everything fail that evaluates like what was too large to evaluate, or fails by a setting's fault."""
        alike, unsafe = too_large_alike(facts, self._space), failed(facts, self._space)
        found = faults(facts, self._space)
        self._fails[[self._index[key] for key in unsafe if key in self._index]] = True
        if alike or found:
            out = [likeness(c) in alike or has_faults(c, found) for c in self._candidates]
            self._fails |= np.array(out, dtype=bool)
        self._fits &= ~self._fails

    def _observations(self, facts: Sequence[Fact]) -> Observations:
        groups: dict[int, list[Fact]] = defaultdict(list)
        for fact in facts:
            groups[self._index[core(fact.configuration)]].append(fact)
        self._seen = np.array(list(groups), dtype=int)
        spread = noise(self._flat)
        rows = table(list(groups.values()), self._space, self._limits, lambda key: float(spread[self._index[key]]))
        return Observations(self.arm[self._seen], self.batch[self._seen], *rows)

    def _memory_of(self, seen: Observations) -> Array:
        """Return the log bytes that are expected of the rows."""
        figures = self._posterior.samples[:, seen.arm]
        each = log_memory(figures[FIXED], figures[PER_SAMPLE], np.log(seen.batch)[:, None])
        mean: Array = each @ self._posterior.weights
        return mean

    def _look(self, seen: Observations) -> None:
        figures, weights = self._posterior.samples[:, self.arm], self._posterior.weights
        log_batch = np.log(self.batch)[:, None]
        memory = log_memory(figures[FIXED], figures[PER_SAMPLE], log_batch)
        micro = log_micro_step(figures[FLOOR], figures[OVERHEAD], figures[SLOPE], log_batch)
        self._flat = flatness(micro - figures[FLOOR]) @ weights
        timed = ~np.isnan(seen.micro_step)
        # this machine's next probe will be about as unsteady as those before
        self._unsteady = float(np.median(seen.error[timed])) if timed.any() else 0.0
        measured = self._seen[timed]
        variance = noise(self._flat[measured]) ** 2 / seen.repeats[timed] + seen.error[timed] ** 2
        self._deviation = Deviation(self._kin, self._flat, measured, variance)
        micro = self._deviation.corrected(micro, seen.micro_step[timed])
        optimizer = np.exp(figures[OPTIMIZER])
        step = self._accumulation[:, None] * np.exp(micro) + optimizer
        self._log_throughput = self._log_samples[:, None] - np.log(step)
        self._step = np.exp(micro) + optimizer
        self.mean = self._log_throughput @ weights
        self.log_bytes = memory @ weights
        self.chance_to_fit = np.where(self._fits, 1.0, np.where(self._fails, 0.0, self._chance(memory)))

    def _chance(self, memory: Array) -> Array:
        limit = device_limit(self._limits)
        if limit is None:
            return np.ones(len(memory))
        chance: Array = normal.below((math.log(limit) - memory) / MEMORY_MISFIT) @ self._posterior.weights
        return chance

    def _weigh(self, facts: Sequence[Fact]) -> None:
        safe = [int(i) for i in np.flatnonzero((self._repeats > 0) & ~self._fails)]
        self.incumbent = max(safe, key=lambda i: self.mean[i]) if safe else None
        base_s = [f.verdict.duration_s - float(_steps_s(_step_s(f))) for f in facts if f.ok]
        start_s = statistics.median(base_s) if base_s else FIRST_GUESS_S
        self.seconds = max(start_s, 0.0) + _steps_s(self._step @ self._posterior.weights)
        if self.incumbent is None:
            self.gain = self.chance_to_fit * np.exp(self.mean - self.mean.max())
        else:
            self.gain = self.chance_to_fit * (self._gains(self.incumbent) @ self._posterior.weights)

    def _gains(self, best: int, measurements: float = 1.0) -> Array:
        """Return the gain of measuring each candidate so many times, over `best`: (candidates, samples)."""
        weights = self._posterior.weights
        ahead = self._log_throughput - self._log_throughput[best]
        mean = (ahead @ weights)[:, None]
        own = self._deviation.apart(best)
        variance = (ahead - mean) ** 2 @ weights + own
        # noisy measurements reveal this share of what is open
        share = np.sqrt(variance / (variance + (noise(self._flat) ** 2 + self._unsteady**2) / measurements))
        revealed = mean + share[:, None] * (ahead - mean)
        gains = normal.expected_excess(revealed, (share * np.sqrt(own))[:, None])
        gains[best] = 0.0
        return np.minimum(gains, LARGEST_LOG_GAIN)


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def _two(batch: Array) -> tuple[int, int]:
    low = int(batch.min())
    return low, max(int(batch.max()), low + 1)


def _step_s(fact: Fact) -> Array:
    measured = fact.verdict.measurements
    return np.array((measured.micro_step_s or 0.0) + (measured.optimizer_step_s or 0.0))


def _steps_s(step_s: Array) -> Array:
    """Return how long a probe's steps take, the untimed ones included."""
    return WARM_STEPS * step_s + np.minimum(TIMED_STEPS * step_s, LONGEST_TIMING_S)
