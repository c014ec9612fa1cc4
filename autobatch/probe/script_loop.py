"""The probe of a training loop of a person's own, behind `autobatch.probe()`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from accelerate.utils import send_to_device

from autobatch.errors import UsageError
from autobatch.probe.conductor import WARM_UP_STEPS
from autobatch.probe.device import Meter, Peak, open_meter
from autobatch.probe.measure import worker_bytes
from autobatch.probe.order import WORST_STEPS, Cost, longest_batch
from autobatch.probe.outcome import Progress, write_outcome
from autobatch.probe.recorder import Recorder
from autobatch.probe.schedule import parts
from autobatch.probe.script_data import lengths
from autobatch.probe.timing import FEWEST_TIMED
from autobatch.request import ProbeRequest
from autobatch.settings import PIN_MEMORY, PREFETCH, WORKERS, Scalar
from autobatch.verdict import Measurements

LOOK_EVERY = 4
"""Timed steps between two looks at whether the figure is steady."""
T = TypeVar("T")


@dataclass
class LoopProbe:
    """Measures a loop from its calls of `step`, and ends the process once the figures are steady."""

    request: ProbeRequest
    meter: Meter
    progress: Progress
    started: float = field(default_factory=time.monotonic)
    recorder: Recorder = field(default_factory=lambda: Recorder((), 1.0))
    """Its micro-steps are optimizer steps here, all of the same cost as far as one knows."""
    wait_s: float = 0.0
    peak: Peak | None = None
    loss: Any = None
    worst_case: bool = False
    _asked: set[str] = field(default_factory=set)
    _steps: int = 0

    def setting(self, name: str, default: Scalar) -> Scalar:
        """Return the setting under test.

        Raises:
            UsageError: there is no such setting.

        """
        if name not in self.request.configuration:
            known = ", ".join(self.request.configuration)
            raise UsageError(f"There is no setting {name!r}.", f"The settings are {known}.")
        self._asked.add(name)
        return type(default)(self.request.configuration[name])

    def batches(self, loader: Iterable[T]) -> Iterable[T]:
        """Yield the longest batch first, for as long as the worst case takes, then the loader's, on and on."""
        if not self.worst_case and hasattr(loader, "dataset"):
            self.worst_case = True
            worst = self._longest(loader)
            for _ in range(WORST_STEPS * self.request.configuration.accumulation):
                yield worst
        while True:
            yield from self._timed(loader)

    def _longest(self, loader: Any) -> Any:  # noqa: ANN401 - a DataLoader and its batch
        dataset, count = loader.dataset, self.request.configuration.micro_batch
        source, target = lengths(dataset, Path(self.request.folder).parent / "script-lengths.npz")
        chosen = longest_batch(source, target, Cost(1.0, 1.0), count)
        batch = loader.collate_fn([dataset[index] for index in chosen])
        device = getattr(loader, "device", None)  # a loader that Accelerate has prepared
        return batch if device is None else send_to_device(batch, device)

    def _timed(self, loader: Iterable[T]) -> Iterator[T]:
        found, batches = False, iter(loader)
        while True:
            start = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                break
            self.wait_s += time.perf_counter() - start
            found = True
            yield batch
        if not found:
            raise UsageError("The loader makes no batch.", "Its data set is smaller than a batch, or empty.")

    def step(self, loss: Any = None) -> None:  # noqa: ANN401 - a tensor or a number
        """Note an optimizer step; the process ends here once there are enough."""
        self.recorder.micro_step(self.meter.moment())
        begun = time.perf_counter()
        self.loss = loss
        self._steps += 1
        self.progress.beat()
        if self._steps == WORST_STEPS:
            self._end_worst_case()
        elif self._steps == WORST_STEPS + WARM_UP_STEPS:
            self.meter.synchronize()
            self.wait_s = 0.0
            self.recorder.begin_timing()
        elif self._steps > WORST_STEPS and self._steps % LOOK_EVERY == 0:
            self._look()
        self.recorder.exclude(time.perf_counter() - begun)

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

    def close(self) -> None:
        """End with what there is when the loop has come to its own end.

        Raises:
            UsageError: that is too little.

        """
        self.meter.synchronize()
        if self.recorder.estimate() is None:
            needed = WORST_STEPS + WARM_UP_STEPS + FEWEST_TIMED
            what = f"The loop ended after {self._steps} steps, and {needed} are needed to time it."
            raise UsageError(
                what, "Call step() after every optimizer step, and take the batches from p.batches(loader)."
            )
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
            "worst_case_unknown": not self.worst_case,
            "shows_defaults": not self._asked >= self.request.configuration.keys(),
        }
        write_outcome(Path(self.request.folder), self.progress.phase, found, marks)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    def measured(self) -> Measurements:
        """Return all figures."""
        self.meter.synchronize()
        current, configuration = self.recorder.estimate(), self.request.configuration
        assert current is not None, "whoever ends it has looked"
        peaks = [peak for peak in (self.peak, self.meter.peak()) if peak is not None]
        return Measurements(
            micro_step_s=current.seconds / configuration.accumulation,
            micro_step_rel_error=current.rel_error,
            step_s=current.seconds,
            samples_per_s=configuration.micro_batch * configuration.accumulation / current.seconds,
            steps_timed=current.timed,
            device_peak_used_bytes=max(peak.used for peak in peaks),
            device_peak_allocated_bytes=max(peak.allocated or 0 for peak in peaks) or None,
            device_peak_reserved_bytes=max(peak.reserved or 0 for peak in peaks) or None,
            device_context_bytes=peaks[-1].context,
            allocation_retries=peaks[-1].retries,
            loader_worker_bytes=worker_bytes(),
            loader_wait_fraction=min(1.0, self.wait_s / sum(self.recorder.micro_steps)),
            loss=None if self.loss is None else float(self.loss),
        )


