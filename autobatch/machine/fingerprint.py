"""The fingerprint of a machine: what measurements depend on, in a form that can be kept and compared."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from autobatch.errors import UsageError
from autobatch.machine import cgroups, gpus, memory, processors
from autobatch.machine.differences import Difference, compare
from autobatch.machine.gpus import Gpu, GpuUnavailableError

__all__ = ["LIBRARIES", "Difference", "Fingerprint", "compare", "is_wsl2", "precisions", "read"]

LIBRARIES = (
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "bitsandbytes",
    "liger-kernel",
    "flash-attn",
    "triton",
    "autobatch",
)


@dataclass(frozen=True)
class Fingerprint:
    """What a machine is. Sizes are bytes."""

    device: str
    """The device measured on: `cuda:0`, ... or `cpu`."""
    gpus: tuple[Gpu, ...]
    """All the GPUs to be seen."""
    cores: int
    """Cores' worth of time this process can get: those it may run on, or fewer by a quota."""
    host_limit_bytes: int
    host_limit_source: str
    cgroup_version: str
    kernel: str
    wsl2: bool
    processor: str
    python: str
    libraries: Mapping[str, str] = field(default_factory=dict)

    @property
    def gpu(self) -> Gpu | None:
        """The GPU measured on; None on the CPU."""
        index = device_index(self.device)
        return next((gpu for gpu in self.gpus if gpu.index == index), None)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            **asdict(self),
            "gpus": [{**asdict(gpu), "capability": list(gpu.capability)} for gpu in self.gpus],
            "libraries": dict(self.libraries),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Fingerprint:
        """Read what `to_dict` wrote; names it does not know are left out.

        Raises:
            KeyError, TypeError: something is missing, or is of another kind.

        """
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        values["gpus"] = tuple(Gpu(**{**gpu, "capability": tuple(gpu["capability"])}) for gpu in data["gpus"])
        return cls(**values)


def read(device: str) -> Fingerprint:
    """Return the fingerprint of this machine, as seen by a run on `device` (`cuda:0`, ... or `cpu`).

    Raises:
        UsageError: the device is written in another way.
        MachineError: there is no such GPU, or the NVIDIA driver is there and does not work.

    """
    found = gpus.list_gpus()
    _listed(found, device)
    limit = memory.host_limit()
    release = platform.release()
    return Fingerprint(
        device=device,
        gpus=tuple(found),
        cores=processors.usable(),
        host_limit_bytes=limit.bytes,
        host_limit_source=limit.source,
        cgroup_version=cgroups.read().version,
        kernel=release,
        wsl2=is_wsl2(release),
        processor=processors.name(),
        python=platform.python_version(),
        libraries=_libraries(),
    )


def precisions(device: str) -> tuple[str, ...]:
    """Return the precisions that a device computes natively: bf16 and TF32 came with capability 8.0 (Ampere).

    Raises:
        UsageError: the device is written in another way.
        GpuUnavailableError: there is no such GPU.

    """
    if device_index(device) is None:
        return ("fp32", "bf16")
    gpu = _listed(gpus.list_gpus(), device)
    return ("fp32", "tf32", "bf16", "fp16") if gpu and gpu.capability >= (8, 0) else ("fp32", "fp16")


def _listed(found: Sequence[Gpu], device: str) -> Gpu | None:
    """Return the GPU of a device; None for the CPU."""
    index = device_index(device)
    if index is None:
        return None
    if index >= len(found):
        what = f"There is no GPU {device}: {len(found)} to be seen here."
        raise GpuUnavailableError(what, "`autobatch doctor` says what is in the way; --device cpu does without.")
    return found[index]


def device_index(device: str) -> int | None:
    """Return N of `cuda:N` (0 of `cuda`); None for the CPU.

    Raises:
        UsageError: it is neither.

    """
    if device == "cpu":
        return None
    match = re.fullmatch(r"cuda(?::([0-9]{1,4}))?", device)
    if match is None:
        what = f"There is no device {device!r}."
        raise UsageError(what, "Give cpu, cuda or cuda:N.")
    return int(match[1] or 0)


def is_wsl2(kernel: str) -> bool:
    """Tell whether a kernel release is that of Windows' Subsystem for Linux, version 2."""
    return "microsoft" in kernel.lower()


def _libraries() -> dict[str, str]:
    return {name: version for name in LIBRARIES if (version := _version(name))}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
