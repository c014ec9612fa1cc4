"""One probe from its fork to an empty process tree."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autobatch.isolation import proc
from autobatch.isolation.cgroup import ProbeGroup
from autobatch.isolation.device import DeviceWatch
from autobatch.isolation.evidence import DeviceFacts, Evidence, difference, read_counters, read_outcome, read_tail
from autobatch.isolation.parent import ParentDiedError, PreloadedParent
from autobatch.isolation.watch import Subject, Watch
from autobatch.isolation.watchdog import Watchdog
from autobatch.machine import cgroups
from autobatch.request import Journal, Plan

_END_S = 15.0
"""A killed process is reaped within this, unless a driver holds it (state D)."""


@dataclass(frozen=True)
class Guards:
    """What holds a probe."""

    group: ProbeGroup | None
    limit_bytes: int
    """Host memory that it may have, by the cgroup or by the watchdog, what it shares with its parent included."""
    runs_on: str
    device: DeviceWatch | None
    hang_s: float
    mark: str


class Probe:
    """One running probe.

    Args:
        parent: forks it.
        folder: its own, with the request in it.
        guards: what holds it.

    """

    def __init__(self, parent: PreloadedParent, folder: Path, guards: Guards) -> None:
        self._parent = parent
        self._folder = folder
        self._guards = guards
        self._group = guards.group
        self._paths = cgroups.read()
        self._returncode: int | None = None
        self._ended = False
        self._parent_died = False
        self._address_space: int | None = None

    def run(self, order: Mapping[str, Any], plan: Plan, journal: Journal) -> Evidence:
        """Start it, watch it, end its tree, and return what is known of it."""
        before = read_counters(self._paths)
        pid = self._parent.fork(order)
        stopped = None
        try:
            watch = self._prepare(pid, plan, journal, before)
            stopped = self._watch(pid, watch, journal)
        except KeyboardInterrupt:
            journal.intent("interrupt")
            raise
        finally:
            self._end_tree(pid)
        version = self._paths.memory.version if self._paths.memory else None
        counters = difference(before, read_counters(self._paths), version)
        counters |= self._group.counters() if self._group is not None else {}
        return self._evidence(watch, stopped, counters)

    def _prepare(self, pid: int, plan: Plan, journal: Journal, before: Mapping[str, int]) -> Watch:
        """Confine it while it waits at its gate, write it down, and return what will watch it."""
        self._confine(pid)
        journal.started(self._facts(pid, before))
        group = self._group
        shared = self._parent.inherited_bytes if group is not None else 0
        tree = self._tree if group is not None else self._tree_and_parent
        subject = Subject(pid, self._folder, group, tree, shared, self._guards.limit_bytes)
        watchdog = Watchdog(self._tree_and_parent, self._guards.limit_bytes) if group is None else None
        return Watch(
            subject,
            deadline_s=plan.max_seconds,
            hang_s=self._guards.hang_s,
            watchdog=watchdog,
            device=self._guards.device,
        )

    def _confine(self, pid: int) -> None:
        """Move it into its cgroup; where a delegated one may be made but not entered, the watchdog takes over."""
        try:
            if self._group is not None:
                self._group.add(pid)
        except OSError:
            self._group = None

    def _facts(self, pid: int, before: Mapping[str, int]) -> dict[str, Any]:
        """Return what names the process beyond its own life, for the ledger."""
        now = proc.stat(pid)
        directories = [str(d) for d in self._group.directories] if self._group else []
        return {
            "pid": pid,
            "start_time_ticks": now.start_ticks if now else None,
            "boot_id": proc.boot_id(),
            "cgroup": directories[0] if directories else None,
            "cgroups": directories,
            "mark": self._guards.mark,
            "folder": str(self._folder),
            "limit_bytes": self._guards.limit_bytes,
            "counters": dict(before),
        }

    def _watch(self, pid: int, watch: Watch, journal: Journal) -> str | None:
        """Let it run and wait for its end; return the reason where it is ours."""
        try:
            self._parent.go(pid)
            while not self._has_ended(pid, watch.poll_s):
                if self._address_space is None:
                    self._address_space = proc.address_space_limit(pid)
                if (reason := watch.look(journal)) is not None:
                    watch.note_states()
                    journal.intent(reason)
                    return reason
        except ParentDiedError:
            self._parent_died = True
        return None

    def _has_ended(self, pid: int, timeout_s: float) -> bool:
        message = self._parent.wait(timeout_s)
        if message is None or message.get("exited") != pid:
            return False
        self._returncode = int(message["status"])
        self._ended = True
        return True

    def _tree(self) -> list[int]:
        """Return its processes: all in its cgroup, and all that descend from the parent, which adopts escapees."""
        inside = self._group.processes() if self._group is not None else []
        parent = None if self._parent_died else self._parent.pid
        below = proc.descendants(parent) if parent is not None else proc.marked(self._guards.mark)
        return list(dict.fromkeys([*inside, *below]))

    def _tree_and_parent(self) -> list[int]:
        """Return its processes, and the parent whose pages they share: where a page counts once, all of it counts."""
        return [*self._tree(), *([self._parent.pid] if self._parent.pid is not None else [])]

    def _end_tree(self, pid: int) -> None:
        """Kill all of it, and wait until it is gone and its end is known."""
        deadline = time.monotonic() + _END_S
        if self._group is not None:
            self._group.kill(_END_S)
        while (left := self._tree()) and time.monotonic() < deadline:
            proc.kill(left)
            self._wait_briefly(pid)
        while not self._ended and not self._parent_died and time.monotonic() < deadline:
            self._wait_briefly(pid)

    def _wait_briefly(self, pid: int) -> None:
        if self._parent_died or self._ended:
            time.sleep(0.002)
            return
        try:
            self._has_ended(pid, 0.02)
        except ParentDiedError:
            self._parent_died = True

    def _evidence(self, watch: Watch, stopped: str | None, counters: Mapping[str, int]) -> Evidence:
        seen, group = watch.seen, self._group
        now = time.monotonic()
        return Evidence(
            returncode=self._returncode,
            runs_on=self._guards.runs_on,
            stopped=stopped,
            outcome=read_outcome(self._folder),
            phase=seen.phase,
            heartbeat_age_s=round(now - seen.heartbeat_at, 3),
            idle_s=round(now - seen.active_at, 3),
            log_tail=read_tail(self._folder / "log.txt"),
            counters=counters,
            has_cgroup=group is not None,
            cgroup_version=group.memory.version if group is not None else None,
            limit_bytes=self._guards.limit_bytes,
            host_peak_bytes=seen.host_peak_bytes or None,
            disk_free_bytes=seen.disk_free_bytes,
            shm_free_bytes=seen.shm_free_bytes,
            address_space_limit_bytes=self._address_space,
            states=seen.states,
            child_signals=seen.child_signals,
            device=self._guards.device.finish() if self._guards.device is not None else DeviceFacts(),
            parent_died=self._parent_died,
        )
