"""The probe of a training loop of a person's own, behind `autobatch.probe()`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar

from accelerate.utils import send_to_device
from transformers.trainer_pt_utils import find_batch_size

from autobatch.errors import UsageError
from autobatch.probe.conductor import WARM_UP_STEPS
from autobatch.probe.device import Meter, Peak, open_meter
from autobatch.probe.measure import worker_bytes
from autobatch.probe.order import WORST_STEPS, Cost, longest_batch
from autobatch.probe.outcome import Progress, write_outcome
from autobatch.probe.recorder import Recorder
from autobatch.probe.schedule import parts
from autobatch.probe.script_batches import Batches, Drawing, check_size, length_of, size_of
from autobatch.probe.script_data import guesses, is_numbered
from autobatch.probe.script_lengths import lengths
from autobatch.probe.timing import FEWEST_TIMED
from autobatch.request import ProbeRequest
from autobatch.settings import PREFETCH, WORKERS, Scalar
from autobatch.verdict import Measurements

LOOK_EVERY = 4
"""Timed steps between two looks at whether the figure is steady."""
_IN_ITS_PLACE = "Call step() after every optimizer step, and take the batches from p.batches(loader)."
T = TypeVar("T")


@dataclass
class LoopProbe:
    """Measures a loop from its calls of `step`, and ends the process once the figures are steady."""

    searching: ClassVar[bool] = True
    request: ProbeRequest
    meter: Meter
    progress: Progress
    started: float = field(default_factory=time.monotonic)
    recorder: Recorder = field(default_factory=lambda: Recorder((), 1.0))
    """Its micro-steps are optimizer steps here, all of the same cost as far as one knows."""
    drawing: Drawing = field(init=False)
    peak: Peak | None = None
    loss: Any = None
    worst_case: bool = False
    _asked: set[str] = field(default_factory=set)
    _guessed: bool = False
    """Whether the longest batch is one by a guess."""
    _steps: int = 0
    _begun: tuple[int, int] = (0, 0)
    """Steps and batches before timing began."""

    def __post_init__(self) -> None:
        self.drawing = Drawing(self.request.configuration.accumulation)

    def setting(self, name: str, default: Scalar | None) -> Scalar | None:
        """Return the setting under test, of the kind that the loop's own value has.

        Raises:
            UsageError: there is no such setting.

        """
        if name not in self.request.configuration:
            known = ", ".join(self.request.configuration)
            raise UsageError(f"There is no setting {name!r}.", f"The settings are {known}.")
        self._asked.add(name)
        value = self.request.configuration[name]
        if name == PREFETCH and not self.request.configuration[WORKERS]:
            return None  # torch refuses any other without workers
        return value if default is None else type(default)(value)

    def batches(self, loader: Iterable[T]) -> Iterable[T]:
        """Return the longest batch first, for as long as the worst case takes, then the loader's, on and on.

        Raises:
            UsageError: the loop does not do as it is told, or has too few batches.

        """
        self.drawing.in_a_pass = length_of(loader)
        return Batches(loader, lambda: self._drawn(loader))

    def _drawn(self, loader: Iterable[T]) -> Iterator[T]:
        for batch in self.drawing.counted(chain(self._longest_first(loader), self._checked(loader))):
            self.progress.beat()
            yield batch
        self.close("Give p.batches() what can be iterated again, such as a DataLoader or a list: this has ended.")

    def _checked(self, loader: Iterable[T]) -> Iterator[T]:
        stream = self.drawing.over_and_over(loader)
        expected = self.request.configuration.micro_batch
        for first in islice(stream, 1):
            check_size(loader, first, expected)
            if size_of(loader) == expected == find_batch_size(first):  # a short last one would count as whole
                stream = (batch for batch in stream if find_batch_size(batch) == expected)
            return chain([first], stream)
        raise UsageError("The loader makes no batch.", "Its data set is smaller than a batch, or empty.")

    def _longest_first(self, loader: Any) -> Iterable[Any]:  # noqa: ANN401 - whatever a loop draws from
        if self.worst_case or size_of(loader) is None or not is_numbered(getattr(loader, "dataset", None)):
            return ()
        self.worst_case, self._guessed = True, guesses(loader.dataset)
        return self._longest(loader)

    def _longest(self, loader: Any) -> Iterator[Any]:  # noqa: ANN401 - a DataLoader and its batches
        """Yield the longest batch, made anew each time: a loop may take it to pieces."""
        dataset, configuration = loader.dataset, self.request.configuration
        source, target = lengths(dataset, Path(self.request.folder).parent / "script-lengths.npz")
        chosen = longest_batch(source, target, Cost(1.0, 1.0), configuration.micro_batch)
        device = getattr(loader, "device", None)  # a loader that Accelerate has prepared
        for _ in range(WORST_STEPS * configuration.accumulation):
            if self._steps >= WORST_STEPS:
                return  # its steps were short, at the end of a pass: what is timed is not the worst case
            batch = loader.collate_fn([dataset[index] for index in chosen])
            yield batch if device is None else send_to_device(batch, device)

    def step(self, loss: Any = None) -> None:  # noqa: ANN401 - a tensor or a number
        """Note an optimizer step; the process ends here once there are enough.

        Raises:
            UsageError: it is of other batches than it should be.

        """
        self.recorder.micro_step(self.meter.moment())
        begun = time.perf_counter()
        self.loss = loss
        self._steps += 1
        taken = self.drawing.step()
        self.progress.beat()
        if self._steps == WORST_STEPS:
            self.drawing.check(taken)
            self._end_worst_case()
        elif self._steps == WORST_STEPS + WARM_UP_STEPS:
            self.meter.synchronize()
            self._begun, self.drawing.wait_s = (self._steps, self.drawing.total), 0.0
            self.recorder.begin_timing()
        elif self._steps > WORST_STEPS and self._steps % LOOK_EVERY == 0:
            self._look()
        # what was before timing began is left out already
        self.recorder.exclude(time.perf_counter() - max(begun, self.recorder.timing_since or begun))

    def _end_worst_case(self) -> None:
        self.meter.synchronize()
        self.peak = self.meter.peak()
        self.meter.reset()
        self.progress.enter("typical")

    def _look(self) -> None:
        plan, current = parts(self.request, self.started), self.recorder.estimate()
        if current is None:
            return
        if plan.rule.enough(current, self.recorder.elapsed_s) or time.monotonic() >= plan.deadline:
            self.end()

    def close(self, do: str = _IN_ITS_PLACE) -> None:
        """End with what there is when the loop has come to its own end.

        Args:
            do: what to do where that is too little.

        Raises:
            UsageError: that is too little.

        """
        self.meter.synchronize()
        if self.recorder.estimate() is None:
            needed = WORST_STEPS + WARM_UP_STEPS + FEWEST_TIMED
            what = f"The loop ended after {self._steps} steps, and {needed} are needed to time it."
            raise UsageError(what, do)
        self.end()

    def end(self) -> NoReturn:
        """Write the outcome and end the process."""
        found, last = self.measured(), self.meter.peak()
        limit = self.request.limits.device_fraction * self.meter.total_bytes
        marks = {
            "nearly_oom": bool(last.retries),
            "spill": (found.device_peak_reserved_bytes or 0) > self.meter.total_bytes,
            "hopeless": False,
            "over_limit": (found.device_peak_used_bytes or 0) > limit,
            "worst_case_unknown": not self.worst_case or self._guessed,
            "shows_defaults": not self._asked >= self.request.configuration.keys(),
        }
        write_outcome(Path(self.request.folder), self.progress.phase, found, marks)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    @property
    def _batches_to_a_step(self) -> float:
        """Batches that a timed step took, fewer at the end of a pass; as it should be where they do not come by us."""
        steps, drawn = self._begun
        taken = (self.drawing.total - drawn) / (self._steps - steps)
        return taken or self.request.configuration.accumulation

    def measured(self) -> Measurements:
        """Return all figures."""
        self.meter.synchronize()
        current, batches = self.recorder.estimate(), self._batches_to_a_step
        assert current is not None, "whoever ends it has looked"
        peaks = [peak for peak in (self.peak, self.meter.peak()) if peak is not None]
        return Measurements(
            micro_step_s=current.seconds / batches,
            micro_step_rel_error=current.rel_error,
            step_s=current.seconds,
            samples_per_s=self.request.configuration.micro_batch * batches / current.seconds,
            steps_timed=current.timed,
            device_peak_used_bytes=max(peak.used for peak in peaks),
            device_peak_allocated_bytes=max(peak.allocated or 0 for peak in peaks) or None,
            device_peak_reserved_bytes=max(peak.reserved or 0 for peak in peaks) or None,
            device_context_bytes=peaks[-1].context,
            allocation_retries=peaks[-1].retries,
            loader_worker_bytes=worker_bytes(),
            loader_wait_fraction=min(1.0, self.drawing.wait_s / sum(self.recorder.micro_steps)),
            loss=None if self.loss is None else float(self.loss),
        )


def open_probe(folder: Path) -> LoopProbe:
    """Return a new probe, for a process that the script started."""
    request = ProbeRequest.from_json((folder / "request.json").read_text(encoding="utf-8"))
    meter = open_meter(request)
    meter.start()
    return LoopProbe(request, meter, Progress(folder))
