"""Reading a database that others write: read-only, at once, and without the libraries that wrote it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from autobatch.errors import DatabaseError
from autobatch.store import mark as marks
from autobatch.store import rows, schema
from autobatch.store.connection import resolved, uri
from autobatch.store.inspection import check_mark, check_whose
from autobatch.store.mark import Expected
from autobatch.store.rows import Event, Probe
from autobatch.store.trouble import explained

BUSY_S = 10.0


@dataclass(frozen=True)
class ProbeRecord:
    """One probe of a trial, and what its journal tells, in order."""

    probe: Probe
    events: tuple[Event, ...]


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[sqlite3.Connection]:
    """Open a database for reading, Optuna's tables and ours; what SQLite refuses is raised as `DatabaseError`.

    Raises:
        DatabaseError: there is none, it is another program's, damaged, or holds less than was written to it.

    """
    file = resolved(path)
    with explained(file):
        if not file.is_file():
            raise DatabaseError(f"There is no database {file}.", "Run a search first, or name another database.")
        expected = marks.expected(file)
        with closing(_connect(file)) as connection:
            check_whose(connection, file, expected)
            if schema.version(connection) > 0:
                held = connection.execute("SELECT database_id, commits FROM ab_database").fetchone()
                check_mark(file, Expected(*held), expected)
            yield connection


def probe(path: str | os.PathLike[str], study: str, trial_number: int) -> list[ProbeRecord]:
    """Return the probes of one trial, in order; none where the ledger has none.

    Raises:
        DatabaseError: as `opened`.

    """
    with opened(path) as connection:
        if schema.version(connection) == 0:
            return []
        found = rows.of_trial(connection, study, trial_number)
        return [ProbeRecord(row, tuple(rows.events(connection, row.probe_id))) for row in found]


def _connect(path: Path) -> sqlite3.Connection:
    """Open it; without leave to write beside it, SQLite can read it only as a file that nobody changes."""
    wal = path.with_name(path.name + "-wal")
    is_frozen = not os.access(path.parent, os.W_OK) and not wal.exists()
    address = uri(path, "ro") + ("&immutable=1" if is_frozen else "")
    connection = sqlite3.connect(address, uri=True, timeout=BUSY_S)
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection
