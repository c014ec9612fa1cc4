"""The files of a probe that others read: its progress, and its outcome. Each is replaced atomically."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autobatch.errors import AutobatchError
from autobatch.verdict import Measurements

PROGRESS_EVERY_S = 0.2
"""Heartbeats in between are left out, so that they cost training nothing."""


class Progress:
    """Writes `progress.json`: the phase, when it was last alive (seconds since the epoch), and how often."""

    def __init__(self, folder: Path) -> None:
        self.phase = "start"
        self._path = folder / "progress.json"
        self._beats = 0
        self._written = 0.0

    def enter(self, phase: str) -> None:
        """Begin a phase."""
        self.phase = phase
        self._write()

    def beat(self, *_: object) -> None:
        """Say that something moved."""
        self._beats += 1
        if time.monotonic() - self._written >= PROGRESS_EVERY_S:
            self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        replace(self._path, {"phase": self.phase, "time": time.time(), "beats": self._beats}, durable=False)


def write_outcome(
    folder: Path,
    phase: str,
    measurements: Measurements,
    flags: Mapping[str, bool],
    error: BaseException | None = None,
) -> None:
    """Write `outcome.json`, durably: the last thing a probe does."""
    outcome: dict[str, Any] = {
        "status": "ok" if error is None else "error",
        "phase": phase,
        "measurements": measurements.to_dict(),
        "flags": dict(flags),
    }
    if error is not None:
        outcome["error"] = described(error)
    replace(folder / "outcome.json", outcome, durable=True)


def described(error: BaseException) -> dict[str, Any]:
    """Return an exception as data: its type, message, whole traceback, and the chain that led to it, nearest first."""
    facts: dict[str, Any] = {
        "type": qualified(error),
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
        "chain": [{"type": qualified(link), "message": str(link)} for link in chain(error)],
    }
    if isinstance(error, AutobatchError):
        facts["do"] = error.do
    return facts


def qualified(error: BaseException) -> str:
    """Return the name of an exception's class with its module, builtins without."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def chain(error: BaseException) -> list[BaseException]:
    """Return the exceptions behind one (`__cause__`, else `__context__`), nearest first."""
    found: list[BaseException] = []
    link = error.__cause__ or error.__context__
    while link is not None and link not in found:
        found.append(link)
        link = link.__cause__ or link.__context__
    return found


def replace(path: Path, data: Mapping[str, Any], *, durable: bool) -> None:
    """Write JSON beside a file and rename it over: a reader sees the old or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(data, stream)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())
    temporary.replace(path)
