"""Functions run in forked processes, so that every one starts with the libraries imported and leaves nothing behind."""

from __future__ import annotations

import gc
import os
import runpy
import sys
import traceback
from collections.abc import Callable
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

from autobatch.arguments import OPENMP
from autobatch.isolation import proc

TRAIN = Path(__file__).resolve().parent.parent / "examples" / "train.py"


@cache
def import_once() -> None:
    """Import what training needs, CUDA left alone, so that forks use it."""
    for name, value in OPENMP.items():
        os.environ.setdefault(name, value)  # as in probes; they are read once
    from autobatch.probe.preload import import_libraries

    for name, reason in import_libraries().items():
        print(f"not imported: {name}: {reason}", file=sys.stderr)
    gc.collect()
    gc.freeze()  # as in a probe: to look through all that was imported stops a training for half a second


def in_fork(function: Callable[[], object], log: Path, timeout_s: float) -> int | None:
    """Run a function in a fork, its output in a log, and return its exit status; None if its time was up."""
    process = get_context("fork").Process(target=_redirected, args=(function, log))
    process.start()
    assert process.pid is not None, "it was started"
    try:
        process.join(max(0.0, timeout_s))
        return process.exitcode
    finally:
        if process.is_alive():
            proc.kill([process.pid, *proc.descendants(process.pid)])
            process.join()


def train(frozen: Path, log: Path, timeout_s: float, *, steps: int = -1, figures: Path | None = None) -> int | None:
    """Run `examples/train.py` on a frozen file in a fork, as if from the command line; return as `in_fork` does."""
    written = ["--json", str(figures)] if figures else []
    words = [str(TRAIN), str(frozen), "--max-steps", str(steps), *written]
    return in_fork(partial(run_program, words), log, timeout_s)


def run_program(words: list[str]) -> None:
    """Run a Python file with its arguments as the main program."""
    sys.argv = words
    sys.path.insert(0, str(Path(words[0]).resolve().parent))
    runpy.run_path(words[0], run_name="__main__")


def tail(log: Path, characters: int = 400) -> str:
    """Return the end of a log in one line."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return " ".join(text.split())[-characters:]


def _redirected(function: Callable[[], object], log: Path) -> None:
    proc.die_with_parent()
    status = 0
    with log.open("w", buffering=1) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        sys.stdout = sys.stderr = stream
        try:
            function()
        except SystemExit as end:
            status = _status(end)
        except BaseException:  # noqa: BLE001 - the log tells
            traceback.print_exc()
            status = 1
    os._exit(status)


def _status(end: SystemExit) -> int:
    """Return the exit status that the interpreter would end with, what is no number said as it would be."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=sys.stderr)
    return 1
