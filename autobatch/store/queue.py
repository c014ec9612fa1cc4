"""The daemon's queue: searches asked for, how each stands, and what a person wants done with it.

Several processes write it at once: the daemon, its workers, a person's commands. Whoever changes an entry names it as
it was read; the change is made only where no other process has been given the entry since.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from autobatch.errors import UsageError
from autobatch.store.database import Database
from autobatch.store.entry import BACK_OFF_S, Item, State, Wish, read_item, read_items
from autobatch.store.owner import Process

_SETTLED = {
    Wish.RUN: State.QUEUED,
    Wish.PAUSE: State.PAUSED,
    Wish.STOP: State.STOPPED,
    Wish.CANCEL: State.CANCELLED,
}
_REASONS = {
    Wish.PAUSE: "paused by a person",
    Wish.STOP: "stopped by a person; what was measured is kept",
    Wish.CANCEL: "cancelled by a person",
}
_AGAIN = "Submit it again: the same command goes on with the same study."


class Queue:
    """The queue in one database. Several processes may use it at once.

    Raises:
        DatabaseError: from every method.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def submit(self, job: Mapping[str, Any], on_done: str | None = None, device: str | None = None) -> int:
        """Append a job, and return its entry's number; `device` is where it would run now."""
        with self._database.transaction() as connection:
            values = (json.dumps(job), on_done, time.time(), State.QUEUED, Wish.RUN, device)
            cursor = connection.execute(
                "INSERT INTO ab_queue (job, on_done, submitted_at, state, wanted, device) VALUES (?, ?, ?, ?, ?, ?)",
                values,
            )
            return int(cursor.lastrowid or 0)

    def items(self, *, unfinished: bool = False) -> list[Item]:
        """Return the entries in the order in which they were submitted."""
        with self._database.reading() as connection:
            return read_items(connection, unfinished=unfinished)

    def item(self, entry_id: int) -> Item:
        """Return one entry.

        Raises:
            UsageError: there is none of that number.

        """
        with self._database.reading() as connection:
            return _one(connection, entry_id)

    def want(self, entry_id: int, wish: Wish) -> Item:
        """Note what a person wants of an entry; one that nobody works on is settled at once. Returns it as it was.

        Raises:
            UsageError: there is no such entry, or it is over, or about to be.

        """
        with self._database.transaction() as connection:
            before = _one(connection, entry_id)
            _check_can(before, wish)
            values: dict[str, object] = {"wanted": wish}
            if wish is Wish.RUN:
                values |= {"retry_at": None}
            if _is_settled_now(before, wish):
                values |= _closed(wish, "")
            _write(connection, before, values)
        return before

    def claim(self, item: Item, device: str) -> Item | None:
        """Take an entry for a worker about to start; None where it is no longer to be run."""
        values = {"state": State.RUNNING, "device": device, "starts": item.starts + 1, "reason": "", "worker": None}
        with self._database.transaction() as connection:
            now = _one(connection, item.entry_id)
            if now.state not in {State.QUEUED, State.PAUSED} or now.wanted is not Wish.RUN:
                return None
            _write(connection, now, {**values, "started_at": now.started_at or time.time(), "ended_at": None})
            return _one(connection, item.entry_id)

    def register(self, entry_id: int, start: int, worker: Process) -> Item | None:
        """Enter the process that works on a claimed entry; None where that start is no longer the one wanted."""
        with self._database.transaction() as connection:
            now = _one(connection, entry_id)
            if now.starts != start or now.worker is not None or now.state is not State.RUNNING:
                return None
            _write(connection, now, {"worker": worker})
            return _one(connection, entry_id)

    def change(self, item: Item, **values: object) -> bool:
        """Set columns of an entry; False, and nothing is changed, where another process has been given it since."""
        with self._database.transaction() as connection:
            return _write(connection, item, values)

    def end(self, item: Item, state: State, reason: str, answer: Mapping[str, Any] | None = None) -> bool:
        """Close an entry; False as in `change`."""
        return self.change(item, state=state, reason=reason, worker=None, ended_at=time.time(), **_answered(answer))

    def put_back(
        self, item: Item, reason: str, answer: Mapping[str, Any] | None = None, *, setback: bool = False
    ) -> State | None:
        """Put an entry back, or to where a person wants it; a setback keeps it from starting for a while.

        Returns:
            Its state; None where another process has been given it since.

        """
        with self._database.transaction() as connection:
            wanted = _one(connection, item.entry_id).wanted
            values = _closed(wanted, reason) | _answered(answer)
            if setback:
                wait = min(BACK_OFF_S[1], BACK_OFF_S[0] * 2 ** min(item.setbacks, 20))
                values |= {"setbacks": item.setbacks + 1, "retry_at": time.time() + wait}
            return _SETTLED[wanted] if _write(connection, item, values) else None


def _check_can(item: Item, wish: Wish) -> None:
    if item.is_over:
        raise UsageError(f"Search {item.entry_id} is over: {item.state}.", _AGAIN)
    if item.state is State.FINISHING and wish is not Wish.CANCEL:
        message = f"Search {item.entry_id} is done; only the command for its end runs."
        raise UsageError(message, f"`autobatch cancel {item.entry_id}` ends that command.")
    if item.wanted is Wish.CANCEL and wish is not Wish.CANCEL:  # its probe has been ended
        raise UsageError(f"Search {item.entry_id} is being cancelled.", _AGAIN)


def _is_settled_now(item: Item, wish: Wish) -> bool:
    if wish is Wish.RUN:
        return item.state is State.PAUSED
    return item.state is not State.FINISHING and not item.has_living_worker


def _closed(wanted: Wish, reason: str) -> dict[str, object]:
    ended = time.time() if wanted in {Wish.STOP, Wish.CANCEL} else None
    return {"state": _SETTLED[wanted], "reason": _REASONS.get(wanted, reason), "worker": None, "ended_at": ended}


def _answered(answer: Mapping[str, Any] | None) -> dict[str, object]:
    return {} if answer is None else {"answer": answer}


def _one(connection: sqlite3.Connection, entry_id: int) -> Item:
    cursor = connection.execute("SELECT * FROM ab_queue WHERE entry_id = ?", (entry_id,))
    row = cursor.fetchone()
    if row is None:
        message = f"There is no search {entry_id} in the queue."
        raise UsageError(message, "`autobatch status` lists those there are.")
    return read_item(cursor, row)


def _write(connection: sqlite3.Connection, item: Item, values: Mapping[str, object]) -> bool:
    names = ", ".join(f"{name} = ?" for name in values)
    text = f"UPDATE ab_queue SET {names} WHERE entry_id = ? AND starts = ? AND worker IS ?"  # noqa: S608 - names are ours
    held_by = None if item.worker is None else _plain(item.worker)
    plain = (*map(_plain, values.values()), item.entry_id, item.starts, held_by)
    return connection.execute(text, plain).rowcount == 1


def _plain(value: object) -> object:
    if isinstance(value, Process):
        return json.dumps(asdict(value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else value
