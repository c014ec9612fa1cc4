"""What an idle daemon costs: memory and processor time of a real one, and its memory over 24 simulated hours."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autobatch.daemon import control, presence
from autobatch.daemon.supervisor import Supervisor
from autobatch.isolation import proc

TICKS_A_DAY = 86_400
_SAMPLE_EVERY = 3_600


def resident_mib(pid: int | str) -> float:
    """Return the resident memory of a process, shared libraries included, in MiB."""
    pages = int((proc.PROC / str(pid) / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def idle(folder: Path, seconds: float) -> dict[str, Any]:
    """Measure a daemon that has nothing to do: resident memory, and its share of one core."""
    database = folder / "idle.db"
    daemon = control.start(database)
    assert daemon.pid is not None
    time.sleep(5)
    before, began = _cpu_s(daemon.pid), time.monotonic()
    time.sleep(seconds)
    spent, took = _cpu_s(daemon.pid) - before, time.monotonic() - began
    memory = resident_mib(daemon.pid)
    control.stop(database, now=True)
    while presence.find(database) is not None:
        time.sleep(0.1)
    return {"seconds": round(took), "resident_mib": round(memory, 1), "cpu_percent": round(100 * spent / took, 3)}


def _cpu_s(pid: int) -> float:
    # the kernel's own count is in nanoseconds; its ticks of 10 ms would be most of what is spent
    return int((proc.PROC / str(pid) / "schedstat").read_text().split()[0]) / 1e9


@dataclass
class _Day(Supervisor):
    """A supervisor that ends after a day's ticks."""

    memory_mib: list[float] = field(default_factory=list)
    ticks: int = 0

    def _guarded_tick(self) -> None:
        super()._guarded_tick()
        if self.ticks % _SAMPLE_EVERY == 0:
            self.memory_mib.append(resident_mib("self"))
        self.ticks += 1
        self._signals += self.ticks >= TICKS_A_DAY


def day(folder: Path) -> dict[str, Any]:
    """Let a supervisor look at its queue as often as in 24 hours, without the seconds between; sample hourly."""
    began = time.monotonic()
    supervisor = _Day(folder / "day.db", tick_s=0.0)
    with _quiet():
        supervisor.run()
    hourly = [round(one, 2) for one in supervisor.memory_mib]
    return {
        "ticks": supervisor.ticks,
        "took_s": round(time.monotonic() - began),
        "resident_mib_by_hour": hourly,
        "growth_mib_after_first_hour": round(resident_mib("self") - hourly[1], 2),
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # noqa: PTH123 - no path of ours
        yield
