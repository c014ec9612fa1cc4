"""What /proc says of processes: identity, state, children, memory. Linux only."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Stat:
    """One line of /proc/PID/stat, as far as it is used here."""

    pid: int
    state: str
    """R running, S sleeping, D waiting for a device, T stopped, Z ended but not reaped."""
    parent: int
    cpu_ticks: int
    """User and system time, its own."""
    start_ticks: int
    """Start after boot; with the pid and the boot it names a process for good."""
    exit_code: int = 0
    """Of a zombie: how it ended, in the form of `waitpid`; 0 also where we may not see it."""


def stat(pid: int) -> Stat | None:
    """Return the state of a process, or None where it is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # the name in parentheses may hold spaces and parentheses itself
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(pid, fields[0], int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[19]), int(fields[49]))


def is_same(pid: int, start_ticks: int) -> bool:
    """Tell whether the process of that pid is still the one that started then."""
    now = stat(pid)
    return now is not None and now.start_ticks == start_ticks and now.state != "Z"


def boot_id() -> str:
    """Return the name of this boot of the kernel."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def children(pid: int) -> list[int]:
    """Return the direct children of a process, those of all its threads."""
    found: list[int] = []
    try:
        for task in (PROC / str(pid) / "task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except OSError:
        return found
    return found


def descendants(pid: int) -> list[int]:
    """Return every process below one, parents first; zombies are left out."""
    found: list[int] = []
    level = children(pid)
    while level:
        found += level
        level = [grandchild for child in level for grandchild in children(child)]
    return [child for child in found if (now := stat(child)) is not None and now.state != "Z"]


def marked(mark: str) -> list[int]:
    """Return the processes that were started with this text in their environment, whoever their parent is now."""
    others = (int(path.name) for path in PROC.iterdir() if path.name.isdigit() and int(path.name) != os.getpid())
    return [pid for pid in others if _has_in_environment(pid, mark.encode())]


def _has_in_environment(pid: int, mark: bytes) -> bool:
    try:
        return mark in (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False


def kill(pids: Iterable[int], number: int = signal.SIGKILL) -> None:
    """Send a signal to each; those that are gone, or not ours, are passed over."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def anonymous_bytes(pid: int) -> int:
    """Return a process's share of memory that cannot be dropped: anonymous and shared, split among its sharers."""
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    wanted = [line.split() for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:"))]
    return sum(int(words[1]) for words in wanted) * 1024


def resident_bytes(pid: int) -> int:
    """Return a process's own resident anonymous and shared memory, not split among sharers."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    wanted = [line.split() for line in lines if line.startswith(("RssAnon:", "RssShmem:"))]
    return sum(int(words[1]) for words in wanted) * 1024


def io_bytes(pid: int) -> int:
    """Return the bytes a process has read and written by system calls; 0 where that is not told."""
    try:
        lines = (PROC / str(pid) / "io").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines[:2])


def address_space_limit(pid: int) -> int | None:
    """Return a process's soft RLIMIT_AS in bytes; None where it has none."""
    try:
        lines = (PROC / str(pid) / "limits").read_text().splitlines()
    except OSError:
        return None
    soft = next((line.split()[3] for line in lines if line.startswith("Max address space")), "unlimited")
    return int(soft) if soft.isdigit() else None


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that made it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that none can slip away."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
