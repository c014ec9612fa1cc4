"""The control files of one cgroup of a probe: limits in, counters out; v1 and v2 behind one face."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from autobatch.machine.cgroups import number, table
from autobatch.machine.memory import working_set

_CHARGE_BYTES = 64 * 4096
"""The kernel charges up to 64 pages at once, so usage may stay this far below its limit."""


def write(path: Path, value: str | int) -> None:
    """Write a control file in one system call, so that the kernel's answer is not lost in a buffer.

    Raises:
        OSError: the kernel refused.

    """
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)


def words(path: Path) -> list[str]:
    """Return the words of a control file; empty where it cannot be read."""
    try:
        return path.read_text().split()
    except OSError:
        return []


def subtree(directory: Path) -> Iterator[Path]:
    """Yield a cgroup's directories, deepest first."""
    for path, _, _ in os.walk(directory, topdown=False):
        yield Path(path)


def processes(directory: Path) -> list[int]:
    """Return the processes in a cgroup and in those below it."""
    return [int(word) for path in subtree(directory) for word in words(path / "cgroup.procs")]


def memory_counters(directory: Path) -> dict[str, int]:
    """Return `max` (a limit was hit), `oom` and `oom_kill`, as far as the kernel counts them.

    v1 does not count `oom`, and newer kernels leave its `failcnt` at 0, so there `max` tells whether the highest usage
    ever came up to the limit. Page cache does that too: it never proves a kill.
    """
    if (directory / "memory.events").exists():
        events = table(directory / "memory.events")
        return {name: events[name] for name in ("max", "oom", "oom_kill") if name in events}
    kills = table(directory / "memory.oom_control").get("oom_kill", 0)
    return {"max": int(_has_reached_limit(directory)), "oom_kill": kills}


def _has_reached_limit(directory: Path) -> bool:
    limit, peak = (number(directory / f"memory.{name}_in_bytes") for name in ("limit", "max_usage"))
    return limit is not None and peak is not None and peak >= limit - _CHARGE_BYTES


class Memory:
    """The memory controller of one cgroup and of all below it."""

    def __init__(self, directory: Path, version: int) -> None:
        self.directory = directory
        self.version = version

    def set_limit(self, limit_bytes: int) -> None:
        """Limit memory with swap; on v2 the kernel is told to take the whole group when it must kill."""
        if self.version == 1:
            self._write_if_there(("memory.limit_in_bytes", limit_bytes), ("memory.memsw.limit_in_bytes", limit_bytes))
        else:
            write(self.directory / "memory.max", limit_bytes)
            self._write_if_there(("memory.swap.max", 0), ("memory.oom.group", 1))

    def working_set_bytes(self) -> int:
        """Return what cannot be dropped at once: usage without inactive page cache."""
        return working_set(self.directory)

    def counters(self) -> dict[str, int]:
        """Return `memory.max`, `memory.oom`, `memory.oom_kill` as far as the kernel counts them."""
        return {f"memory.{name}": value for name, value in memory_counters(self.directory).items()}

    def _write_if_there(self, *values: tuple[str, int]) -> None:
        for name, value in values:
            if (self.directory / name).exists():
                write(self.directory / name, value)
