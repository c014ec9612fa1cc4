"""The write-ahead record of probes: a row is on the disk before anything starts, and its verdict after it ended."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from shlex import quote
from types import TracebackType
from typing import Self

from autobatch.errors import DatabaseError, UsageError
from autobatch.settings import Configuration
from autobatch.store import rows
from autobatch.store.database import BUSY_S, Database
from autobatch.store.journal import Entry
from autobatch.store.owner import Process
from autobatch.verdict import ENDED_BY, Kind, Verdict


class Ledger:
    """The ledger in one database. It may be used from several threads.

    Raises:
        DatabaseError: from every method that reads or writes.

    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._owner: int | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str], busy_s: float = BUSY_S) -> Ledger:
        """Open the ledger in the database `path`, which is made where nothing is expected there.

        Raises:
            DatabaseError: it is another program's, a newer version's, damaged, full, locked, or lost data.

        """
        return cls(Database(path, busy_s))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def database(self) -> Database:
        """The database that it is in."""
        return self._database

    def close(self) -> None:
        """Close the database. Nothing of ours runs any more: entries without an end are given up, not killers."""
        # where this cannot be written, the next start takes them for killed
        with contextlib.suppress(DatabaseError):
            if self._owner is not None:
                with self._database.transaction() as connection:
                    _give_up(connection, self._owner)
                    rows.end_owner(connection, self._owner)
                self._owner = None
        self._database.close()

    def begin(self, study: str, trial_number: int, configuration: Configuration, purpose: str, stage: str) -> Entry:
        """Record that a probe is about to run; nothing may start before this returns.

        Raises:
            UsageError: the configuration is quarantined.

        """
        text = json.dumps(configuration.to_dict(), sort_keys=True)
        with self._database.transaction() as connection:
            owner = self._register(connection)
            earlier = rows.attempts(connection, study, configuration.digest)
            if any(row.is_quarantined for row in earlier):
                raise _quarantined(study, configuration)
            cursor = connection.execute(
                "INSERT INTO ab_probes (owner_id, study, trial_number, attempt, purpose, stage, digest, configuration,"
                " begun_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (owner, study, trial_number, len(earlier) + 1, purpose, stage, configuration.digest, text, time.time()),
            )
            return Entry(self._database, int(cursor.lastrowid or 0))

    def quarantined(self, study: str) -> list[Configuration]:
        """Return the configurations that are not to be tried.

        Those that were in flight when a search was killed, and that no person released since; and those that another
        process has in flight now: it may be dying of them.
        """
        with self._database.reading() as connection:
            elsewhere = [row for row in rows.in_flight(connection, study) if row.owner_id != self._owner]
        return list(dict.fromkeys([*self.held_back(study), *(row.configuration for row in elsewhere)]))

    def held_back(self, study: str) -> list[Configuration]:
        """Return the configurations that were in flight when a search was killed, and that no person has released."""
        with self._database.reading() as connection:
            killed = rows.of_kind(connection, study, Kind.KILLED_IN_FLIGHT)
        return list(dict.fromkeys(row.configuration for row in killed if row.is_quarantined))

    def release(self, study: str, digest: str) -> None:
        """Let a quarantined configuration be tried again: a person's word.

        Raises:
            UsageError: no such configuration is quarantined.

        """
        # SQLite takes no half of a surrogate pair, which an argument that is no UTF-8 has
        name = digest.encode(errors="replace").decode()
        with self._database.transaction() as connection:
            changed = connection.execute(
                "UPDATE ab_probes SET released_at = ?"
                " WHERE study = ? AND digest = ? AND kind = ? AND released_at IS NULL",
                (time.time(), study, name, str(Kind.KILLED_IN_FLIGHT)),
            ).rowcount
            if changed == 0:
                what = f"No configuration {digest!r} of study {study!r} is quarantined."
                raise UsageError(what, f"`autobatch release --study {quote(study)}` lists those that are.")

    def _register(self, connection: sqlite3.Connection) -> int:
        """Record this process once, and show that it lives for as long as it does."""
        if self._owner is not None:
            return self._owner
        owner = rows.add_owner(connection, Process.current())
        self._database.mark.hold(owner)
        self._owner = owner
        return owner


def _give_up(connection: sqlite3.Connection, owner: int) -> None:
    for probe in rows.in_flight_of(connection, owner):
        rows.end_probe(connection, probe.probe_id, Verdict(Kind.KILLED, evidence={ENDED_BY: "the end of its search"}))


def _quarantined(study: str, configuration: Configuration) -> UsageError:
    return UsageError(
        f"Configuration {configuration.digest} was running when an earlier search was killed; it is not tried again.",
        f"If it was not to blame: `autobatch release --study {quote(study)} {configuration.digest}`.",
    )
