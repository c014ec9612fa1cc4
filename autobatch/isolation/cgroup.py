"""A cgroup of its own for each probe, below the headroom of the container: v1, v2 and both at once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from autobatch.isolation import proc
from autobatch.isolation.cgroup_memory import Memory, processes, subtree, words, write
from autobatch.machine import cgroups
from autobatch.machine.cgroups import CgroupPaths, Group, table

PREFIX = "autobatch-"
LEAF = "autobatch-main"
"""Where the processes of our own v2 cgroup move: one with processes in it cannot give controllers to its children."""
_REMOVAL_S = 1.0
"""The kernel may call a cgroup busy for a moment after its last process has ended."""


class ProbeGroup:
    """The cgroup of one probe.

    Attributes:
        directories: one in each hierarchy used; the first holds the memory controller.
        memory: its memory controller.

    """

    def __init__(self, directories: list[Path], memory: Memory) -> None:
        self.directories = directories
        self.memory = memory

    def add(self, pid: int) -> None:
        """Move a process in, with all it will start."""
        for directory in self.directories:
            write(directory / "cgroup.procs", pid)

    def processes(self) -> list[int]:
        """Return the processes inside, in every hierarchy used."""
        return sorted({pid for directory in self.directories for pid in processes(directory)})

    def counters(self) -> dict[str, int]:
        """Return `memory.*` and `pids.max` of this cgroup."""
        found = self.memory.counters()
        for directory in self.directories:
            events = table(directory / "pids.events")
            found |= {"pids.max": events["max"]} if "max" in events else {}
        return found

    def kill(self, patience_s: float = 10.0) -> bool:
        """Kill everything inside and wait until it is empty; False where something outlived that."""
        deadline = time.monotonic() + patience_s
        while self.processes():
            for directory in self.directories:
                if (directory / "cgroup.kill").exists():
                    write(directory / "cgroup.kill", 1)
            proc.kill(self.processes())
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def remove(self) -> None:
        """Remove the cgroup, which must be empty; one still busy after a second is left for the next start."""
        _remove(self.directories)


def remove_left(directories: Iterable[Path], paths: CgroupPaths | None = None) -> None:
    """Remove what is left of the cgroups of probes whose search has ended.

    Args:
        directories: as a journal names them; what is no probe's cgroup, is not empty or may not be removed stays.
        paths: where we stand; looked up where not given.

    """
    found = cgroups.read() if paths is None else paths
    mounts = {group.mount for group in (found.memory, found.pids, found.unified) if group is not None}
    with contextlib.suppress(OSError, ValueError):  # a name that no file can have
        _remove([directory for directory in directories if _is_probes(directory, mounts)])


def _is_probes(directory: Path, mounts: set[Path]) -> bool:
    """Tell whether this names a cgroup as probes have; nothing else is ours to remove."""
    if not directory.name.startswith(PREFIX) or directory.name == LEAF or ".." in directory.parts:
        return False
    return not mounts.isdisjoint(directory.parents)


def _remove(directories: Iterable[Path]) -> None:
    left, deadline = list(directories), time.monotonic() + _REMOVAL_S
    while (left := [path for path in left if not _is_gone(path)]) and time.monotonic() < deadline:
        time.sleep(0.005)


def _is_gone(directory: Path) -> bool:
    """Try to remove a cgroup with those below it; tell whether it is gone."""
    for path in subtree(directory):
        with contextlib.suppress(OSError):
            path.rmdir()
    return not directory.exists()


def create(
    name: str, memory_bytes: int | None, pids_max: int | None = None, paths: CgroupPaths | None = None
) -> ProbeGroup | None:
    """Make a cgroup below our own.

    Args:
        name: of the new directory, in each hierarchy.
        memory_bytes: its limit, swap included; None for none.
        pids_max: processes and threads it may have.
        paths: where we stand; looked up where not given.

    Returns:
        None where we may not: no controller, no privilege, a read-only mount.

    """
    paths = cgroups.read() if paths is None else paths
    made: list[Path] = []
    try:
        return _create(name, memory_bytes, pids_max, paths, made)
    except OSError:
        for directory in made:
            _is_gone(directory)
        return None


def _create(
    name: str, memory_bytes: int | None, pids_max: int | None, paths: CgroupPaths, made: list[Path]
) -> ProbeGroup | None:
    if paths.memory is None:
        return None
    with _alone(_base(paths.memory)):
        made.append(_make_below(paths.memory, name))
        memory = Memory(made[0], paths.memory.version)
        if memory_bytes is not None:
            memory.set_limit(memory_bytes)
    if paths.memory.version == 1:
        # v1 lacks killing at one stroke, which a v2 hierarchy beside it has, and counts processes elsewhere
        helpers = [paths.unified, paths.pids if pids_max is not None else None]
        made += [_make_below(group, name) for group in helpers if group is not None]
    if pids_max is not None:
        write(next(d for d in made if (d / "pids.max").exists()) / "pids.max", pids_max)
    return ProbeGroup(made, memory)


def restore(paths: CgroupPaths | None = None) -> None:
    """Undo the move into a leaf, once no probe's cgroup is left beside it; what the kernel refuses stays.

    Args:
        paths: where we stand; looked up where not given.

    """
    group = (cgroups.read() if paths is None else paths).unified
    if group is None or group.folder.name != LEAF:
        return
    base = _base(group)
    with contextlib.suppress(OSError), _alone(base):
        if any(path.is_dir() and path.name != LEAF for path in base.glob(f"{PREFIX}*")):
            return
        write(base / "cgroup.subtree_control", "-memory -pids")
        for pid in map(int, words(group.folder / "cgroup.procs")):
            write(base / "cgroup.procs", pid)
        group.folder.rmdir()


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep other searches in our cgroup out: none may take back controllers that another hands down just now."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _base(group: Group) -> Path:
    """Return our cgroup, where it was before its processes moved into the leaf."""
    return group.folder.parent if group.folder.name == LEAF else group.folder


def _make_below(group: Group, name: str) -> Path:
    base = _base(group)
    if "memory" in words(base / "cgroup.controllers"):
        _hand_down_controllers(base)
    directory = base / name
    directory.mkdir()
    return directory


def _hand_down_controllers(base: Path) -> None:
    """Enable memory and pids for the children of our v2 cgroup, moving its processes into a leaf first."""
    wanted = {"memory", "pids"} & set(words(base / "cgroup.controllers"))
    missing = wanted - set(words(base / "cgroup.subtree_control"))
    if not missing:
        return
    order = " ".join(f"+{name}" for name in sorted(missing))
    try:
        write(base / "cgroup.subtree_control", order)
    except OSError:
        _move_into_leaf(base)
        write(base / "cgroup.subtree_control", order)


def _move_into_leaf(base: Path) -> None:
    leaf = base / LEAF
    leaf.mkdir(exist_ok=True)
    # ours first: it is what must not fail; the others share our cgroup, limits and all, before and after
    write(leaf / "cgroup.procs", os.getpid())
    for pid in map(int, words(base / "cgroup.procs")):
        with contextlib.suppress(OSError):
            write(leaf / "cgroup.procs", pid)
