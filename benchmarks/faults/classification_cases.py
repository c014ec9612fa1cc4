"""What is done to a probe, and the verdict that the evidence allows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autobatch.isolation import proc
from autobatch.request import Limits, Plan
from autobatch.verdict import Kind

MIB = 1 << 20
_HOST = Limits(host_bytes=768 * MIB)
_FILLS = Limits(host_bytes=768 * MIB, host_fraction=1.0)
_SHORT = Plan(max_seconds=3.0)
_NEIGHBOUR = "import time; kept = []\nwhile len(kept) < {count}: kept.append(bytearray(4 << 20))\ntime.sleep(60)"
INSIDE_BYTES = 1536 * MIB
"""Limit of the container that the cases marked `inside` run in."""

Hook = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Case:
    """One way to end, and its right verdicts.

    Attributes:
        fault: what is done, in words.
        entry: function of `classification_entries`, or `card:` and one of `classification_card`.
        right: verdicts that the evidence allows, cgroup v1 and v2; on v2 the kernel takes the whole group at once.
        options: of the runner.
        hook: called with the facts of the first sample, while the probe runs.
        needs_torch: whether it is forked from a preloaded parent only.
        inside: whether it runs in a container (a cgroup) of its own with a neighbour.
        cuda: whether it needs a card.

    """

    fault: str
    entry: str
    right: tuple[Kind, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    plan: Plan = field(default_factory=lambda: Plan(max_seconds=60))
    hook: Hook | None = None
    needs_torch: bool = False
    inside: bool = False
    cuda: bool = False


def kill(number: int) -> Hook:
    """Return a hook that does what a person with `kill` does."""
    return lambda facts: os.kill(facts["pid"], number)


def kill_worker(facts: Mapping[str, Any]) -> None:
    """Kill one DataLoader worker, as a person would."""
    while not (workers := proc.children(facts["pid"])):
        pass
    proc.kill(workers[:1])


def grow_neighbour(facts: Mapping[str, Any]) -> None:
    """Start a neighbour in our container that takes what the probe had been promised."""
    count = (facts["limit_bytes"] - 64 * MIB) // (4 * MIB)
    subprocess.Popen([sys.executable, "-c", _NEIGHBOUR.format(count=count)], stdout=subprocess.DEVNULL)


_TORCH: dict[str, Any] = {"needs_torch": True}
_LOADER_KILLED = (Kind.LOADER_WORKER_KILLED, Kind.HOST_OOM)
_CGROUP: dict[str, Any] = {"limits": _HOST}
_NO_CGROUP: dict[str, Any] = {"limits": _HOST, "use_cgroup": False}
_HANGS: dict[str, Any] = {"hang_s": 0.7}

CASES = (
    Case("own limit, one process", "eats", (Kind.HOST_OOM,), _CGROUP),
    Case("own limit, one process, slowly", "eats_slowly", (Kind.HOST_OOM,), _CGROUP),
    Case("own limit, process tree", "tree_eats", (Kind.HOST_OOM,), _CGROUP),
    Case("own limit, escapee from the session", "escapee_eats", (Kind.HOST_OOM,), _CGROUP),
    Case("own limit, DataLoader worker", "loader_eats", _LOADER_KILLED, _CGROUP, **_TORCH),
    Case("container's limit, neighbour grew", "eats_half", (Kind.HOST_OOM_ANCESTOR,), hook=grow_neighbour, inside=True),
    Case("no cgroup, watchdog, full speed", "eats", (Kind.WATCHDOG_MEMORY,), _NO_CGROUP),
    Case("no cgroup, watchdog, process tree", "tree_eats", (Kind.WATCHDOG_MEMORY,), _NO_CGROUP),
    Case("RLIMIT_AS, Python", "address_space", (Kind.CPU_ALLOCATION,)),
    Case("RLIMIT_AS, torch", "tensor_too_large", (Kind.CPU_ALLOCATION,), **_TORCH),
    Case("pids limit, threads", "many_threads", (Kind.THREADS_EXHAUSTED,), {"pids_max": 24}),
    Case("pids limit, processes", "many_processes", (Kind.THREADS_EXHAUSTED,), {"pids_max": 24}),
    Case("/dev/shm full, tensor", "shared_tensor", (Kind.SHM_FULL,), **_TORCH),
    Case("/dev/shm full, SIGBUS", "shared_bus_error", (Kind.SHM_FULL,)),
    Case("/dev/shm full, DataLoader worker", "loader_shared_memory", (Kind.SHM_FULL,), **_TORCH),
    Case("disk full, checkpoint", "file_system_full", (Kind.DISK_FULL,)),
    Case("disk full, SQLite", "database_full", (Kind.DISK_FULL,)),
    Case("hang, sleeps", "sleeps", (Kind.HANG,), _HANGS),
    Case("hang, stopped (SIGSTOP)", "stops", (Kind.HANG,), _HANGS),
    Case("hang, deadlock", "deadlocks", (Kind.HANG,), _HANGS),
    Case("hang, busy and silent", "spins", (Kind.HANG,), plan=Plan(max_seconds=5.0)),
    Case("time is up, still working", "works_on", (Kind.TIMEOUT,), plan=_SHORT),
    Case("broken pipe, Python", "broken_pipe", (Kind.BROKEN_PIPE,)),
    Case("broken pipe, native program", "broken_pipe_native", (Kind.BROKEN_PIPE,)),
    Case("a person's SIGKILL", "sleeps", (Kind.KILLED,), hook=kill(signal.SIGKILL)),
    Case("preemption (SIGTERM)", "sleeps", (Kind.KILLED,), hook=kill(signal.SIGTERM)),
    Case("a person's SIGKILL, DataLoader worker", "loader_waits", (Kind.KILLED,), hook=kill_worker, **_TORCH),
    Case("loss not finite", "not_finite", (Kind.NUMERICS,)),
    Case("user's exception", "raises", (Kind.USER_ERROR,)),
    Case("control: user's text speaks of memory", "speaks_of_memory", (Kind.USER_ERROR,)),
    Case("native crash", "crashes", (Kind.USER_ERROR,)),
    Case("control: exit status 137", "exits_137", (Kind.NO_VERDICT,)),
    Case("control: no outcome", "exits_silently", (Kind.NO_VERDICT,)),
    Case("control: outcome cut off", "writes_half", (Kind.NO_VERDICT,)),
    Case("control: page-cache pressure", "page_cache", (Kind.OK,), {"limits": _FILLS}),
    Case("control: 95 % of the limit, allowed", "nearly_all", (Kind.OK,), {"limits": _FILLS}),
    Case("control: 95 % of the limit, above the safe share", "nearly_all", (Kind.HOST_OVER_LIMIT,), _CGROUP),
    Case("control: runs", "fine", (Kind.OK,)),
    Case("CUDA, training", "card:cuda_full", (Kind.CUDA_OOM_TRAIN,), cuda=True, **_TORCH),
    Case("CUDA, evaluation", "card:cuda_full_in_eval", (Kind.CUDA_OOM_EVAL,), cuda=True, **_TORCH),
    Case("CUDA, poisoned context", "card:cuda_assert", (Kind.CUDA_POISONED,), cuda=True, **_TORCH),
    Case("control: CUDA runs", "card:cuda_fine", (Kind.OK,), cuda=True, **_TORCH),
)
OUT_OF_MEMORY = frozenset(
    {
        Kind.CUDA_OOM_TRAIN,
        Kind.CUDA_OOM_EVAL,
        Kind.HOST_OOM,
        Kind.HOST_OOM_ANCESTOR,
        Kind.WATCHDOG_MEMORY,
        Kind.LOADER_WORKER_KILLED,
    }
)
"""Verdicts that must never be given to anything else."""
