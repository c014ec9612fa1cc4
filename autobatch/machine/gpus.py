"""The GPUs of this machine, as NVML reports them. No CUDA context is made.

Sizes are bytes, energy is joules, power is watts, shares are fractions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from autobatch.machine import nvml
from autobatch.machine.device import Device, Gpu, GpuProcess
from autobatch.machine.nvml import (
    GpuForbiddenError,
    GpuLostError,
    GpuUnavailableError,
    GpuUnsupportedError,
    NoDriverError,
    typed,
)
from autobatch.machine.nvml_device import NvmlDevice

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
        is_virtual=_is_virtual(handle),
    )


def _is_virtual(handle: Any) -> bool:  # noqa: ANN401 - NVML's handles have no type
    lib = nvml.module()
    with suppress(lib.NVMLError, AttributeError):  # what does not know of vGPUs has none
        return bool(lib.nvmlDeviceGetVirtualizationMode(handle) == lib.NVML_GPU_VIRTUALIZATION_MODE_VGPU)
    return False
