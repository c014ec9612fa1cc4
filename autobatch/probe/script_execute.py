"""Runs a script in this process as `python` would, and tells its frames and its lack of memory from ours."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from autobatch.probe.script_command import Command

QUIET = {"WANDB_MODE": "disabled", "COMET_MODE": "disabled", "TOKENIZERS_PARALLELISM": "false"}
"""Trackers that a script starts by itself write nothing; tokenizers do not warn of forked workers."""


def execute(command: Command) -> None:
    """Run a program as `python` would run it."""
    sys.argv = [command.program, *command.arguments]
    if command.kind == "module":
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(command.program, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(command.program).resolve().parent))
        runpy.run_path(command.program, run_name="__main__")


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


def lacks_memory(error: BaseException) -> bool:
    """Tell whether an exception says that there was not enough memory."""
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()
