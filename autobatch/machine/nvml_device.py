"""A GPU of this machine, behind NVML."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from autobatch.machine import nvml
from autobatch.machine.device import Gpu, GpuProcess
from autobatch.machine.nvml import typed

_COMPUTE_AND_GRAPHICS = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses")
_LOAD_WINDOW_US = 1_000_000


class NvmlDevice:
    """A `Device` of this machine."""

    def __init__(self, gpu: Gpu, handle: Any) -> None:  # noqa: ANN401 - NVML's handles have no type
        self._gpu = gpu
        self._handle = handle
        self._events: Any = None
        self._loads_until_us = 0
        self._leaves_out_drivers_share = False

    @property
    def gpu(self) -> Gpu:
        """What it is."""
        return self._gpu

    @typed
    def memory_used_bytes(self) -> int:
        """Memory in use on the whole card, by everybody, without what the driver keeps for itself."""
        lib = nvml.module()
        try:
            used = self._used_without_drivers_share()
        except (lib.NVMLError, TypeError, AttributeError):
            if self._leaves_out_drivers_share:
                # once more: the other figure among these would look like a process that came
                return self._used_without_drivers_share()
            # an old driver or binding: its figure holds the driver's share, too
            return int(lib.nvmlDeviceGetMemoryInfo(self._handle).used)
        self._leaves_out_drivers_share = True
        return used

    def memory_total_bytes(self) -> int:
        """Return the size of the card."""
        return self._gpu.total_bytes

    @typed
    def processes(self) -> tuple[GpuProcess, ...]:
        """Return the processes on it, each once, by process id."""
        lib = nvml.module()
        found: dict[int, GpuProcess] = {}
        for name in _COMPUTE_AND_GRAPHICS:
            with suppress(lib.NVMLError_NotSupported):
                for entry in getattr(lib, name)(self._handle):
                    found.setdefault(entry.pid, GpuProcess(entry.pid, entry.usedGpuMemory))
        return tuple(found[pid] for pid in sorted(found))

    def process_ids(self) -> list[int]:
        """Return the ids of the processes on it."""
        return [process.pid for process in self.processes()]

    @typed
    def utilization(self) -> float:
        """Return the share of the last sampling period in which a kernel ran."""
        return float(nvml.module().nvmlDeviceGetUtilizationRates(self._handle).gpu) / 100

    def loads(self) -> dict[int, float]:
        """Return the share of the time in which each process's kernels ran, by process id.

        Since the last call, and within the last second; those that ran none are left out. Nothing where the driver
        does not tell.
        """
        lib = nvml.module()
        since_us = max(self._loads_until_us, time.time_ns() // 1000 - _LOAD_WINDOW_US)
        # "no new sample" is an error, too; whether the card is lost is told by its memory
        with suppress(lib.NVMLError, AttributeError):
            found = [s for s in lib.nvmlDeviceGetProcessUtilization(self._handle, since_us) if s.timeStamp > since_us]
            self._loads_until_us = max((sample.timeStamp for sample in found), default=since_us)
            # some drivers leave entries unset: no load is above 100 %
            return {s.pid: s.smUtil / 100 for s in sorted(found, key=lambda s: s.timeStamp) if s.smUtil <= 100}  # noqa: PLR2004
        return {}

    @typed
    def energy_j(self) -> float | None:
        """Return the energy used since the driver was loaded; None where it is not counted (before Volta)."""
        lib = nvml.module()
        with suppress(lib.NVMLError_NotSupported):
            return float(lib.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000
        return None

    @typed
    def power_w(self) -> float | None:
        """Return the power drawn now; None where it is not measured."""
        lib = nvml.module()
        with suppress(lib.NVMLError_NotSupported):
            return float(lib.nvmlDeviceGetPowerUsage(self._handle)) / 1000
        return None

    @typed
    def xids(self) -> tuple[int, ...]:
        """Return the Xid errors since the last call; none where events are not to be had."""
        lib = nvml.module()
        try:
            events = self._listening()
            return tuple(_drained(events))
        except (lib.NVMLError_NotSupported, lib.NVMLError_NoPermission):
            return ()

    @typed
    def check(self) -> None:
        """Raise GpuLostError if the GPU does not answer any more."""
        nvml.module().nvmlDeviceGetMemoryInfo(self._handle)

    def _used_without_drivers_share(self) -> int:
        lib = nvml.module()
        return int(lib.nvmlDeviceGetMemoryInfo(self._handle, version=lib.nvmlMemory_v2).used)

    def _listening(self) -> Any:  # noqa: ANN401 - NVML's event sets have no type
        if self._events is None:
            lib = nvml.module()
            events = lib.nvmlEventSetCreate()
            lib.nvmlDeviceRegisterEvents(self._handle, lib.nvmlEventTypeXidCriticalError, events)
            self._events = events
        return self._events


def _drained(events: Any) -> Iterator[int]:  # noqa: ANN401 - NVML's event sets have no type
    lib = nvml.module()
    while True:
        try:
            yield int(lib.nvmlEventSetWait_v2(events, 0).eventData)
        except lib.NVMLError_Timeout:
            return
