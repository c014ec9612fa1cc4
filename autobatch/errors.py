"""Errors that a person sees: one line of what is wrong, one line of what to do, and an exit code."""

from __future__ import annotations

EXIT_OK = 0
EXIT_NOTHING_FEASIBLE = 1
EXIT_USAGE = 2
EXIT_MACHINE = 3
EXIT_DATABASE = 4
EXIT_INTERRUPTED = 130


class AutobatchError(Exception):
    """Root of every error that autobatch raises on purpose.

    Args:
        what: one line that says what is wrong.
        do: one line that says what to do about it.

    """

    exit_code = EXIT_USAGE

    def __init__(self, what: str, do: str) -> None:
        # libraries' messages, which some of ours quote, have line breaks
        self.what = " ".join(what.split())
        self.do = " ".join(do.split())
        super().__init__(self.what)


class UsageError(AutobatchError):
    """The request cannot be served as it was put: an unknown name, a bad file, an impossible value."""


class NothingFeasibleError(AutobatchError):
    """No configuration fits the limits."""

    exit_code = EXIT_NOTHING_FEASIBLE


class MachineError(AutobatchError):
    """The machine lacks, or has lost, what the request needs: a GPU, memory, a working library."""

    exit_code = EXIT_MACHINE


class DatabaseError(AutobatchError):
    """The database cannot be used: another program's, a newer version's, damaged, full or locked."""

    exit_code = EXIT_DATABASE
