"""Checks of a database before it is used: whose it is, whether it is whole, whether it holds all that was written."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from autobatch.errors import DatabaseError
from autobatch.store import mark as marks
from autobatch.store import schema
from autobatch.store.mark import Expected
from autobatch.store.trouble import damaged

CHECK_S = 2.0
"""Time for SQLite's own check of the file: enough for some hundred megabytes; a larger file is checked in part."""
_OPTUNA_TABLES = ("studies", "trials", "version_info")
_STEPS = 10_000


def check_whose(connection: sqlite3.Connection, path: Path, expected: Expected | None) -> None:
    """Check that the database is ours, Optuna's or new, of a schema that we know.

    Raises:
        DatabaseError: it is not, or it is empty where data is expected.

    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0]
    if application not in (0, schema.APPLICATION_ID) or (application == 0 and tables and not _is_optunas(connection)):
        raise DatabaseError(f"The database {path} belongs to another program.", "Name another file.")
    version = schema.version(connection)
    if version > schema.VERSION:
        what = (
            f"The database {path} was written by a newer autobatch (schema {version}; this one knows {schema.VERSION})."
        )
        raise DatabaseError(what, "Install that version, or name another file.")
    if version == 0 and (expected is not None or application == schema.APPLICATION_ID):
        raise _less(path, "its tables are gone")


def check_content(connection: sqlite3.Connection, path: Path, held: Expected, expected: Expected | None) -> None:
    """Check that the database is whole and holds all that its mark says.

    Raises:
        DatabaseError: it does not.

    """
    check_mark(path, held, expected)
    deadline = time.monotonic() + CHECK_S
    # a damaged index hides rows, a quarantined configuration perhaps; only the slow check would see it
    for check in ("integrity_check('ab_probes')", "quick_check(1)"):
        problem = _checked(connection, check, deadline)
        if problem is not None:
            raise damaged(path, problem)


def check_mark(path: Path, held: Expected, expected: Expected | None) -> None:
    """Compare what a database holds with what its mark says.

    Raises:
        DatabaseError: it is another database than the mark's, or an older state of it.

    """
    if expected is None or expected.commits == 0:
        return
    if held.database_id != expected.database_id:
        raise _less(path, "another database was here before")
    if held.commits < expected.commits:
        raise _less(path, f"{expected.commits - held.commits} commits are missing (a lost -wal file, or an older copy)")


def _less(path: Path, what: str) -> DatabaseError:
    do = f"Put it back from a copy, with its -wal file; to go on with what is here, delete {marks.path_of(path)} first."
    return DatabaseError(f"The database {path} does not hold what was written to it: {what}.", do)


def _is_optunas(connection: sqlite3.Connection) -> bool:
    return all(schema.has_table(connection, table) for table in _OPTUNA_TABLES)


def _checked(connection: sqlite3.Connection, check: str, deadline: float) -> str | None:
    """Return the first problem that SQLite finds in time."""
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        found = str(connection.execute(f"PRAGMA {check}").fetchone()[0])
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return None
    finally:
        connection.set_progress_handler(None, 0)
    return None if found == "ok" else found
