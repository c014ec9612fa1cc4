"""The daemon's queue: searches asked for, how each stands, and what a person wants done with it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from autobatch.errors import UsageError
from autobatch.store.database import Database
from autobatch.store.owner import Process


class State(StrEnum):
    """Where an entry stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    FAILED = "failed"


OVER = frozenset({State.DONE, State.STOPPED, State.CANCELLED, State.FAILED})


class Wish(StrEnum):
    """What a person wants of an entry."""

    RUN = "run"
    PAUSE = "pause"
    STOP = "stop"
    CANCEL = "cancel"


@dataclass(frozen=True)
class Item:
    """One entry of the queue."""

    entry_id: int
    job: Mapping[str, Any]
    on_done: str | None
    submitted_at: float
    state: State
    wanted: Wish
    reason: str
    study: str | None
    device: str | None
    worker: Process | None
    starts: int
    started_at: float | None
    ended_at: float | None
    worked_s: float
    """Seconds of its budget that are used, waiting left out."""
    answer: Mapping[str, Any] | None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in OVER


class Queue:
    """The queue in one database. Several processes may use it at once.

    Raises:
        DatabaseError: from every method.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def submit(self, job: Mapping[str, Any], on_done: str | None = None) -> int:
        """Append a job, and return its entry's number."""
        with self._database.transaction() as connection:
            values = (json.dumps(job), on_done, time.time(), State.QUEUED, Wish.RUN)
            cursor = connection.execute(
                "INSERT INTO ab_queue (job, on_done, submitted_at, state, wanted) VALUES (?, ?, ?, ?, ?)", values
            )
            return int(cursor.lastrowid or 0)

    def items(self, *, unfinished: bool = False) -> list[Item]:
        """Return the entries in the order they were submitted."""
        over = ", ".join(f"'{state}'" for state in OVER)
        where = f"WHERE state NOT IN ({over})" if unfinished else ""
        with self._database.reading() as connection:
            cursor = connection.execute(f"SELECT * FROM ab_queue {where} ORDER BY entry_id")  # noqa: S608 - constants
            return [_item(cursor, row) for row in cursor]

    def item(self, entry_id: int) -> Item:
        """Return one entry.

        Raises:
            UsageError: there is none of that number.

        """
        with self._database.reading() as connection:
            cursor = connection.execute("SELECT * FROM ab_queue WHERE entry_id = ?", (entry_id,))
            row = cursor.fetchone()
        if row is None:
            message = f"There is no search {entry_id} in the queue."
            raise UsageError(message, "`autobatch queue` lists those there are.")
        return _item(cursor, row)

    def want(self, entry_id: int, wish: Wish) -> Item:
        """Note what a person wants of an entry; one that nobody works on is settled at once. Returns it as it was.

        Raises:
            UsageError: there is no such entry, or it is over.

        """
        before = self.item(entry_id)
        if before.is_over:
            message = f"Search {entry_id} is over: {before.state}."
            raise UsageError(message, "Submit it again: the same command goes on with the same study.")
        with self._database.transaction() as connection:
            connection.execute("UPDATE ab_queue SET wanted = ? WHERE entry_id = ?", (wish, entry_id))
            idle = "UPDATE ab_queue SET state = ?, ended_at = ? WHERE entry_id = ? AND worker IS NULL"
            if wish in {Wish.STOP, Wish.CANCEL}:
                state = State.STOPPED if wish is Wish.STOP else State.CANCELLED
                connection.execute(idle, (state, time.time(), entry_id))
        return before

    def update(self, entry_id: int, **values: object) -> None:
        """Set columns of an entry."""
        plain = {name: _plain(value) for name, value in values.items()}
        names = ", ".join(f"{name} = ?" for name in plain)
        with self._database.transaction() as connection:
            connection.execute(f"UPDATE ab_queue SET {names} WHERE entry_id = ?", (*plain.values(), entry_id))  # noqa: S608 - names are ours

    def claim(self, entry_id: int, device: str) -> bool:
        """Take an entry for a worker about to start; False where it is no longer to be run."""
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "UPDATE ab_queue SET state = ?, device = ?, starts = starts + 1, reason = '',"
                " started_at = coalesce(started_at, ?) WHERE entry_id = ? AND state = ? AND wanted = ?",
                (State.RUNNING, device, time.time(), entry_id, State.QUEUED, Wish.RUN),
            )
            return cursor.rowcount == 1

    def finish(self, entry_id: int, state: State, reason: str, answer: Mapping[str, Any] | None = None) -> None:
        """Close an entry, or put it back (`QUEUED`)."""
        ended = None if state is State.QUEUED else time.time()
        self.update(entry_id, state=state, reason=reason, worker=None, ended_at=ended, answer=answer)


def _plain(value: object) -> object:
    if isinstance(value, Process):
        return json.dumps(asdict(value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else value


def _item(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> Item:
    values = dict(zip((column[0] for column in cursor.description), row, strict=True))
    values["job"] = json.loads(values["job"])
    values["answer"] = json.loads(values["answer"]) if values["answer"] else None
    values["worker"] = Process(**json.loads(values["worker"])) if values["worker"] else None
    return Item(**{**values, "state": State(values["state"]), "wanted": Wish(values["wanted"])})
