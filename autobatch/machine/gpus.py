"""The GPUs of this machine, as NVML reports them: a description, and a device to ask while something runs.

No CUDA context is made. Sizes are bytes, energy is joules, power is watts, shares are fractions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from autobatch.machine import nvml
from autobatch.machine.nvml import (
    GpuForbiddenError,
    GpuLostError,
    GpuUnavailableError,
    GpuUnsupportedError,
    NoDriverError,
    typed,
)

__all__ = [
    "Device",
    "Gpu",
    "GpuForbiddenError",
    "GpuLostError",
    "GpuProcess",
    "GpuUnavailableError",
    "GpuUnsupportedError",
    "NoDriverError",
    "driver_version",
    "list_gpus",
    "open_device",
]

_GRAPHICS_AND_COMPUTE = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses")


@dataclass(frozen=True)
class Gpu:
    """What a GPU is: nothing here changes while the driver stays."""

    index: int
    """Its number in CUDA, after CUDA_VISIBLE_DEVICES: `cuda:INDEX`."""
    name: str
    uuid: str
    total_bytes: int
    capability: tuple[int, int]
    """CUDA compute capability, (9, 0) for an H100."""
    driver: str


@dataclass(frozen=True)
class GpuProcess:
    """A process on a GPU. In a container NVML may give the host's process ids, or hide others' altogether."""

    pid: int
    used_bytes: int | None
    """None where the driver does not tell (WSL2, some containers)."""


class Device(Protocol):
    """A GPU to ask while something runs. A recorded one can stand behind this, too."""

    @property
    def gpu(self) -> Gpu:
        """What it is."""

    def memory_used_bytes(self) -> int:
        """Memory in use on the whole card, by everybody, without what the driver keeps for itself."""

    def memory_total_bytes(self) -> int:
        """Return the size of the card."""

    def processes(self) -> tuple[GpuProcess, ...]:
        """Return the processes on it, each once, by process id."""

    def process_ids(self) -> list[int]:
        """Return the ids of the processes on it."""

    def utilization(self) -> float:
        """Return the share of the last sampling period in which a kernel ran."""

    def energy_j(self) -> float | None:
        """Return the energy used since the driver was loaded; None where it is not counted (before Volta)."""

    def power_w(self) -> float | None:
        """Return the power drawn now; None where it is not measured."""

    def xids(self) -> tuple[int, ...]:
        """Return the Xid errors since the last call; none where events are not to be had."""

    def check(self) -> None:
        """Raise GpuLostError if the GPU does not answer any more."""


def list_gpus() -> list[Gpu]:
    """Return the GPUs that CUDA would show this process, in its order where all cards are alike; none without a driver.

    Raises:
        MachineError: there is a driver, and it does not work.

    """
    try:
        return _listed()
    except NoDriverError:
        return []


@typed
def driver_version() -> str:
    """Return the version of the NVIDIA driver.

    Raises:
        NoDriverError: there is none.

    """
    return _text(nvml.module().nvmlSystemGetDriverVersion())


@typed
def open_device(which: int | str) -> Device:
    """Return the device of an index (as `cuda:INDEX`), or of a UUID.

    Raises:
        GpuUnavailableError: there is no driver (NoDriverError), or no such GPU.

    """
    handles = list(_visible())
    for index, handle in enumerate(handles):
        if which in (index, _text(nvml.module().nvmlDeviceGetUUID(handle))):
            return NvmlDevice(_describe(index, handle), handle)
    what = f"There is no GPU {which}: {len(handles)} to be seen here."
    raise GpuUnavailableError(what, "`nvidia-smi -L` lists the GPUs; CUDA_VISIBLE_DEVICES may hide some.")


@typed
def _listed() -> list[Gpu]:
    return [_describe(index, handle) for index, handle in enumerate(_visible())]


def _visible() -> Iterator[Any]:
    """Yield the handles in CUDA's order; like CUDA, stop at the first name that is not there."""
    lib = nvml.module()
    every = [lib.nvmlDeviceGetHandleByIndex(i) for i in range(lib.nvmlDeviceGetCount())]
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        yield from every
        return
    for name in filter(None, (part.strip() for part in names.split(","))):
        handle = _named(every, name)
        if handle is None:
            return
        yield handle


def _named(every: list[Any], name: str) -> Any | None:  # noqa: ANN401 - NVML's handles have no type
    lib = nvml.module()
    if name.isdecimal():
        return every[int(name)] if int(name) < len(every) else None
    if name.startswith("MIG-"):
        with suppress(lib.NVMLError):
            return lib.nvmlDeviceGetHandleByUUID(name)
        return None
    found = [handle for handle in every if _text(lib.nvmlDeviceGetUUID(handle)).startswith(name)]
    return found[0] if name.startswith("GPU-") and len(found) == 1 else None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _describe(index: int, handle: Any) -> Gpu:  # noqa: ANN401 - NVML's handles have no type
    lib = nvml.module()
    major, minor = lib.nvmlDeviceGetCudaComputeCapability(handle)
    return Gpu(
        index=index,
        name=_text(lib.nvmlDeviceGetName(handle)),
        uuid=_text(lib.nvmlDeviceGetUUID(handle)),
        total_bytes=int(lib.nvmlDeviceGetMemoryInfo(handle).total),
        capability=(int(major), int(minor)),
        driver=driver_version(),
    )


class NvmlDevice:
    """A `Device` of this machine."""

    def __init__(self, gpu: Gpu, handle: Any) -> None:  # noqa: ANN401 - NVML's handles have no type
        self._gpu = gpu
        self._handle = handle
        self._events: Any = None

    @property
    def gpu(self) -> Gpu:
        """What it is."""
        return self._gpu

    @typed
    def memory_used_bytes(self) -> int:
        """Memory in use on the whole card, by everybody, without what the driver keeps for itself."""
        lib = nvml.module()
        try:
            return int(lib.nvmlDeviceGetMemoryInfo(self._handle, version=lib.nvmlMemory_v2).used)
        except (lib.NVMLError, TypeError, AttributeError):
            # an old driver or binding: its figure holds the driver's share, too
            return int(lib.nvmlDeviceGetMemoryInfo(self._handle).used)

    def memory_total_bytes(self) -> int:
        """Return the size of the card."""
        return self._gpu.total_bytes

    @typed
    def processes(self) -> tuple[GpuProcess, ...]:
        """Return the processes on it, each once, by process id."""
        lib = nvml.module()
        found: dict[int, GpuProcess] = {}
        for name in _GRAPHICS_AND_COMPUTE:
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
