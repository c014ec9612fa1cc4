"""The processor, and how much of it this process may use."""

from __future__ import annotations

import math
import os
import platform
from functools import cache
from pathlib import Path

from autobatch.machine import cgroups
from autobatch.machine.cgroups import ROOT


def visible() -> int:
    """Return the cores this process may be scheduled on."""
    return len(os.sched_getaffinity(0))


def usable(root: Path = ROOT) -> int:
    """Return the cores' worth of time that this process can get: those visible, or fewer by a quota; at least 1."""
    quota = cgroups.cpu_quota(root)
    return visible() if quota is None else max(1, min(visible(), math.ceil(quota)))


@cache
def name() -> str:
    """Return the processor's name, as the kernel tells it."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
            return next(names, platform.machine())
    except OSError:
        return platform.machine()
