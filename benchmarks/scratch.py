"""A temporary folder for a benchmark that starts daemons: what is started with it bears its mark, and ends with it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from autobatch.isolation import proc

MARK = "AUTOBATCH_BENCHMARK"
"""Environment variable of every process that is started: whoever adopted it, and whatever its command line says."""
ROOT = Path(__file__).resolve().parent.parent
_END_S = 10.0


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder; at the end, however it comes, kill what is left of what was started, and remove the folder."""
    before = {name: os.environ.get(name) for name in (MARK, "PYTHONPATH")}
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        os.environ[MARK] = name
        # commands run in that folder, where they find the program only if it is installed
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), before["PYTHONPATH"])))
        try:
            yield Path(name)
        finally:
            _end(Path(name))
            _restore(before)


def left_over(folder: Path) -> list[str]:
    """Return the command lines of the processes that were started with a folder and are still there."""
    return [_command_line(pid) for pid in _processes(folder)]


def _processes(folder: Path) -> list[int]:
    return proc.marked(f"{MARK}={folder}")


def _end(folder: Path) -> None:
    deadline = time.monotonic() + _END_S
    while (left := _processes(folder)) and time.monotonic() < deadline:
        proc.kill(left)
        time.sleep(0.05)


def _restore(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _command_line(pid: int) -> str:
    try:
        words = (proc.PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return f"process {pid}, gone meanwhile"
    return words.replace(b"\0", b" ").decode(errors="replace").strip()
