"""The journal of one probe: its row in the ledger, what is written to it while the probe runs, and its end."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Mapping
from typing import Any

from autobatch.errors import DatabaseError
from autobatch.store import rows
from autobatch.store.database import Database
from autobatch.verdict import Verdict

SAMPLE_EVERY_S = 1.0
SAMPLE_EARLY_S = 0.1
SAMPLE_GROWTH = 1.1
"""A sample is written once a second, or ten times a second while memory grows by a tenth between them."""
_MEMORY_KEYS = ("host_bytes", "device_bytes")


class Entry:
    """One probe's row: the journal that it is written to while it runs, and its end."""

    def __init__(self, database: Database, probe_id: int) -> None:
        self.probe_id = probe_id
        self._database = database
        self._lock = threading.RLock()
        self._waiting: tuple[float, Mapping[str, Any]] | None = None
        self._written_at = 0.0
        self._written: Mapping[str, Any] = {}

    def started(self, facts: Mapping[str, Any]) -> None:
        """Record the process: pid, start_time_ticks, boot_id, cgroup, counters before."""
        self._write("started", facts)

    def sample(self, facts: Mapping[str, Any]) -> None:
        """Record a memory sample; it waits for the next one where the last is younger than a second and alike."""
        with self._lock:
            self._waiting = (time.time(), dict(facts))
            if self._is_due(facts):
                self._write()

    def intent(self, reason: str) -> None:
        """Record that we are about to kill the probe, and why."""
        self._write("intent", {"reason": reason})

    def finish(self, verdict: Verdict) -> None:
        """Record the outcome; the entry is closed.

        Raises:
            DatabaseError: it has an end already, or cannot be written.

        """
        with self._lock, self._database.transaction() as connection:
            self._flush(connection)
            if not rows.end_probe(connection, self.probe_id, verdict):
                what = f"Probe {self.probe_id} was ended by another process."
                raise DatabaseError(what, "Run one search at a time in one study.")

    def _is_due(self, facts: Mapping[str, Any]) -> bool:
        age = time.monotonic() - self._written_at
        grew = any((facts.get(key) or 0) > SAMPLE_GROWTH * (self._written.get(key) or 0) for key in _MEMORY_KEYS)
        return age >= (SAMPLE_EARLY_S if grew else SAMPLE_EVERY_S)

    def _write(self, event: str | None = None, facts: Mapping[str, Any] | None = None) -> None:
        with self._lock, self._database.transaction() as connection:
            self._flush(connection)
            if event is not None:
                _insert(connection, self.probe_id, time.time(), event, facts or {})

    def _flush(self, connection: sqlite3.Connection) -> None:
        """Write the sample that waits; one that could not be committed is only evidence lost."""
        if self._waiting is not None:
            at, facts = self._waiting
            _insert(connection, self.probe_id, at, "sample", facts)
            self._waiting, self._written, self._written_at = None, facts, time.monotonic()


def _insert(connection: sqlite3.Connection, probe_id: int, at: float, event: str, facts: Mapping[str, Any]) -> None:
    connection.execute(
        "INSERT INTO ab_events (probe_id, at, event, facts) VALUES (?, ?, ?, ?)",
        (probe_id, at, event, rows.dump(facts)),
    )
