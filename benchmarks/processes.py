"""Commands under a deadline: asked to end when their time is up, then killed with all that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from autobatch.isolation import proc

ROOT = Path(__file__).resolve().parent.parent
GRACE_S = 10.0
"""Time to end in good order: a search writes down its answer, a preloaded process ends its probes."""


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    status: int
    """Exit status; negative: the signal that ended it."""
    output: str
    errors: str
    timed_out: bool


@dataclass(frozen=True)
class Running:
    """A command that runs; its output goes to files, so that it never waits for a reader."""

    process: subprocess.Popen[str]
    output: IO[str]
    errors: IO[str]

    def finish(self, seconds: float) -> Done:
        """Wait for its end, so many seconds at most, and return what it said."""
        timed_out = not end_within(self.process, seconds)
        return Done(self.process.returncode, _read(self.output), _read(self.errors), timed_out)


def start(arguments: Sequence[str], folder: Path | None = None) -> Running:
    """Start this interpreter with arguments, in a folder where given."""
    allow_interrupts()
    output, errors = TemporaryFile("w+"), TemporaryFile("w+")  # noqa: SIM115 - `finish` closes them
    command = [sys.executable, *arguments]
    process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=output, stderr=errors, text=True)
    return Running(process, output, errors)


def environment() -> dict[str, str]:
    """Return our own environment, in which the program is found from any folder, installed or not."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def run(arguments: Sequence[str], seconds: float, folder: Path | None = None) -> Done:
    """Run this interpreter with arguments for so many seconds at most."""
    return start(arguments, folder).finish(seconds)


def end_within(process: subprocess.Popen[str], seconds: float, grace_s: float = GRACE_S) -> bool:
    """Wait for a process; interrupt it after so many seconds, and kill it with its tree where that does not help.

    Returns:
        Whether it ended by itself.

    """
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, seconds))
            return True
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    finally:
        kill_tree(process)
    return False


def kill_tree(process: subprocess.Popen[str]) -> None:
    """Kill a process that still runs, with everything below it."""
    if process.poll() is None:
        proc.kill([process.pid, *proc.descendants(process.pid)])
        process.wait()


def kill_below(pid: int, patience_s: float = 10.0) -> int:
    """Kill every descendant of a process until none is left; return how many there were at first."""
    found = len(proc.descendants(pid))
    deadline = time.monotonic() + patience_s
    while (left := proc.descendants(pid)) and time.monotonic() < deadline:
        proc.kill(left)
        time.sleep(0.01)
    return found


def allow_interrupts() -> None:
    """Have SIGINT interrupt what is started from here: a shell's background jobs inherit that it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _read(stream: IO[str]) -> str:
    with stream:
        stream.seek(0)
        return stream.read()
