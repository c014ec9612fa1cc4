"""Watch one running probe: sample, journal, and find a reason to end it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autobatch.isolation import proc
from autobatch.isolation.cgroup import ProbeGroup
from autobatch.isolation.device import DeviceWatch
from autobatch.isolation.evidence import read_tail
from autobatch.isolation.rules import says_shm_is_full
from autobatch.isolation.watchdog import POLL_S, Watchdog, headroom_bytes
from autobatch.machine import cgroups
from autobatch.request import Journal

_GROUP_POLL_S = (0.05, 0.25)
"""Shortest and longest time between readings. Each takes a millisecond from some thread of the probe where cores are
few, and all that meet it at a barrier wait: on two cores 20 readings a second made steps 6 % longer."""
_SLOW_S = 0.25
_CARD_S = 2.0
"""The driver takes milliseconds to answer, in which it may keep the probe waiting."""
_JOURNAL_S = 1.0
_OOM_GRACE_S = 6.0
"""A DataLoader notices a dead worker within 5 s; after this a probe that lost a process, or a batch, is ended."""
_KEPT_BYTES = 192 << 20
"""Room in the container below which a probe goes that has not had its own share yet: one core fills it in 80 ms."""
_FILLED_BYTES_PER_S = _KEPT_BYTES / 0.08
_BUSY_SHARE = 0.02
"""Of one core: a tree that uses less is idle."""


@dataclass
class Seen:
    """What was seen of a probe from outside."""

    host_peak_bytes: int = 0
    disk_free_bytes: int | None = None
    shm_free_bytes: int | None = None
    phase: str = ""
    heartbeat_at: float = 0.0
    active_at: float = 0.0
    oom_at: float | None = None
    states: str = ""
    child_signals: frozenset[int] = frozenset()
    """Signals that ended children of the probe, such as DataLoader workers."""
    device_used_bytes: int | None = None


@dataclass(frozen=True)
class Subject:
    """The probe that is watched."""

    pid: int
    folder: Path
    group: ProbeGroup | None
    tree: Callable[[], list[int]]
    """Returns its processes, workers and escapees included."""
    shared_bytes: int
    """Memory it shares with its parent, charged there."""
    limit_bytes: int
    """What it may have, `shared_bytes` included."""


class Watch:
    """Readings of one probe, at three paces: memory, then files and the card, then the journal.

    Args:
        subject: the probe.
        deadline_s: from now.
        hang_s: an idle tree without a heartbeat for this long hangs.
        watchdog: where the probe has no cgroup.
        device: where it runs on a card.

    """

    def __init__(
        self,
        subject: Subject,
        *,
        deadline_s: float,
        hang_s: float,
        watchdog: Watchdog | None = None,
        device: DeviceWatch | None = None,
    ) -> None:
        self.seen = Seen()
        self._subject = subject
        self._watchdog = watchdog
        self._device = device
        self._began = time.monotonic()
        self._deadline_s = deadline_s
        self._hang_s = hang_s
        self._progress_ns = 0
        self._work = (self._began, 0)
        self._next_slow = self._next_card = self._next_journal = self._next_log = 0.0
        self._ours = cgroups.read().memory
        self._group_poll_s = _GROUP_POLL_S[0]
        self.seen.heartbeat_at = self.seen.active_at = self._began

    @property
    def poll_s(self) -> float:
        """How long to wait between two readings."""
        return POLL_S if self._watchdog is not None else self._group_poll_s

    def look(self, journal: Journal) -> str | None:
        """Take the readings that are due; return the reason to end the probe now, if there is one."""
        now = time.monotonic()
        if self._watchdog is not None and self._watchdog.must_stop():
            return "memory"
        if self._sample_group():
            return "squeezed"
        if now >= self._next_slow:
            self._next_slow = now + _SLOW_S
            self._sample_slowly(now)
        if now >= self._next_journal:
            self._next_journal = now + _JOURNAL_S
            journal.sample(self.facts())
        return self._reason(now)

    def facts(self) -> dict[str, object]:
        """Return the latest sample, JSON-ready."""
        host = self._subject.group.memory.working_set_bytes() if self._subject.group else self.seen.host_peak_bytes
        return {
            "at_s": round(time.monotonic() - self._began, 3),
            "host_bytes": host,
            "device_bytes": self.seen.device_used_bytes,
            "phase": self.seen.phase,
        }

    def note_states(self) -> None:
        """Remember the states of its processes, before it is ended."""
        states = {now.state for pid in self._subject.tree() if (now := proc.stat(pid)) is not None}
        self.seen.states = "".join(sorted(states))

    def _sample_group(self) -> bool:
        """Read its cgroup; tell whether neighbours are about to take what it was promised, and us with it."""
        group = self._subject.group
        if group is None:
            return False
        held = group.memory.working_set_bytes() + self._subject.shared_bytes
        self.seen.host_peak_bytes = max(self.seen.host_peak_bytes, held)
        if self.seen.oom_at is None and group.counters().get("memory.oom_kill", 0) > 0:
            self.seen.oom_at = time.monotonic()
        room = headroom_bytes(self._ours)
        self._group_poll_s = group_poll_s(room, os.cpu_count() or 1)
        return room < _KEPT_BYTES and room < self._subject.limit_bytes - held

    def _sample_slowly(self, now: float) -> None:
        tree = self._subject.tree()
        if self._subject.group is None:
            held = sum(map(proc.anonymous_bytes, tree)) + self._subject.shared_bytes
            self.seen.host_peak_bytes = max(self.seen.host_peak_bytes, held)
        self.seen.shm_free_bytes = _least(self.seen.shm_free_bytes, Path(f"/proc/{self._subject.pid}/root/dev/shm"))
        self.seen.disk_free_bytes = _least(
            self.seen.disk_free_bytes, Path(f"/proc/{self._subject.pid}/root/{self._subject.folder}")
        )
        self._read_progress(now)
        self._read_work(now, tree)
        self._read_children()
        if self._device is not None and now >= self._next_card:
            self._next_card = now + _CARD_S
            self.seen.device_used_bytes = self._device.sample(tree)

    def _read_progress(self, now: float) -> None:
        path = self._subject.folder / "progress.json"
        with contextlib.suppress(OSError, ValueError):
            changed = path.stat().st_mtime_ns
            if changed != self._progress_ns:
                self._progress_ns = changed
                self.seen.heartbeat_at = self.seen.active_at = now
                self.seen.phase = str(json.loads(path.read_text()).get("phase", ""))

    def _read_work(self, now: float, tree: list[int]) -> None:
        """Note whether the tree used the processor or moved data since the last reading that it did."""
        ticks = sum(s.cpu_ticks for pid in tree if (s := proc.stat(pid)) is not None)
        work = ticks * 1_000_000 // os.sysconf("SC_CLK_TCK") + sum(map(proc.io_bytes, tree))
        then, before = self._work
        # a byte weighs as much as a microsecond: 20 kB/s of reading is work, too
        if abs(work - before) > _BUSY_SHARE * 1_000_000 * (now - then):
            self.seen.active_at = now
        self._work = now, work

    def _read_children(self) -> None:
        """Look for children that are dead and not yet reaped: what killed them is not always told."""
        found = (proc.stat(pid) for pid in proc.children(self._subject.pid))
        signals = {now.exit_code & 0x7F for now in found if now is not None and now.state == "Z"} - {0}
        self.seen.child_signals |= signals

    def _starves(self, now: float) -> bool:
        """Tell whether a silent probe waits for a batch that shared memory had no room for: it never comes."""
        if now - self.seen.heartbeat_at < _OOM_GRACE_S or now < self._next_log:
            return False
        self._next_log = now + _OOM_GRACE_S
        return says_shm_is_full(read_tail(self._subject.folder / "log.txt"))

    def _reason(self, now: float) -> str | None:
        seen = self.seen
        if seen.oom_at is not None and now - seen.oom_at > _OOM_GRACE_S:
            return "oom"
        if self._starves(now):
            return "shm"
        if now - seen.active_at > self._hang_s:
            return "hang"
        if now - self._began > self._deadline_s:
            silent = now - seen.heartbeat_at > max(0.5 * self._deadline_s, 1.0)
            return "hang" if silent else "deadline"
        return None


def group_poll_s(room_bytes: int, cores: int) -> float:
    """Return the time until the next reading: half of what the host's cores, all of them, need to fill the room."""
    shortest, longest = _GROUP_POLL_S
    spare = max(0, room_bytes - _KEPT_BYTES)
    return min(longest, max(shortest, 0.5 * spare / (_FILLED_BYTES_PER_S * cores)))


def _least(known: int | None, path: Path) -> int | None:
    """Return the lesser of what was known and what is free there now."""
    try:
        found = os.statvfs(path)
    except OSError:
        return known
    free = found.f_bavail * found.f_frsize
    return free if known is None else min(known, free)
