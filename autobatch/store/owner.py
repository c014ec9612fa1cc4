"""Which process wrote a row, and whether it still lives: process ids are reused, so its start time goes with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autobatch.isolation import proc

_COMMAND_CHARACTERS = 500


@dataclass(frozen=True)
class Process:
    """One process, told from every other that this machine has run or will run.

    Attributes:
        boot_id: of the kernel's run; it changes with a restart of the machine.
        pid_namespace: the namespace in which `pid` counts, each container's own: its inode and, as those are used
            again, the start time of its first process.
        start_time_ticks: clock ticks from boot to the start of the process.

    """

    boot_id: str
    pid_namespace: str
    pid: int
    start_time_ticks: int

    @classmethod
    def current(cls) -> Process:
        """Return this process."""
        now = proc.stat(os.getpid())
        assert now is not None, "a process finds itself in /proc"
        return cls(proc.boot_id(), pid_namespace(), now.pid, now.start_ticks)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], pid_namespace: str) -> Process | None:
        """Return the process that `Journal.started` told of, or None where the facts do not name one."""
        try:
            return cls(str(facts["boot_id"]), pid_namespace, int(facts["pid"]), int(facts["start_time_ticks"]))
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def is_visible(self) -> bool:
        """Whether its pid means anything here: same boot, same namespace."""
        return self.boot_id == proc.boot_id() and self.pid_namespace == pid_namespace()

    @property
    def is_alive(self) -> bool:
        """Whether it runs, as far as it is visible; a zombie does not."""
        return self.is_visible and proc.is_same(self.pid, self.start_time_ticks)


def pid_namespace() -> str:
    """Return the identity of our PID namespace, unique within one boot."""
    first = proc.stat(1)
    return f"{(proc.PROC / 'self/ns/pid').stat().st_ino}:{first.start_ticks if first else 0}"


def command(pid: int) -> str:
    """Return a process's command line, in one line; empty where it is gone."""
    try:
        raw = (proc.PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return ""
    return " ".join(raw.decode(errors="replace").replace("\0", " ").split())[:_COMMAND_CHARACTERS]
