"""What a probe's Trainer did and when, and the estimate that follows."""

from __future__ import annotations

import statistics
import time
from collections import deque
from dataclasses import dataclass, field
from math import isfinite

import torch

from autobatch.probe.device import Moment
from autobatch.probe.timing import FEWEST_TIMED, Estimate, estimate

LEAST_SHARE = 0.1
"""Share of a micro-step and the optimizer's step that stays the former's, should the latter's usual time be longer."""


@dataclass(frozen=True)
class Fetch:
    """The loader's making of a step's micro-batches."""

    begun: float
    ended: float
    busy_until: Moment
    """When the device was done with what it had been given before."""

    @property
    def wait_s(self) -> float:
        """Seconds in which the device had nothing else to do."""
        return max(0.0, self.ended - max(self.begun, self.busy_until() or 0.0))


@dataclass(frozen=True)
class _MicroStep:
    """One that the device may be at still, and what its time will hold beside forward and backward."""

    end: Moment
    cost: float
    fetch: Fetch | None
    """None where it is not the first of its step."""
    holds_optimizer: bool
    excluded_s: float


@dataclass
class Recorder:
    """Moments of a training run. Times are seconds of `time.perf_counter`.

    A micro-step is the time from the end of the one before it, so that everything the Trainer does in between counts.
    For how long the device waited for the loader before the first micro-step of a step, and what the optimizer took
    before that, is kept apart.

    Attributes:
        costs: of every micro-batch to come, in order; those beyond cost as expected.
        expected_cost: mean over the epoch.

    """

    costs: tuple[float, ...]
    expected_cost: float
    micro_steps: list[float] = field(default_factory=list)
    micro_costs: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    optimizer_steps: list[float] = field(default_factory=list)
    losses: list[torch.Tensor | float] = field(default_factory=list)
    first_step_end: float | None = None
    timing_since: float | None = None
    evaluation_since: float | None = None
    """When the first evaluation batch, loaded, was begun."""
    _running: deque[_MicroStep] = field(default_factory=deque)
    _done: int = 0
    _last: float = 0.0
    _fetch: Fetch | None = None
    _optimizer_within: bool = False
    _excluded: float = 0.0

    def begin_timing(self) -> None:
        """Leave out everything so far; the device is done with it."""
        self._settle()
        for times in (self.micro_steps, self.micro_costs, self.waits):
            times.clear()
        self._last = self.timing_since = time.perf_counter()
        self._excluded = 0.0

    def fetched(self, fetch: Fetch) -> None:
        """Note when the loader made all micro-batches of a step."""
        self._fetch = fetch

    def micro_step(self, end: Moment, loss: torch.Tensor | None = None) -> None:
        """Note that forward and backward of a micro-batch end at a moment of the device, which may be still to come."""
        cost = self.costs[self._done] if self._done < len(self.costs) else self.expected_cost
        self._running.append(_MicroStep(end, cost, self._fetch, self._optimizer_within, self._excluded))
        self._fetch, self._optimizer_within, self._excluded = None, True, 0.0
        if loss is not None:
            # a tensor kept on the host pins the heap between the large blocks around it: it grew by 4 MiB each
            self.losses.append(loss if loss.is_cuda else float(loss))
        self._done += 1
        self._settle()

    def _settle(self) -> None:
        """Take the times of the micro-steps that the device is done with."""
        while self._running and (at := self._running[0].end()) is not None:
            done = self._running.popleft()
            seconds = at - self._last - done.excluded_s
            if done.fetch is not None:
                seconds -= done.fetch.wait_s
                self.waits.append(done.fetch.wait_s)
                if done.holds_optimizer:
                    seconds = max(seconds - self.optimizer_step_s, LEAST_SHARE * seconds)
            self.micro_steps.append(seconds)
            self.micro_costs.append(done.cost)
            self._last = at

    def optimizer_step(self) -> None:
        """Note that the optimizer's step is done on the device, where we waited for it."""
        self._settle()
        now = time.perf_counter()
        self.optimizer_steps.append(now - self._last)
        self._last = now
        self._optimizer_within = False

    def exclude(self, seconds: float) -> None:
        """Leave seconds that only the probe spends out of the micro-step that has begun."""
        self._excluded += seconds

    def evaluation_step(self) -> None:
        """Note that an evaluation batch is begun."""
        if self.evaluation_since is None:
            self.evaluation_since = time.perf_counter()

    @property
    def optimizer_step_s(self) -> float:
        """Median seconds of clip, step and zero_grad; the first, which allocates the state, is left out."""
        later = self.optimizer_steps[1:] or self.optimizer_steps
        return statistics.median(later) if later else 0.0

    @property
    def wait_s(self) -> float:
        """Mean seconds that a step waited for the loader."""
        return statistics.fmean(self.waits) if self.waits else 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since timing began."""
        return 0.0 if self.timing_since is None else time.perf_counter() - self.timing_since

    def estimate(self) -> Estimate | None:
        """Return the estimate of a micro-step; None while there are too few."""
        self._settle()
        if self.timing_since is None or len(self.micro_steps) < FEWEST_TIMED:
            return None
        return estimate(self.micro_steps, self.micro_costs, self.expected_cost)

    def loss(self) -> float | None:
        """Return the last loss, or the first that was not finite."""
        if not self.losses:
            return None
        values = [float(loss) for loss in self.losses]
        return next((value for value in values if not isfinite(value)), values[-1])
