"""In what two machines differ, and whether settings found on the one still hold on the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autobatch.units import format_bytes

if TYPE_CHECKING:
    from autobatch.machine.fingerprint import Fingerprint

_CLOSE = 0.03
"""Relative difference of a memory size that says nothing: kernels keep varying amounts for themselves."""


@dataclass(frozen=True)
class Difference:
    """One thing in which two machines differ."""

    name: str
    was: str
    now: str
    matters: bool
    """Whether settings found on the one may be unsafe, or no longer the fastest, on the other."""
    why: str


def compare(was: Fingerprint, now: Fingerprint) -> list[Difference]:
    """Return in what two machines differ, what matters first."""
    found = [*_device_differences(was, now), *_host_differences(was, now), *_library_differences(was, now)]
    return sorted(found, key=lambda difference: not difference.matters)


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
