"""The card from outside, while a probe runs: its peak, and whether others moved in or did more than before."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Mapping

from autobatch.errors import MachineError
from autobatch.isolation.evidence import DeviceFacts
from autobatch.machine.gpus import Device, GpuLostError

_TOLERANCE_BYTES = 128 << 20
"""Used memory may differ by this before and after with nobody else on the card.

One process that was there before may grow by as much: a desktop's windows come and go in tens of MiB, while a training
that begins takes hundreds for its CUDA context alone. More would count as the probe's own, or push it out of memory.
"""
FOREIGN_LOAD = 0.2
"""Share of the time in which others' kernels run that a measurement can live with: up to it they are idle.

Kernels of two processes take turns, so others' load lengthens a step by about as much. A desktop computes now and then;
a training nearly all the time, and still half of it where it takes turns with the probe.
"""
_BUSY_SAMPLES = 2
"""A process rises from idle when this many of the driver's samples find it busy, each of a sixth of a second to one.

A desktop that redraws fills one; work fills one after the other.
"""
_RELEASE_S = 5.0
"""The driver may still be giving back a dead process's memory for this long."""


class DeviceWatch:
    """Readings of one card from before a probe to after its end."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._lost: str | None = None
        self._peak = 0
        self._moved_in = False
        self._xids: list[int] = []
        self._read_xids()
        self._xids.clear()
        self._before = self._used()
        self._tenants = self._memory_by_process()
        at_work = {pid for pid, load in self._loads().items() if load > FOREIGN_LOAD}
        # one that was at work before the probe takes from every measurement alike
        self._idle = self._tenants.keys() - at_work
        self._busy_samples: Counter[int] = Counter()

    def sample(self, tree: Iterable[int]) -> int:
        """Take a reading; `tree` are the probe's processes. Returns used bytes beyond those of others before."""
        used = max(0, self._used() - self._before)
        self._peak = max(self._peak, used)
        memory = self._memory_by_process()
        new = memory.keys() - self._tenants.keys()
        strangers = new - set(tree)
        # where the driver numbers processes as outside the container, ours is one unknown among them
        self._moved_in |= len(strangers) > (0 if strangers != new else 1)
        self._moved_in |= self._has_grown(memory) or self._has_risen()
        return used

    def finish(self) -> DeviceFacts:
        """Wait for the dead probe's memory to be given back, and return what was seen."""
        deadline = time.monotonic() + _RELEASE_S
        while (after := self._used()) > self._before + _TOLERANCE_BYTES and time.monotonic() < deadline:
            time.sleep(0.05)
        self._read_xids()
        return DeviceFacts(
            others_before_bytes=self._before,
            others_after_bytes=after,
            others_moved_in=self._moved_in or after > self._before + _TOLERANCE_BYTES,
            peak_used_bytes=self._peak or None,
            total_bytes=self._device.gpu.total_bytes,
            lost=self._lost,
            xids=tuple(self._xids),
        )

    def _used(self) -> int:
        try:
            return self._device.memory_used_bytes()
        except GpuLostError as error:
            self._lost = error.what
            return 0

    def _has_grown(self, memory: Mapping[int, int | None]) -> bool:
        """Tell whether a process that was there before holds more of the card, as far as the driver tells."""
        before = {pid: held for pid, held in self._tenants.items() if held is not None}
        return any((memory.get(pid) or 0) - held > _TOLERANCE_BYTES for pid, held in before.items())

    def _has_risen(self) -> bool:
        """Tell whether a process that was there before, and idle, computes now, as far as the driver tells."""
        if not self._idle:
            return False  # asking takes the driver milliseconds, in which it may keep the probe waiting
        self._busy_samples.update(pid for pid, load in self._loads().items() if load > FOREIGN_LOAD)
        return any(self._busy_samples[pid] >= _BUSY_SAMPLES for pid in self._idle)

    def _memory_by_process(self) -> dict[int, int | None]:
        """Return the processes on the card and what each holds; none where the driver does not tell."""
        with contextlib.suppress(MachineError):
            return {process.pid: process.used_bytes for process in self._device.processes()}
        return {}

    def _loads(self) -> dict[int, float]:
        with contextlib.suppress(MachineError):
            return self._device.loads()
        return {}

    def _read_xids(self) -> None:
        with contextlib.suppress(MachineError):
            self._xids += self._device.xids()
