"""Host memory that this process may have, and how much of it is taken. All figures are bytes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autobatch.machine import cgroups
from autobatch.machine.cgroups import ROOT, Group

_UNLIMITED = 1 << 60
"""cgroup v1 writes "no limit" as a number about 2**63; nobody has an exbibyte."""


@dataclass(frozen=True)
class HostLimit:
    """The tightest limit on host memory."""

    bytes: int
    source: str
    """What sets it, in words: physical memory, or a control group's file."""
    used_bytes: int
    """Working set already counted against it: without the page cache that the kernel would give back."""

    @property
    def free_bytes(self) -> int:
        """What is left below the limit."""
        return max(0, self.bytes - self.used_bytes)


@dataclass(frozen=True)
class SharedMemory:
    """The file system through which DataLoader workers hand over their batches."""

    total_bytes: int
    free_bytes: int


def host_limit(root: Path = ROOT) -> HostLimit:
    """Return the tightest of the control groups' limits, whole hierarchy up, and physical memory.

    Where two levels set the same limit, the inner one is named.
    """
    found = [physical(root), *group_limits(cgroups.read(root).memory)]
    return min(reversed(found), key=lambda limit: limit.bytes)


def physical(root: Path = ROOT) -> HostLimit:
    """Return the machine's own memory and what of it is not available."""
    text = (root / "proc" / "meminfo").read_text(encoding="ascii")
    kib = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
    total = kib["MemTotal"] * 1024
    return HostLimit(total, "physical memory", total - kib.get("MemAvailable", kib.get("MemFree", 0)) * 1024)


def group_limits(group: Group | None) -> Iterator[HostLimit]:
    """Yield each limit set on a memory group or on a visible ancestor, outermost first."""
    for folder in reversed(list(group.upwards()) if group else []):
        for name in ("memory.limit_in_bytes", "memory.high", "memory.max"):
            value = cgroups.number(folder / name)
            if value is not None and value < _UNLIMITED:
                yield HostLimit(value, f"{folder / name}", working_set(folder))
    yield from _hidden_limit(group)


def working_set(folder: Path) -> int:
    """Return the bytes that a memory group cannot give back: usage without inactive file pages; 0 if unreadable."""
    stat = cgroups.table(folder / "memory.stat")
    current = cgroups.number(folder / "memory.current")
    if current is not None:
        return max(0, current - stat.get("inactive_file", 0))
    usage = cgroups.number(folder / "memory.usage_in_bytes") or 0
    return max(0, usage - stat.get("total_inactive_file", 0))


def shared_memory(path: str = "/dev/shm") -> SharedMemory | None:  # noqa: S108 - asked about, not written to
    """Return the size of the shared memory file system, or None where there is none."""
    try:
        stat = os.statvfs(path)
    except OSError:
        return None
    return SharedMemory(stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize)


def _hidden_limit(group: Group | None) -> Iterator[HostLimit]:
    """Yield what v1 says of ancestors that cannot be seen from inside a container."""
    if group and group.version == 1:
        value = cgroups.table(group.folder / "memory.stat").get("hierarchical_memory_limit", _UNLIMITED)
        visible = (cgroups.number(folder / "memory.limit_in_bytes") or _UNLIMITED for folder in group.upwards())
        if value < min(visible):
            source = f"hierarchical_memory_limit in {group.folder / 'memory.stat'}"
            yield HostLimit(value, source, working_set(group.folder))
