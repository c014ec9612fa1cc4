"""Rows of the ledger as values, checked as they are read: nothing in them is trusted, only ever parsed as JSON."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from autobatch.errors import AutobatchError, DatabaseError
from autobatch.safe_files import parse_json
from autobatch.settings import Configuration
from autobatch.store.owner import Process, command
from autobatch.verdict import Kind, Verdict

_COLUMNS = (
    "probe_id, owner_id, study, trial_number, attempt, purpose, stage, digest, configuration, begun_at, ended_at,"
    " kind, verdict, released_at"
)


@dataclass(frozen=True)
class Probe:
    """One row of the ledger. Times are seconds since the epoch."""

    probe_id: int
    owner_id: int
    study: str
    trial_number: int
    attempt: int
    """The how manieth probe of this configuration in this study."""
    purpose: str
    stage: str
    digest: str
    configuration_json: str
    begun_at: float
    ended_at: float | None
    """None while it is in flight."""
    kind: str | None
    verdict_json: str | None
    released_at: float | None

    @property
    def is_quarantined(self) -> bool:
        """Whether it was in flight when its search was killed, and no person has released it."""
        return self.kind == Kind.KILLED_IN_FLIGHT and self.released_at is None

    @property
    def configuration(self) -> Configuration:
        """What was tried.

        Raises:
            DatabaseError: the text is not what was written, or names settings that this version does not know.

        """
        if hashlib.sha256(self.configuration_json.encode()).hexdigest()[:16] != self.digest:
            raise self._unreadable("its configuration does not match its digest")
        try:
            return Configuration(_mapping(self.configuration_json))
        except (AutobatchError, KeyError) as error:
            raise self._unreadable(f"its configuration cannot be read ({error})") from error

    @property
    def verdict(self) -> Verdict | None:
        """What came of it; None while it is in flight.

        Raises:
            DatabaseError: it cannot be read.

        """
        if self.verdict_json is None:
            return None
        try:
            return Verdict.from_dict(_mapping(self.verdict_json))
        except (AutobatchError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._unreadable(f"its verdict cannot be read ({error})") from error

    def _unreadable(self, what: str) -> DatabaseError:
        do = "Put back a copy of the database, or use the version of autobatch that wrote it."
        return DatabaseError(f"Probe {self.probe_id} of study {self.study!r} is damaged: {what}.", do)


@dataclass(frozen=True)
class Event:
    """Something that the journal of a probe tells: `started`, `sample` or `intent`."""

    at: float
    event: str
    facts: Mapping[str, Any]


def attempts(connection: sqlite3.Connection, study: str, digest: str) -> list[Probe]:
    """Return every probe of one configuration, in order."""
    return _select(connection, "study = ? AND digest = ?", (study, digest))


def in_flight(connection: sqlite3.Connection, study: str) -> list[Probe]:
    """Return the probes of a study that have no end, in order."""
    return _select(connection, "study = ? AND ended_at IS NULL", (study,))


def in_flight_of(connection: sqlite3.Connection, owner_id: int) -> list[Probe]:
    """Return the probes of one search process that have no end, in order."""
    return _select(connection, "owner_id = ? AND ended_at IS NULL", (owner_id,))


def owners(connection: sqlite3.Connection) -> dict[int, Process]:
    """Return the search processes that are not known to have ended, by id."""
    text = "SELECT owner_id, boot_id, pid_namespace, pid, start_time_ticks FROM ab_owners WHERE ended_at IS NULL"
    return {row[0]: Process(*row[1:]) for row in connection.execute(text)}


def add_owner(connection: sqlite3.Connection, process: Process) -> int:
    """Record a search process; return its id."""
    cursor = connection.execute(
        "INSERT INTO ab_owners (boot_id, pid_namespace, pid, start_time_ticks, command, since)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (*astuple(process), command(process.pid), time.time()),
    )
    return int(cursor.lastrowid or 0)


def end_owner(connection: sqlite3.Connection, owner_id: int) -> None:
    """Record that a search process has ended, or has nothing more to do with the ledger."""
    text = (
        "UPDATE ab_owners SET ended_at = ? WHERE owner_id = ? AND ended_at IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM ab_probes p WHERE p.owner_id = ab_owners.owner_id AND p.ended_at IS NULL)"
    )
    connection.execute(text, (time.time(), owner_id))


def end_probe(connection: sqlite3.Connection, probe_id: int, verdict: Verdict) -> bool:
    """Write the end of a probe; False where it has one already."""
    cursor = connection.execute(
        "UPDATE ab_probes SET ended_at = ?, kind = ?, verdict = ? WHERE probe_id = ? AND ended_at IS NULL",
        (time.time(), str(verdict.kind), dump(verdict.to_dict()), probe_id),
    )
    return cursor.rowcount == 1


def of_kind(connection: sqlite3.Connection, study: str, kind: Kind) -> list[Probe]:
    """Return the probes of a study with one verdict, in order."""
    return _select(connection, "study = ? AND kind = ?", (study, str(kind)))


def by_id(connection: sqlite3.Connection, probe_id: int) -> Probe:
    """Return one probe, which must be there."""
    return _select(connection, "probe_id = ?", (probe_id,))[0]


def of_trial(connection: sqlite3.Connection, study: str, trial_number: int) -> list[Probe]:
    """Return the probes of one trial, in order."""
    return _select(connection, "study = ? AND trial_number = ?", (study, trial_number))


def events(connection: sqlite3.Connection, probe_id: int) -> list[Event]:
    """Return what the journal of a probe tells, in order.

    Raises:
        DatabaseError: it cannot be read.

    """
    found = connection.execute(
        "SELECT at, event, facts FROM ab_events WHERE probe_id = ? ORDER BY event_id", (probe_id,)
    )
    try:
        return [Event(at, event, _mapping(facts)) for at, event, facts in found]
    except AutobatchError as error:
        what = f"The journal of probe {probe_id} is damaged: {error.what}"
        raise DatabaseError(what, "Put back a copy of the database.") from error


def dump(facts: Mapping[str, Any]) -> str:
    """Return facts as JSON text; what JSON does not know is written as text."""
    return json.dumps(facts, default=str)


def _select(connection: sqlite3.Connection, where: str, values: tuple[object, ...]) -> list[Probe]:
    text = f"SELECT {_COLUMNS} FROM ab_probes WHERE {where} ORDER BY probe_id"  # noqa: S608 - both parts are constants
    return [Probe(*row) for row in connection.execute(text, values)]


def _mapping(text: str) -> dict[str, Any]:
    value = parse_json(str(text), "a row")
    if not isinstance(value, dict):
        raise DatabaseError("A row of the database holds no mapping.", "Put back a copy of the database.")
    return value
