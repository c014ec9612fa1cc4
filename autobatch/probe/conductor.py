"""Leads a probe's training through its parts: the worst case, an evaluation, typical steps."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from autobatch.probe.collate import LoaderClock
from autobatch.probe.device import Meter, Peak
from autobatch.probe.order import WORST_STEPS
from autobatch.probe.outcome import Progress
from autobatch.probe.recorder import Recorder
from autobatch.probe.sampler import ProbeSampler
from autobatch.probe.timing import Rule

WARM_UP_STEPS = 1
"""Typical steps in which the optimizer's is measured by itself; the worst case has warmed up most already."""
WARM_UP_S = 4.0
"""Of typical micro-steps, after which they are timed in any case."""
READY_WAIT, READY_SHARE = 0.05, 0.8
"""A loader is ready in time if the device waited less than this share for it, and its workers, all together, need less
than that share of a micro-step to make one. Otherwise what has come is not repeated: it is read faster when it is read
again."""
LOOK_EVERY_S = 0.1
"""Seconds of timing between looks at the estimate, which cost time themselves."""
CARD_EVERY_S = 5.0
"""The same for the card: the driver takes up to 25 ms to answer, and the launches after them are slower."""
_BEYOND_DOUBT = 2.0
"""A probe is hopeless when even so many half widths of the 95 % interval do not bring it to the threshold."""


@dataclass(frozen=True)
class Parts:
    """What a probe does.

    Attributes:
        evaluates: an evaluation while the optimizer's state is resident.
        times: typical steps, timed.
        warm_up: typical micro-steps before that, unless they take longer than `WARM_UP_S`.
        repeats: most of those timed have come before, as in a long training, where the loader is ready in time.
        workers: of the loader.
        ends_longest: the longest micro-batch once more, after typical ones: an allocator that has served many lengths,
            CUDA's or the host's, fits a longer one less well than at the start.
        rule: when timing ends.
        deadline: `time.monotonic()` at which timing ends in any case.
        hopeless_micro_s: micro-step beyond which the configuration is not worth more time; None for no such.
        safe_share: of the device's memory; where evaluation takes more, nothing is timed. None: it is all the same.

    """

    evaluates: bool
    times: bool
    warm_up: int
    repeats: bool
    workers: int
    ends_longest: bool
    rule: Rule
    deadline: float
    hopeless_micro_s: float | None = None
    safe_share: float | None = None


