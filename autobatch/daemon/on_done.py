"""The command that a person wants run when a search is done: the training itself, or a notification."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from autobatch.daemon import places

END_S = 10.0
"""From SIGTERM to SIGKILL, when somebody ends the command."""
_LOOK_S = 0.2


@dataclass
class Interrupts:
    """Counts SIGINT: an exception might come between the command's start and whoever watches it.

    The command does not inherit that, as it would a blocked signal: a handler is gone where a program begins.
    """

    count: int = 0

    def note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's
        """Take note of one."""
        self.count += 1


def run_on_done(command: str, log: Path, facts: Mapping[str, str], interrupts: Interrupts) -> str:
    """Run a command line in a session of its own, its output kept in `log`; return how it ended, empty where well.

    Args:
        command: for the shell, in the present folder.
        log: appended to.
        facts: environment variables beside our own.
        interrupts: the first ends the command, the second kills it.

    """
    if interrupts.count:
        return "its command was not run: a person ended it before"
    try:
        output = places.open_log(log)
    except OSError as error:
        return f"its command was not run, as {log} cannot be written: {error.strerror}"
    try:
        process = subprocess.Popen(  # noqa: S602 - the person's own command line
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **facts},
            start_new_session=True,
        )
    except OSError as error:
        return f"its command could not be run: {error.strerror}"
    finally:
        os.close(output)
    while process.poll() is None and not interrupts.count:
        time.sleep(_LOOK_S)
    if interrupts.count:
        _end(process, interrupts)
        return f"its command was ended by a person; its output is in {log}"
    code = process.returncode
    return f"its command exited with {code}: see {log}" if code else ""


def _end(process: subprocess.Popen[bytes], interrupts: Interrupts) -> None:
    """End a command with all that it started."""
    _tell(process, signal.SIGTERM)
    deadline = time.monotonic() + END_S
    while process.poll() is None and interrupts.count <= 1 and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    _tell(process, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)


def _tell(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
