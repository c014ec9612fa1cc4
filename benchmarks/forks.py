"""Functions run in forked processes, so that every one starts with the libraries imported and leaves nothing behind."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path


def import_once() -> None:
    """Import what training needs, CUDA left alone, so that forks use it."""
    from autobatch.probe.preload import import_libraries

    for name, reason in import_libraries().items():
        print(f"not imported: {name}: {reason}", file=sys.stderr)


def in_fork(function: Callable[[], object], log: Path, timeout_s: float) -> int | None:
    """Run a function in a fork, its output in a log, and return its exit status; None if its time was up."""
    process = get_context("fork").Process(target=_redirected, args=(function, log))
    process.start()
    process.join(timeout_s)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return process.exitcode


def tail(log: Path, characters: int = 400) -> str:
    """Return the end of a log in one line."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return " ".join(text.split())[-characters:]


def _redirected(function: Callable[[], object], log: Path) -> None:
    with log.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    try:
        function()
    except BaseException:  # noqa: BLE001 - the log tells
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)
