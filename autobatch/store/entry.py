"""One entry of the daemon's queue: how it stands, and what a person wants of it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from autobatch.store.owner import Process

BACK_OFF_S = (2.0, 300.0)
"""Wait before an entry that had a setback is started again: doubled each time, between these."""


class State(StrEnum):
    """Where an entry stands."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    """Its process is there and waits for the card."""
    PAUSED = "paused"
    FINISHING = "finishing"
    """The search is done; the command for its end runs."""
    DONE = "done"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    FAILED = "failed"


AT_WORK = frozenset({State.RUNNING, State.WAITING, State.FINISHING})
"""States that a living process stands for."""
OVER = frozenset({State.DONE, State.STOPPED, State.CANCELLED, State.FAILED})


class Wish(StrEnum):
    """What a person wants of an entry."""

    RUN = "run"
    PAUSE = "pause"
    STOP = "stop"
    CANCEL = "cancel"


@dataclass(frozen=True)
class Item:
    """One entry of the queue as it was read."""

    entry_id: int
    job: Mapping[str, Any]
    on_done: str | None
    submitted_at: float
    state: State
    wanted: Wish
    reason: str
    study: str | None
    device: str | None
    """Where it runs, ran last, or would have run when it was submitted."""
    worker: Process | None
    starts: int
    """Processes that were started for it; the number tells one that is about to work from an older one."""
    started_at: float | None
    ended_at: float | None
    worked_s: float
    """Seconds of its budget that are used, waiting left out."""
    answer: Mapping[str, Any] | None
    setbacks: int = 0
    """Ends in a row that nobody wanted, without a finished probe between them."""
    retry_at: float | None = None
    """Seconds since the epoch before which it is not started again."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in OVER

    @property
    def put_off_s(self) -> float:
        """Seconds until it is started again after a setback; 0 where nothing keeps it."""
        left = (self.retry_at or 0.0) - time.time()
        # no wait is that long: the clock was set back since
        return left if self.state is State.QUEUED and 0 < left <= BACK_OFF_S[1] else 0.0

    @property
    def has_living_worker(self) -> bool:
        """Whether its process is registered and lives."""
        return self.worker is not None and self.worker.is_alive


def read_item(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> Item:
    """Return the entry in a row of `ab_queue`."""
    values = dict(zip((column[0] for column in cursor.description), row, strict=True))
    values["job"] = json.loads(values["job"])
    values["answer"] = json.loads(values["answer"]) if values["answer"] else None
    values["worker"] = Process(**json.loads(values["worker"])) if values["worker"] else None
    return Item(**{**values, "state": State(values["state"]), "wanted": Wish(values["wanted"])})


def read_items(connection: sqlite3.Connection, *, unfinished: bool = False) -> list[Item]:
    """Return the entries in the order in which they were submitted."""
    over = ", ".join(f"'{state}'" for state in OVER)
    where = f"WHERE state NOT IN ({over})" if unfinished else ""
    cursor = connection.execute(f"SELECT * FROM ab_queue {where} ORDER BY entry_id")  # noqa: S608 - constants
    return [read_item(cursor, row) for row in cursor]