class Look:
    """Stands in for a probe while a script is only looked at: the loop keeps its own settings, and tells them.

    Args:
        tell: takes what is known when the loop begins, and ends the process.

    """

    def __init__(self, tell: Callable[[dict[str, Any]], NoReturn]) -> None:
        self._tell = tell
        self._settings: dict[str, Scalar] = {}

    def setting(self, name: str, default: Scalar) -> Scalar:
        """Note and return the loop's own value."""
        self._settings[name] = default
        return default

    def batches(self, loader: Iterable[T]) -> Iterable[T]:
        """Tell what is known: the loop is about to begin."""
        dataset: Any = getattr(loader, "dataset", None)
        size = len(dataset) if hasattr(dataset, "__len__") else 0
        self._tell({"settings": self._settings, "train_samples": size, "loader": loader_facts(loader)})

    def step(self, loss: Any = None) -> None:  # noqa: ANN401, ARG002 - as the probe's
        """Tell what is known: the loop has begun."""
        self._tell({"settings": self._settings})

    def close(self) -> None:
        """Do nothing: a loop that made no step is found out by its silence."""


def loader_facts(loader: object) -> dict[str, Scalar]:
    """Return what a DataLoader was made with, by the names of the settings; what it does not tell is left out."""
    names = {WORKERS: "num_workers", PREFETCH: "prefetch_factor", PIN_MEMORY: "pin_memory"}
    found = {name: getattr(loader, attribute, None) for name, attribute in names.items()}
    return {name: value for name, value in found.items() if isinstance(value, int)}


_ACTIVE: list[LoopProbe | Look] = []


def activate(probe: LoopProbe | Look) -> None:
    """Make a probe that of this process."""
    _ACTIVE.append(probe)


def open_probe(folder: Path) -> LoopProbe | Look:
    """Return this process's probe, or a new one where the script started this process."""
    if _ACTIVE:
        return _ACTIVE[-1]
    request = ProbeRequest.from_json((folder / "request.json").read_text(encoding="utf-8"))
    meter = open_meter(request)
    meter.start()
    return LoopProbe(request, meter, Progress(folder))
