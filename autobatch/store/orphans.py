"""What a killed search left running: found by the mark in its environment and by its recorded pid, and killed."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from autobatch.isolation import proc
from autobatch.isolation.parent import MARK
from autobatch.store.owner import Process

PATIENCE_S = 10.0


def kill_orphans(owner: Process, started: Mapping[str, Any] | None) -> tuple[list[int], list[int]]:
    """Kill what a dead search left behind, and wait until it is gone.

    Args:
        owner: the process of the dead search.
        started: what its journal said of the probe's process, if it came to that.

    Returns:
        The processes that were killed, and those of them that are there still: stuck in the kernel.

    """
    deadline = time.monotonic() + PATIENCE_S
    killed: set[int] = set()
    while left := find_orphans(owner, started):
        killed |= set(left)
        proc.kill(left)
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return sorted(killed), left


def find_orphans(owner: Process, started: Mapping[str, Any] | None) -> list[int]:
    """Return the living processes of a dead search; none where its pids mean nothing here."""
    if not owner.is_visible:
        return []
    found = set(proc.marked(f"{MARK}={owner.pid}-"))
    probe = None if started is None else Process.from_facts(started, owner.pid_namespace)
    if probe is not None and probe.is_alive:
        found |= {probe.pid, *proc.descendants(probe.pid)}
    return sorted(pid for pid in found if _is_of(owner, pid))


def _is_of(owner: Process, pid: int) -> bool:
    """Tell whether a process can be the owner's: it lives, and is no child of one that has the owner's pid now."""
    now = proc.stat(pid)
    if now is None or now.state in "ZX" or pid == os.getpid():
        return False
    reused = proc.stat(owner.pid)
    return owner.start_time_ticks <= now.start_ticks and (reused is None or now.start_ticks < reused.start_ticks)
