"""Where a daemon's files lie: all beside its database, private to their user."""

from __future__ import annotations

import os
from pathlib import Path

from autobatch.errors import DatabaseError
from autobatch.store.connection import resolved
from autobatch.store.read import opened


def folder(database: Path) -> Path:
    """Return the folder of logs of a database's queue; it need not be there yet."""
    return Path(f"{resolved(database)}.queue")


def log(database: Path, entry_id: int | None = None) -> Path:
    """Return the log of one search of the queue, or of the daemon itself."""
    return folder(database) / ("daemon.log" if entry_id is None else f"{entry_id}.log")


def done_log(database: Path, entry_id: int) -> Path:
    """Return where the output of a search's `--on-done` command is kept."""
    return folder(database) / f"{entry_id}.on-done.log"


def record(database: Path) -> Path:
    """Return the file in which the daemon at work says which process it is."""
    return folder(database) / "daemon.json"


def open_log(path: Path) -> int:
    """Return a descriptor that appends to a log, private to its user.

    Raises:
        OSError: it cannot be made.

    """
    path.parent.mkdir(mode=0o700, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def check(database: Path) -> None:
    """Check that a daemon may work on a database here.

    Raises:
        DatabaseError: its folder is not there, it is another user's, or as `check_content`.

    """
    if not resolved(database).parent.is_dir():
        message = f"The folder of {database} does not exist."
        raise DatabaseError(message, "Make it first, or name another database with --db.")
    if database.exists() and database.stat().st_uid != os.geteuid():
        message = f"{database} belongs to another user."
        raise DatabaseError(message, "Only its own user may give its daemon commands; name another with --db.")
    check_content(database)


def check_content(database: Path) -> None:
    """Check that a database, where there is one, is no other program's, without writing to it or beside it.

    Raises:
        DatabaseError: it is another program's or damaged.

    """
    if database.is_file():
        with opened(database):
            pass
