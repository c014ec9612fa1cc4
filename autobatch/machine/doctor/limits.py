"""What this process is limited to: control groups, processors, shared memory, ulimits, disk."""

from __future__ import annotations

import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from autobatch.machine import cgroups, memory
from autobatch.machine.cgroups import ROOT, Group
from autobatch.machine.doctor.finding import Finding, Level
from autobatch.machine.memory import SharedMemory
from autobatch.machine.processors import visible
from autobatch.units import GIB, format_bytes

_SHM = "/dev/shm"  # noqa: S108 - its name, nothing is written there
_TIGHT = 0.9
_SMALL_SHARED_MEMORY = GIB
_FEW_PIDS = 512
_FEW_FILES = 1024
_LITTLE_DISK = 2 * GIB


def groups(root: Path = ROOT) -> Iterator[Finding]:
    """Say which control groups there are, and what they limit."""
    paths = cgroups.read(root)
    controlled = f"memory by v{paths.memory.version}" if paths.memory else "memory not controlled here"
    yield Finding("cgroup", Level.OK, f"version {paths.version}, {controlled}")
    for limit in memory.group_limits(paths.memory):
        yield Finding("cgroup", Level.OK, f"{limit.source}: {format_bytes(limit.bytes)}")
    tightest = memory.host_limit(root)
    used = f"limit {format_bytes(tightest.bytes)} ({tightest.source}), {format_bytes(tightest.used_bytes)} used"
    if tightest.used_bytes > _TIGHT * tightest.bytes:
        yield Finding("memory", Level.PROBLEM, f"{used}.", "Free some: probes would be killed at once.")
    else:
        yield Finding("memory", Level.OK, used)
    yield from _throttled(paths.memory)
    yield from _pids(paths.pids)


def processors(root: Path = ROOT) -> Iterator[Finding]:
    """Say how many cores there are, and whether a quota gives less of them than are to be seen."""
    cores = visible()
    quota = cgroups.cpu_quota(root)
    if quota is None or quota >= cores:
        yield Finding("cores", Level.OK, f"{cores}")
        return
    what = f"{cores} cores are to be seen, and a quota gives {quota:.1f} of them."
    do = "More DataLoader workers than that gain nothing; raise the container's --cpus."
    yield Finding("cores", Level.WARNING, what, do)


def shared_memory(found: SharedMemory | None = None) -> Iterator[Finding]:
    """Say whether DataLoader workers have room to hand batches over."""
    found = found or memory.shared_memory()
    if found is None:
        what = "There is no /dev/shm: DataLoader workers cannot hand batches over."
        yield Finding(_SHM, Level.PROBLEM, what, "Mount a tmpfs on it.")
        return
    what = f"{format_bytes(found.free_bytes)} of {format_bytes(found.total_bytes)} free"
    if found.free_bytes < _SMALL_SHARED_MEMORY:
        do = "Start the container with --shm-size=8g or --ipc=host, or use no workers."
        yield Finding(_SHM, Level.WARNING, f"only {what}", do)
    else:
        yield Finding(_SHM, Level.OK, what)


def ulimits() -> Iterator[Finding]:
    """Say which resource limits are in the way."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= files < _FEW_FILES:
        what = f"open files are limited to {files}: DataLoader workers need more."
        yield Finding("ulimit", Level.WARNING, what, "ulimit -n 65536")
    processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if 0 <= processes < _FEW_PIDS:
        what = f"processes and threads are limited to {processes}."
        yield Finding("ulimit", Level.WARNING, what, "ulimit -u unlimited")
    for name, flag in (("RLIMIT_AS", "-v"), ("RLIMIT_DATA", "-d")):
        soft, _ = resource.getrlimit(getattr(resource, name))
        if soft != resource.RLIM_INFINITY:
            what = f"{name} is {format_bytes(soft)}: CUDA reserves far more addresses than memory, and fails under it."
            yield Finding("ulimit", Level.WARNING, what, f"ulimit {flag} unlimited")
    shown = "unlimited" if processes == resource.RLIM_INFINITY else str(processes)
    yield Finding("ulimit", Level.OK, f"open files {files}, processes {shown}")


def disk(places: tuple[Path, ...] | None = None) -> Iterator[Finding]:
    """Say where there is little room for databases, logs and checkpoints."""
    for place in dict.fromkeys(places or (Path.cwd(), Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(place).free
        if free < _LITTLE_DISK:
            what = f"{place}: only {format_bytes(free)} free."
            yield Finding("disk", Level.WARNING, what, "Free some, or set TMPDIR to another disk.")
        else:
            yield Finding("disk", Level.OK, f"{place}: {format_bytes(free)} free")


def _throttled(group: Group | None) -> Iterator[Finding]:
    for folder in group.upwards() if group else ():
        if cgroups.number(folder / "memory.high") is not None:
            what = f"{folder / 'memory.high'} is set: near it the kernel slows a process down until it seems to hang."
            yield Finding("memory", Level.WARNING, what, "Set memory.max alone (systemd: MemoryMax, not MemoryHigh).")


def _pids(group: Group | None) -> Iterator[Finding]:
    found = [value for folder in (group.upwards() if group else ()) if (value := cgroups.number(folder / "pids.max"))]
    if found and min(found) < _FEW_PIDS:
        what = f"processes and threads are limited to {min(found)} by a control group."
        yield Finding("cgroup", Level.WARNING, what, "Start the container with --pids-limit=-1.")
