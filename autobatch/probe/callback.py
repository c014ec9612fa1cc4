"""A TrainerCallback that holds a training run against what its frozen file promised."""

from __future__ import annotations

import logging
import statistics
import time
from pathlib import Path

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from autobatch.export.frozen import Frozen, load
from autobatch.probe.device import HostMeter
from autobatch.units import format_bytes

SKIPPED_STEPS = 3
"""First steps, which compile, allocate and fill caches, and are not timed."""
WINDOW = 50
"""Steps whose median is held against the promise."""
FEWEST_STEPS = 10
BAND = 0.15
"""Share by which s/step may leave the promise without a word, where its own error is not larger."""
MEMORY_BAND = 0.05
LIBRARIES_BYTES = 512 * 2**20
"""On a CPU, what a process that imported its libraries itself counts of them, and a forked probe does not."""

_LOGGER = logging.getLogger("autobatch")


class Callback(TrainerCallback):  # type: ignore[misc] # transformers is not typed
    """Warns, once each, when the real s/step or device memory leaves the promised band.

    Args:
        frozen: the frozen file, or its path.

    Attributes:
        steps: optimizer steps so far.
        step_times: seconds of every timed step, evaluation and saving left out.
        warned: what it has warned of, `time` or `memory`.

    """

    def __init__(self, frozen: Frozen | str | Path) -> None:
        self.frozen = frozen if isinstance(frozen, Frozen) else load(frozen)
        self.step_times: list[float] = []
        self.warned: set[str] = set()
        self._last: float | None = None
        self.steps = 0

    @property
    def step_s(self) -> float | None:
        """Median seconds of one optimizer step."""
        return statistics.median(self.step_times) if self.step_times else None

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,  # noqa: ARG002 - the signature is TrainerCallback's
        control: TrainerControl,  # noqa: ARG002 - the same
        **_: object,
    ) -> None:
        """Time the step, and hold time and memory against the promise."""
        now = time.perf_counter()
        self.steps += 1
        if self._last is not None and self.steps > SKIPPED_STEPS:
            self.step_times.append(now - self._last)
        self._last = now
        if len(self.step_times) >= FEWEST_STEPS:
            self._hold_time()
        if self.steps in {2, SKIPPED_STEPS} or self.steps % FEWEST_STEPS == 0:
            self._hold_memory(args.device)

    def on_evaluate(self, *_: object, **__: object) -> None:
        """Leave the step that held an evaluation out."""
        self._last = None

    def on_save(self, *_: object, **__: object) -> None:
        """Leave the step that held a checkpoint out."""
        self._last = None

    def on_epoch_end(self, *_: object, **__: object) -> None:
        """Leave the step that starts the DataLoader's workers out."""
        self._last = None

    def _hold_time(self) -> None:
        promised = self.frozen.promised.step_s
        real = statistics.median(self.step_times[-WINDOW:])
        error = self.frozen.promised.micro_step_rel_error or 0.0
        if promised is not None and real > promised * (1 + max(BAND, 2 * error)):
            text = f"{real:.3g} s/step, where {promised:.3g} were promised: is something else using this machine?"
            self._warn("time", text)

    def _hold_memory(self, device: torch.device) -> None:
        promised = self.frozen.promised.device_peak_used_bytes
        real = device_peak_bytes(device, self.frozen.promised.device_context_bytes or 0)
        slack = 0 if device.type == "cuda" else LIBRARIES_BYTES
        if promised is not None and real > promised * (1 + MEMORY_BAND) + slack:
            text = f"{format_bytes(real)} of device memory, where at most {format_bytes(promised)} were promised."
            self._warn("memory", text + " Are there longer samples than in the data it was frozen for?")

    def _warn(self, what: str, text: str) -> None:
        if what not in self.warned:
            self.warned.add(what)
            _LOGGER.warning("autobatch: %s %s", text, f"`autobatch verify {self.frozen.path}` measures it again.")


def device_peak_bytes(device: torch.device, context_bytes: int) -> int:
    """Return the most memory that this process has had: of the card with its context, or of the host on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device)) + context_bytes
    return HostMeter(None).peak().used