@dataclass
class Conductor(TrainerCallback):  # type: ignore[misc] # transformers is not typed
    """The Trainer's callback that changes parts, reads the meter between them and ends the training."""

    parts: Parts
    recorder: Recorder
    meter: Meter
    progress: Progress
    sampler: ProbeSampler
    clock: LoaderClock
    train_peak: Peak | None = None
    eval_peak: Peak | None = None
    eval_batches: list[float] = field(default_factory=list)
    """End of every evaluation batch, s."""
    hopeless: bool = False
    utilizations: list[float] = field(default_factory=list)
    energy_j: float | None = None
    """Used while steps were timed."""
    _energy_before_j: float | None = None
    _typical_since: float = 0.0
    _warmed: int = 0
    _looked: float = 0.0
    _asked: float = 0.0

    @property
    def finds_peak_again(self) -> bool:
        """Whether the longest micro-batch must be tried once more."""
        return self.parts.ends_longest and not (self.hopeless or self.evaluates_too_large)

    @property
    def evaluates_too_large(self) -> bool:
        """Whether evaluation took more memory than is safe, where that ends the probe."""
        if self.parts.safe_share is None or self.eval_peak is None:
            return False
        return self.eval_peak.used > self.parts.safe_share * self.meter.total_bytes

    def on_train_begin(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - as the library calls it
        """Begin the worst case."""
        self.meter.reset()
        self.progress.enter("worst_case")

    def on_substep_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 - as the library calls it
        state: TrainerState,
        control: TrainerControl,
        **_: Any,  # noqa: ANN401 - as the library calls it
    ) -> None:
        """Show that it moves; where gradients accumulate, timing may begin and end after any micro-step."""
        begun = time.perf_counter()
        self.progress.beat()
        if state.global_step >= WORST_STEPS:
            self._go_on_timing(control)
        self._exclude_since(begun)

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 - as the library calls it
        state: TrainerState,
        control: TrainerControl,
        **_: Any,  # noqa: ANN401 - as the library calls it
    ) -> None:
        """Go on to the next part where this one is over."""
        if self.recorder.timing_since is None or state.global_step <= WORST_STEPS + WARM_UP_STEPS:
            self.meter.synchronize()
            self.recorder.optimizer_step()
        begun = time.perf_counter()
        self.progress.beat()
        self._go_on(state, control)
        self._exclude_since(begun)

    def _exclude_since(self, begun: float) -> None:
        self.recorder.exclude(time.perf_counter() - max(begun, self.recorder.timing_since or begun))

    def _go_on(self, state: TrainerState, control: TrainerControl) -> None:
        if state.global_step == 1:
            self.recorder.first_step_end = time.perf_counter()
        if state.global_step == WORST_STEPS:
            self._end_worst_case(control)
        elif state.global_step > WORST_STEPS:
            self._go_on_timing(control)

    def _go_on_timing(self, control: TrainerControl) -> None:
        if self.recorder.timing_since is not None:
            control.should_training_stop |= self._timed_enough()
        elif self._is_warm():
            self._begin_timing()

    def _is_warm(self) -> bool:
        self._warmed += 1
        return self._warmed >= self.parts.warm_up or time.monotonic() - self._typical_since >= WARM_UP_S

    def on_train_end(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - as the library calls it
        """Read what the timed steps took."""
        self._note_utilization()
        energy = self.meter.energy_j()
        if energy is not None and self._energy_before_j is not None:
            self.energy_j = energy - self._energy_before_j

    def _begin_timing(self) -> None:
        self.meter.synchronize()
        self._asked = time.monotonic()
        self._energy_before_j = self.meter.energy_j()
        if self.parts.repeats and self._is_ready_in_time():
            self.recorder.costs = self.sampler.settle()
        self.recorder.begin_timing()

    def _is_ready_in_time(self) -> bool:
        elapsed = time.monotonic() - self._typical_since
        waited = sum(self.recorder.waits[WORST_STEPS:])
        made_s = (self.clock.batch_s or 0.0) / max(1, self.parts.workers)
        return waited <= READY_WAIT * elapsed and made_s <= READY_SHARE * elapsed / self._warmed

    def _end_worst_case(self, control: TrainerControl) -> None:
        self.train_peak = self.meter.peak()
        if self.parts.evaluates:
            self.meter.part_over()
            self.progress.enter("eval")
            self.recorder.evaluation_since = None
            control.should_evaluate = True
        else:
            self.meter.reset()
            self._begin_typical(control)

    def _begin_typical(self, control: TrainerControl) -> None:
        if self.parts.times:
            self._typical_since = time.monotonic()
            self.progress.enter("typical")
        else:
            control.should_training_stop = True

    @property
    def _evaluates(self) -> bool:
        """Whether this evaluation is the probe's: a script's callbacks may ask for others."""
        return self.progress.phase == "eval" and self.eval_peak is None

    def on_prediction_step(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - as the library calls it
        """Note the end of an evaluation batch."""
        self.progress.beat()
        if self._evaluates:
            self.meter.synchronize()
            self.eval_batches.append(time.perf_counter())

    def on_evaluate(
        self,
        args: TrainingArguments,  # noqa: ARG002 - as the library calls it
        state: TrainerState,  # noqa: ARG002 - as the library calls it
        control: TrainerControl,
        **_: Any,  # noqa: ANN401 - as the library calls it
    ) -> None:
        """End the evaluation."""
        if not self._evaluates:
            return
        self.eval_peak = self.meter.peak()
        self.meter.part_over()
        if self.evaluates_too_large:
            control.should_training_stop = True
        else:
            self._begin_typical(control)

    def _read_card(self) -> None:
        if self._looked - self._asked >= CARD_EVERY_S:
            self._asked = self._looked
            self._note_utilization()

    def _note_utilization(self) -> None:
        busy = self.meter.utilization()
        if busy is not None:
            self.utilizations.append(busy)

    def _timed_enough(self) -> bool:
        if time.monotonic() - self._looked < LOOK_EVERY_S:
            return False
        self._looked = time.monotonic()
        self._read_card()
        current = self.recorder.estimate()
        if current is None:
            return False  # without any figure the time would be lost: whoever set the deadline ends it
        limit = self.parts.hopeless_micro_s
        self.hopeless = limit is not None and current.seconds - _BEYOND_DOUBT * current.half_width_s > limit
        over = time.monotonic() >= self.parts.deadline
        return self.hopeless or over or self.parts.rule.enough(current, self.recorder.elapsed_s)
