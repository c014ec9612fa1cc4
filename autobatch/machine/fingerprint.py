"""The fingerprint of a machine: what measurements depend on, in a form that can be kept and compared."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import Any

from autobatch.machine import cgroups, gpus, memory
from autobatch.machine.gpus import Gpu
from autobatch.units import format_bytes

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
_CLOSE = 0.03
"""Relative difference of a memory size that says nothing: kernels keep varying amounts for themselves."""


@dataclass(frozen=True)
class Fingerprint:
    """What a machine is. Sizes are bytes."""

    device: str
    """The device measured on: `cuda:0`, ... or `cpu`."""
    gpus: tuple[Gpu, ...]
    """All the GPUs to be seen."""
    cores: int
    """Cores this process may run on."""
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


@dataclass(frozen=True)
class Difference:
    """One thing in which two machines differ."""

    name: str
    was: str
    now: str
    matters: bool
    """Whether settings found on the one may be unsafe, or no longer the fastest, on the other."""
    why: str


def read(device: str) -> Fingerprint:
    """Return the fingerprint of this machine, as seen by a run on `device` (`cuda:0`, ... or `cpu`).

    Raises:
        MachineError: the NVIDIA driver is there and does not work.

    """
    limit = memory.host_limit()
    release = platform.release()
    return Fingerprint(
        device=device,
        gpus=tuple(gpus.list_gpus()),
        cores=len(os.sched_getaffinity(0)),
        host_limit_bytes=limit.bytes,
        host_limit_source=limit.source,
        cgroup_version=cgroups.read().version,
        kernel=release,
        wsl2=is_wsl2(release),
        processor=_processor(),
        python=platform.python_version(),
        libraries=_libraries(),
    )


def precisions(fingerprint: Fingerprint) -> tuple[str, ...]:
    """Return the precisions that the device computes natively: bf16 and TF32 came with capability 8.0 (Ampere)."""
    if fingerprint.gpu is None:
        return ("fp32", "bf16")
    modern = fingerprint.gpu.capability >= (8, 0)
    return ("fp32", "tf32", "bf16", "fp16") if modern else ("fp32", "fp16")


def device_index(device: str) -> int | None:
    """Return N of `cuda:N` (0 of `cuda`); None for the CPU."""
    kind, _, index = device.partition(":")
    return int(index or 0) if kind == "cuda" else None


def is_wsl2(kernel: str) -> bool:
    """Tell whether a kernel release is that of Windows' Subsystem for Linux, version 2."""
    return "microsoft" in kernel.lower()


def compare(was: Fingerprint, now: Fingerprint) -> list[Difference]:
    """Return in what two machines differ, what matters first."""
    found = [*_device_differences(was, now), *_host_differences(was, now), *_library_differences(was, now)]
    return sorted(found, key=lambda difference: not difference.matters)


def _libraries() -> dict[str, str]:
    return {name: version for name in LIBRARIES if (version := _version(name))}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
            return next(names, platform.machine())
    except OSError:
        return platform.machine()


def _device_differences(was: Fingerprint, now: Fingerprint) -> Iterator[Difference]:
    old, new = was.gpu, now.gpu
    if old is None or new is None:
        if (old is None) != (new is None):
            why = "Time and memory on a GPU and on a CPU have nothing in common."
            yield Difference("device", was.device, now.device, matters=True, why=why)
        return
    if old.name != new.name:
        yield Difference("GPU", old.name, new.name, matters=True, why="Another card is faster or slower elsewhere.")
    if _apart(old.total_bytes, new.total_bytes):
        yield _sizes("GPU memory", old.total_bytes, new.total_bytes, "Settings that fit the one may not fit the other.")
    if old.driver != new.driver:
        major = old.driver.partition(".")[0] != new.driver.partition(".")[0]
        why = "A driver changes speeds and the memory of its context."
        yield Difference("driver", old.driver, new.driver, matters=major, why=why)
    if old.name == new.name and old.uuid != new.uuid:
        yield Difference("GPU UUID", old.uuid, new.uuid, matters=False, why="Another card of the same make.")


def _host_differences(was: Fingerprint, now: Fingerprint) -> Iterator[Difference]:
    if _apart(was.host_limit_bytes, now.host_limit_bytes):
        smaller = now.host_limit_bytes < was.host_limit_bytes
        why = "Workers that fitted may not fit." if smaller else "More workers may fit."
        yield _sizes("host memory limit", was.host_limit_bytes, now.host_limit_bytes, why, matters=smaller)
    if was.cores != now.cores:
        why = "The best number of DataLoader workers depends on it."
        yield Difference("cores", str(was.cores), str(now.cores), matters=True, why=why)
    if was.processor != now.processor:
        matters = was.gpu is None
        why = "The processor does the training." if matters else "Loading and launching depend on it a little."
        yield Difference("processor", was.processor, now.processor, matters=matters, why=why)
    if was.wsl2 != now.wsl2:
        why = "Under WSL2 the driver may move GPU memory to the host instead of failing."
        yield Difference("WSL2", str(was.wsl2), str(now.wsl2), matters=True, why=why)
    for name in ("cgroup_version", "kernel", "python"):
        old, new = getattr(was, name), getattr(now, name)
        if old != new:
            yield Difference(name.replace("_", " "), old, new, matters=False, why="Of little weight for speed.")


def _library_differences(was: Fingerprint, now: Fingerprint) -> Iterator[Difference]:
    for name in sorted({*was.libraries, *now.libraries} - {"autobatch"}):
        old, new = was.libraries.get(name, "absent"), now.libraries.get(name, "absent")
        if old != new:
            matters = "absent" in {old, new} or _minor(old) != _minor(new)
            why = "A library's releases differ in speed and memory."
            yield Difference(name, old, new, matters=matters, why=why)


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _apart(old: int, new: int) -> bool:
    return abs(old - new) > _CLOSE * max(old, new)


def _sizes(name: str, old: int, new: int, why: str, *, matters: bool = True) -> Difference:
    return Difference(name, format_bytes(old), format_bytes(new), matters=matters, why=why)
