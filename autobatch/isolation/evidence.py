"""What is known of a probe that has ended: the facts that `classify` decides on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autobatch.isolation.cgroup_memory import memory_counters
from autobatch.machine.cgroups import CgroupPaths, table

LOG_BYTES = 8192
"""Of the log's end that a verdict keeps."""
_OUTCOME_BYTES = 16 << 20


@dataclass(frozen=True)
class DeviceFacts:
    """What NVML said of the card around the probe; None where it does not tell."""

    others_before_bytes: int | None = None
    """Memory of other processes when the probe started."""
    others_after_bytes: int | None = None
    """The same when its tree was gone."""
    others_moved_in: bool = False
    """Another process appeared, grew or began to compute while the probe ran."""
    peak_used_bytes: int | None = None
    """Largest used memory seen, less what others had before."""
    total_bytes: int | None = None
    lost: str | None = None
    """NVML's words when the card no longer answers."""
    xids: tuple[int, ...] = ()
    """Driver error events while it ran."""


@dataclass(frozen=True)
class Evidence:
    """All facts about one probe's end."""

    returncode: int | None = None
    """Exit status, or minus the signal; None where nobody could tell."""
    runs_on: str = "cpu"
    """The device asked for."""
    stopped: str | None = None
    """Why we ended it: `deadline`, `hang`, `memory`, `oom`, `shm`, `squeezed`; None where we did not."""
    outcome: Mapping[str, Any] | None = None
    """What the probe wrote; None where it wrote nothing, or nothing whole."""
    phase: str = ""
    """Last phase in progress.json."""
    heartbeat_age_s: float | None = None
    """How long progress.json had not changed at the end."""
    idle_s: float = 0.0
    """How long its processes had neither computed nor moved data at the end."""
    log_tail: str = ""
    counters: Mapping[str, int] = field(default_factory=dict)
    """How far each kernel counter moved.

    `memory.*` and `pids.max` are the probe's own cgroup's, `ancestor.*` those above it, `vmstat.*` the machine's.
    """
    has_cgroup: bool = False
    cgroup_version: int | None = None
    limit_bytes: int | None = None
    """Host memory limit that was enforced on it, what it shares with its parent included."""
    host_peak_bytes: int | None = None
    """Largest working set seen of the whole tree."""
    disk_free_bytes: int | None = None
    """Least seen free where the probe's folder is."""
    shm_free_bytes: int | None = None
    """Least seen free in the probe's own /dev/shm."""
    address_space_limit_bytes: int | None = None
    """Its RLIMIT_AS, if it had one."""
    states: str = ""
    """States of its processes when we ended it: R, S, D, T."""
    child_signals: frozenset[int] = frozenset()
    """Signals that ended its children, such as DataLoader workers, as far as they were seen."""
    device: DeviceFacts = field(default_factory=DeviceFacts)
    parent_died: bool = False
    """The process that forked it was gone, so nobody could tell how it ended."""

    @property
    def error(self) -> Mapping[str, Any]:
        """The exception that the probe reported; empty where it reported none."""
        found = (self.outcome or {}).get("error")
        return found if isinstance(found, Mapping) else {}

    @property
    def exceptions(self) -> list[tuple[str, str]]:
        """Type and message of the exception and of its causes, outermost first."""
        links = [self.error, *(self.error.get("chain") or [])] if self.error else []
        return list(dict.fromkeys((str(link.get("type", "")), str(link.get("message", ""))) for link in links))

    @property
    def signal(self) -> int | None:
        """The signal that ended it."""
        return -self.returncode if self.returncode is not None and self.returncode < 0 else None

    def moved(self, *names: str) -> bool:
        """Tell whether any of these counters rose. How far says nothing: one kill may count two or three."""
        return any(self.counters.get(name, 0) > 0 for name in names)

    def to_dict(self) -> dict[str, Any]:
        """Return the facts a person or a later reader needs, JSON-ready; what is unknown is left out."""
        signal_name = signal.Signals(self.signal).name if self.signal in set(signal.Signals) else None
        facts = {
            "returncode": self.returncode,
            "signal": signal_name,
            "stopped_by_us": self.stopped,
            "phase": self.phase or None,
            "exception": dict(self.error) or None,
            "counters": {name: value for name, value in self.counters.items() if value} or None,
            "host_limit_bytes": self.limit_bytes,
            "host_peak_bytes": self.host_peak_bytes,
            "heartbeat_age_s": self.heartbeat_age_s if self.stopped else None,
            "process_states": self.states or None,
            "child_signals": sorted(self.child_signals) or None,
            "cgroup": f"v{self.cgroup_version}" if self.has_cgroup else "none",
            "log": None if self.outcome and not self.error else self.log_tail or None,
            "device": {k: v for k, v in vars(self.device).items() if v not in (None, (), False)} or None,
        }
        return {name: value for name, value in facts.items() if value is not None}


def read_counters(paths: CgroupPaths) -> dict[str, int]:
    """Return the kernel's counters above any probe: of our own cgroup and its ancestors, and of the machine."""
    found: dict[str, int] = {}
    for directory in paths.memory.upwards() if paths.memory else ():
        for name, value in memory_counters(directory).items():
            found[f"ancestor.{name}"] = found.get(f"ancestor.{name}", 0) + value
    if paths.pids:
        found["ancestor.pids.max"] = sum(table(d / "pids.events").get("max", 0) for d in paths.pids.upwards())
    machine = table(Path("/proc/vmstat"))
    return found | ({"vmstat.oom_kill": machine["oom_kill"]} if "oom_kill" in machine else {})


def difference(before: Mapping[str, int], after: Mapping[str, int], version: int | None) -> dict[str, int]:
    """Return how far each counter rose; one that was not there before began at zero.

    v1's `ancestor.max` is no counter: it tells that a container's limit was ever reached, and stays as it is.
    """
    rose = {name: value - before.get(name, 0) for name, value in after.items()}
    return rose | ({"ancestor.max": after["ancestor.max"]} if version == 1 and "ancestor.max" in after else {})


def read_outcome(folder: Path) -> dict[str, Any] | None:
    """Return what the probe wrote at its end; None where it is missing, cut off or no outcome at all."""
    path = folder / "outcome.json"
    try:
        if path.stat().st_size > _OUTCOME_BYTES:
            return None
        outcome = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return outcome if _is_outcome(outcome) else None


def _is_outcome(data: Any) -> bool:  # noqa: ANN401 - whatever JSON held
    """Tell whether this has the form of an outcome: what a dying or hostile process wrote is not taken on trust."""
    if not isinstance(data, dict) or data.get("status") not in ("ok", "error"):
        return False
    measurements, flags = data.get("measurements", {}), data.get("flags", {})
    if not isinstance(measurements, dict) or not isinstance(flags, dict):
        return False
    startup = measurements.get("startup_s", {})
    figures = [value for name, value in measurements.items() if name != "startup_s"]
    return isinstance(startup, dict) and all(isinstance(n, int | float) for n in (*figures, *startup.values()))


def read_tail(path: Path, size: int = LOG_BYTES) -> str:
    """Return the end of a text file; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
