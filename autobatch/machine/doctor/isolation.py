"""What isolation of probes is possible here, tried where trying leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from autobatch.machine import cgroups
from autobatch.machine.cgroups import ROOT, CgroupPaths, Group
from autobatch.machine.doctor.finding import Finding, Level

_AREA = "isolation"
_INSTEAD = "Without it a watchdog stops a probe before the limit, which is a little less certain."
_NEVER_KILLED = -1000


def sub_cgroup(paths: CgroupPaths | None = None) -> Iterator[Finding]:
    """Say whether each probe can have a control group of its own, with a memory limit of its own."""
    group = (paths or cgroups.read()).memory
    if group is None:
        what = "No memory controller to be had: probes get no limit of their own."
        yield Finding(_AREA, Level.NOTE, what, _INSTEAD)
        return
    obstacle = _obstacle(group)
    if obstacle is None:
        yield Finding(_AREA, Level.OK, f"each probe can have its own limit (cgroup v{group.version})")
        return
    what = f"Probes get no memory limit of their own: {obstacle}."
    do = f"Run as root, or delegate the group (systemd-run --user --scope -p Delegate=yes). {_INSTEAD}"
    yield Finding(_AREA, Level.NOTE, what, do)


def killing(paths: CgroupPaths | None = None) -> Iterator[Finding]:
    """Say whether a whole process tree can be killed in one stroke."""
    unified = (paths or cgroups.read()).unified
    obstacle = _made(unified.folder, "cgroup.kill") if unified else "no cgroup v2 here"
    if obstacle is None:
        yield Finding(_AREA, Level.OK, "cgroup.kill ends a probe's whole tree at once")
    else:
        what = f"A probe's tree is found and killed process by process, without cgroup.kill: {obstacle}."
        yield Finding(_AREA, Level.NOTE, what, "A writable cgroup v2 on Linux 5.14 or later has it.")


def oom_score(root: Path = ROOT) -> Iterator[Finding]:
    """Say whether the kernel can be told to take a probe before us."""
    path = root / "proc" / "self" / "oom_score_adj"
    try:
        score = int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        score = None
    if score is None or not os.access(path, os.W_OK):
        what = "oom_score_adj cannot be written: short of memory, the kernel may take the search before the probe."
        yield Finding(_AREA, Level.WARNING, what, "Run it where /proc is writable.")
    elif score == _NEVER_KILLED:
        what = "oom_score_adj is -1000: the kernel may kill nothing of ours, and what it cannot kill it lets hang."
        yield Finding(_AREA, Level.WARNING, what, "Start autobatch outside of services with OOMScoreAdjust=-1000.")
    else:
        yield Finding(_AREA, Level.OK, f"probes can be offered to the kernel first (oom_score_adj is {score})")


def _obstacle(group: Group) -> str | None:
    """Return in words why no group with a limit can be made below this one, or None."""
    if group.version == 1:
        return _made(group.folder, "memory.limit_in_bytes")
    enabled = "memory" in cgroups.words(group.folder / "cgroup.subtree_control")
    if enabled:
        return _made(group.folder, "memory.max")
    # what isolation would do is to move our processes into a leaf and then enable it: here only whether it may
    if "memory" not in cgroups.words(group.folder / "cgroup.controllers"):
        return f"{group.folder} is not given the memory controller"
    closed = [name for name in ("cgroup.subtree_control", "cgroup.procs") if not _writable(group.folder / name)]
    return f"{group.folder / closed[0]} cannot be written" if closed else _made(group.folder, "cgroup.procs")


def _made(folder: Path, file: str) -> str | None:
    """Make a group and remove it again; return in words why it, or this control file in it, is not to be had."""
    trial = folder / f"autobatch-doctor-{os.getpid()}"
    try:
        trial.mkdir()
    except OSError as error:
        return f"{folder}: {error.strerror}"
    try:
        return None if _writable(trial / file) else f"{folder} gives its children no {file}"
    finally:
        with suppress(OSError):
            trial.rmdir()


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK)
