"""Runs a script in this process as `python` would, and tells its frames and its lack of memory from ours."""

from __future__ import annotations

import os
import re
import runpy
import sys
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from autobatch.probe.script_command import Command

QUIET = {"WANDB_MODE": "disabled", "COMET_MODE": "disabled", "TOKENIZERS_PARALLELISM": "false"}
"""Trackers that a script starts by itself write nothing; tokenizers do not warn of forked workers."""

_OF_A_WORKER = re.compile(r"Caught (\w+) in DataLoader worker process \d+\.\nOriginal Traceback")


def execute(command: Command) -> None:
    """Run a program as `python` would run it."""
    sys.argv = [command.program, *command.arguments]
    if command.kind == "module":
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(command.program, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(command.program).resolve().parent))
        runpy.run_path(str(Path(command.program).absolute()), run_name="__main__")  # its `__file__`, by `python` too


def end_process(status: int) -> NoReturn:
    """End the process where it stands, with what it said written out."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def its_own(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the script's first frame on; None where it does not reach the script."""
    while trace is not None and trace.tb_frame.f_globals.get("__name__") != "__main__":
        trace = trace.tb_next
    return trace


def from_script(error: BaseException) -> BaseException:
    """Return an exception with the traceback that it would have once it had left the script that it was caught in."""
    trace = error.__traceback__
    while trace is not None and (caller := trace.tb_frame.f_back) is not None and caller.f_code is not execute.__code__:
        trace = TracebackType(trace, caller, caller.f_lasti, caller.f_lineno)
    return error.with_traceback(trace)


def say_shortly(error: BaseException) -> None:
    """Give what a worker raised its own message back: torch's is the worker's whole traceback, which becomes a note."""
    caught = _OF_A_WORKER.match(said := str(error))
    if caught is None or len(error.args) != 1:
        return
    # the name before the message may come with its module; in the last of several tracebacks it counts
    own = re.match(rf"(?ms).*^(?:[\w.]+\.)?{caught[1]}(?:: (.*?))?\s*\Z", said)
    if own is not None:
        error.args = (
            type(error.args[0])(own[1] or ""),
        )  # torch has a string of its own, which KeyError does not quote
        error.add_note(said.rstrip())


def lacks_memory(error: BaseException) -> bool:
    """Tell whether an exception says that there was not enough memory."""
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()
