"""Our tables, and the ordered changes that made them. A new change is one more entry at the end of `MIGRATIONS`."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

APPLICATION_ID = 0x61625F31
"""In the file's header, `ab_1`: whose database it is."""


@dataclass(frozen=True)
class Migration:
    """One change of the schema. What is released is never edited."""

    name: str
    statements: tuple[str, ...]


MIGRATIONS = (
    Migration(
        "ledger and queue",
        (
            f"PRAGMA application_id = {APPLICATION_ID}",
            """CREATE TABLE ab_database (
                one INTEGER PRIMARY KEY CHECK (one = 1),
                database_id TEXT NOT NULL,
                created_at REAL NOT NULL,
                commits INTEGER NOT NULL
            )""",
            """INSERT INTO ab_database
               VALUES (1, lower(hex(randomblob(16))), CAST(strftime('%s', 'now') AS REAL), 0)""",
            """CREATE TABLE ab_owners (
                owner_id INTEGER PRIMARY KEY AUTOINCREMENT,
                boot_id TEXT NOT NULL,
                pid_namespace TEXT NOT NULL,
                pid INTEGER NOT NULL,
                start_time_ticks INTEGER NOT NULL,
                command TEXT NOT NULL,
                since REAL NOT NULL,
                ended_at REAL
            )""",
            """CREATE TABLE ab_probes (
                probe_id INTEGER PRIMARY KEY AUTOINCREMENT,
                owner_id INTEGER NOT NULL REFERENCES ab_owners (owner_id),
                study TEXT NOT NULL,
                trial_number INTEGER NOT NULL,
                attempt INTEGER NOT NULL,
                purpose TEXT NOT NULL,
                stage TEXT NOT NULL,
                digest TEXT NOT NULL,
                configuration TEXT NOT NULL,
                begun_at REAL NOT NULL,
                ended_at REAL,
                kind TEXT,
                verdict TEXT,
                released_at REAL
            )""",
            "CREATE INDEX ab_probes_by_trial ON ab_probes (study, trial_number)",
            "CREATE INDEX ab_probes_by_digest ON ab_probes (study, digest)",
            "CREATE INDEX ab_probes_by_kind ON ab_probes (study, kind)",
            "CREATE INDEX ab_probes_in_flight ON ab_probes (owner_id, study) WHERE ended_at IS NULL",
            """CREATE TABLE ab_events (
                event_id INTEGER PRIMARY KEY AUTOINCREMENT,
                probe_id INTEGER NOT NULL REFERENCES ab_probes (probe_id),
                at REAL NOT NULL,
                event TEXT NOT NULL,
                facts TEXT NOT NULL
            )""",
            "CREATE INDEX ab_events_by_probe ON ab_events (probe_id)",
            """CREATE TABLE ab_queue (
                entry_id INTEGER PRIMARY KEY AUTOINCREMENT,
                job TEXT NOT NULL,
                on_done TEXT,
                submitted_at REAL NOT NULL,
                state TEXT NOT NULL,
                wanted TEXT NOT NULL,
                reason TEXT NOT NULL DEFAULT '',
                study TEXT,
                device TEXT,
                worker TEXT,
                starts INTEGER NOT NULL DEFAULT 0,
                started_at REAL,
                ended_at REAL,
                worked_s REAL NOT NULL DEFAULT 0,
                answer TEXT,
                setbacks INTEGER NOT NULL DEFAULT 0,
                retry_at REAL
            )""",
            "CREATE INDEX ab_queue_by_state ON ab_queue (state)",
        ),
    ),
)
VERSION = len(MIGRATIONS)


def version(connection: sqlite3.Connection) -> int:
    """Return how many migrations the database has seen; 0 where our tables are not there."""
    if not has_table(connection, "ab_migrations"):
        return 0
    return int(connection.execute("SELECT coalesce(max(version), 0) FROM ab_migrations").fetchone()[0])


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Tell whether the database has a table."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,))
    return found.fetchone() is not None


def migrate(connection: sqlite3.Connection) -> None:
    """Bring our tables up to `VERSION`; each change and the record of it share a transaction."""
    for number in range(version(connection) + 1, VERSION + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            _apply(connection, number)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _apply(connection: sqlite3.Connection, number: int) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS ab_migrations"
        " (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at REAL NOT NULL)"
    )
    for statement in MIGRATIONS[number - 1].statements:
        connection.execute(statement)
    record = (number, MIGRATIONS[number - 1].name, time.time())
    connection.execute("INSERT INTO ab_migrations VALUES (?, ?, ?)", record)
