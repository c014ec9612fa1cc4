"""Runs a script's process to its end, and ends with it all that it started. It imports no torch."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from autobatch.isolation import proc
from autobatch.isolation.parent import MARK

LOG = "log.txt"
"""What a script says, in the folder of its look."""
_END_S = 10.0
"""Patience with processes that were killed: one that waits for a device goes only when that answers."""
_LOOK_S = 0.02


def run(module: Sequence[str], folder: Path, patience_s: float) -> int:
    """Run `MODULE FOLDER` and return its exit status; what it says goes to the folder's log.

    Its children do not outlive it. A signal that ends us ends it first, and is told by our own exit status.

    Raises:
        subprocess.TimeoutExpired: it took longer.
        KeyboardInterrupt: Ctrl-C, with nothing of it left.
        SystemExit: SIGTERM or SIGHUP, with nothing of it left.

    """
    mark = f"{os.getpid()}-{secrets.token_hex(6)}"
    with _ending_by_signal(), (folder / LOG).open("ab") as log:
        try:
            return _start([*module, str(folder)], mark, log.fileno()).wait(patience_s)
        finally:
            end(f"{MARK}={mark}")


def _start(command: Sequence[str], mark: str, log: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env={**os.environ, MARK: mark},
        start_new_session=True,  # Ctrl-C is ours to pass on
    )


def end(mark: str) -> None:
    """Kill every process that was started with a mark in its environment, and whatever those have started."""
    deadline = time.monotonic() + _END_S
    while (found := proc.marked(mark)) and time.monotonic() < deadline:
        proc.kill([*(child for pid in found for child in proc.descendants(pid)), *found])
        time.sleep(_LOOK_S)


@contextmanager
def _ending_by_signal() -> Iterator[None]:
    """Have SIGTERM and SIGHUP, where nobody heeds them, raised as SystemExit, so that what was begun is tidied up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    unheeded = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in unheeded:
        signal.signal(number, _exit)
    try:
        yield
    finally:
        for number in unheeded:
            signal.signal(number, signal.SIG_DFL)


def _exit(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
