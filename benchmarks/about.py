"""What a result says of itself: the command, the machine and the day it was measured."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from autobatch.machine.gpus import list_gpus

_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "optuna")


def about(module: str) -> dict[str, str]:
    """Return `command`, `machine` and `date` of a benchmark that was started as a module, with its arguments."""
    return {
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "machine": "; ".join(filter(None, (_cards(), _host(), _versions()))),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def _cards() -> str:
    return ", ".join(f"{gpu.name} (driver {gpu.driver})" for gpu in list_gpus()) or "no GPU"


def _host() -> str:
    cores = len(os.sched_getaffinity(0))
    kernel = platform.release().partition("-")[0]
    return f"{platform.system()} {kernel}, {cores} cores, Python {platform.python_version()}"


def _versions() -> str:
    return ", ".join(f"{name} {found}" for name in _PACKAGES if (found := _version(name)))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
