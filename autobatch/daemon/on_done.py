"""The command that a person wants run when a search is done: the training itself, or a notification."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from autobatch.daemon import places

END_S = 10.0
"""From SIGTERM to SIGKILL, when somebody ends the command."""


def run_on_done(command: str, log: Path, facts: Mapping[str, str]) -> str:
    """Run a command line in a session of its own, its output kept in `log`; return how it ended, empty where well.

    Args:
        command: for the shell, in the present folder.
        log: appended to.
        facts: environment variables beside our own.

    """
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
    try:
        code = process.wait()
    except KeyboardInterrupt:
        _end(process)
        return f"its command was ended by a person; its output is in {log}"
    return f"its command exited with {code}: see {log}" if code else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
