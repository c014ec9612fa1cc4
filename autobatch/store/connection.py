"""Connections to the database's file, and the check that the file is still the one that was opened."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from autobatch.errors import DatabaseError

_CACHE_KIB = 16_384


def connect(path: Path, busy_s: float) -> sqlite3.Connection:
    """Open an existing database for writing: durable commits, transactions begun by hand.

    Raises:
        sqlite3.Error: it cannot be opened.

    """
    connection = sqlite3.connect(
        uri(path, "rw"), uri=True, timeout=busy_s, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return connection


def resolved(path: str | os.PathLike[str]) -> Path:
    """Return where a database lies, links followed.

    Raises:
        DatabaseError: its links go round in a circle.

    """
    try:
        return Path(path).resolve()
    except (RuntimeError, OSError) as error:  # the first until Python 3.13
        raise DatabaseError(f"The links of {os.fspath(path)} lead nowhere: {error}.", "Name another file.") from error


def uri(path: Path, mode: str) -> str:
    """Return SQLite's name for a file that must exist; `mode` is `rw` or `ro`."""
    return f"file:{quote(os.fsencode(path))}?mode={mode}"


class FileGuard:
    """Notices that the database or its write-ahead log was replaced or deleted while a connection was open.

    SQLite does not: it goes on writing to the file that has lost its name, and all of it is gone at the end.

    Args:
        path: the database.
        connection: what is guarded; the log stays the same for as long as it is open.

    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # makes the log, where there is none
        self._files = {name: identity(name) for name in (path, path.with_name(path.name + "-wal"))}

    def check(self) -> None:
        """Compare the files' identities with those at the beginning.

        Raises:
            DatabaseError: they differ.

        """
        for name, expected in self._files.items():
            if identity(name) != expected:
                raise replaced(name)


def replaced(name: Path) -> DatabaseError:
    """Return the error for a file that is not the one that was opened."""
    what = f"{name} was deleted or replaced while it was in use."
    return DatabaseError(what, "Put the file back, then run the same command again.")


def identity(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of a file; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
