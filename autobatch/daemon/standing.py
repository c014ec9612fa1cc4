"""How the daemon and its searches stand, for people and scripts: read-only, and without the libraries that wrote it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autobatch.daemon import places, presence
from autobatch.daemon.words import UNSEEN_END
from autobatch.store import schema
from autobatch.store.connection import resolved
from autobatch.store.entry import AT_WORK, OVER, Item, State, read_items
from autobatch.store.read import opened
from autobatch.store.trouble import FULL_BELOW_BYTES
from autobatch.units import format_bytes

_PROGRESS = """
SELECT s.study_name, COUNT(t.trial_id), MAX(v.value)
FROM studies s JOIN trials t ON t.study_id = s.study_id
LEFT JOIN trial_values v ON v.trial_id = t.trial_id AND t.state = 'COMPLETE' AND v.value > 0
WHERE t.state IN ('COMPLETE', 'FAIL') GROUP BY s.study_id
"""
_PROBE = "SELECT study, MAX(begun_at) FROM ab_probes WHERE ended_at IS NULL GROUP BY study"


@dataclass(frozen=True)
class Progress:
    """How far a study is."""

    trials: int = 0
    """Finished ones."""
    best: float | None = None
    """Highest throughput so far, samples/s."""
    probing_since: float | None = None
    """Start of the probe in flight, seconds since the epoch."""


def status(database: Path, *, unfinished: bool = False) -> dict[str, Any]:
    """Return how the daemon and its queue stand, JSON-ready.

    Raises:
        DatabaseError: there is no such database, or it cannot be used.

    """
    places.check(database)
    daemon = presence.find(database)
    with opened(database) as connection:
        items = read_items(connection, unfinished=unfinished) if schema.has_table(connection, "ab_queue") else []
        progress = _progress(connection)
    searches = [
        describe(
            item,
            progress.get(item.study or str(item.job.get("study") or ""), Progress()),
            is_looked_after=daemon is not None,
        )
        for item in items
    ]
    return {
        "daemon": None if daemon is None else {"pid": daemon.pid, "since": daemon.since},
        "trouble": _trouble(database),
        "searches": [one for one in searches if not (unfinished and one["state"] in OVER)],
    }


def daemon_status(database: Path) -> dict[str, Any]:
    """Return how the daemon itself stands, JSON-ready: of its searches, the states of those that are not over.

    Raises:
        DatabaseError: as `status`.

    """
    state = status(database, unfinished=True)
    found = state["daemon"] or {"pid": None, "since": None}
    return {
        "running": state["daemon"] is not None,
        **found,
        "database": str(resolved(database)),
        "log": str(places.log(database)),
        "trouble": state["trouble"],
        "searches": dict(Counter(one["state"] for one in state["searches"])),
    }


def search(database: Path, entry_id: int) -> dict[str, Any]:
    """Return how one search of the queue stands, JSON-ready.

    Raises:
        DatabaseError: as `status`.

    """
    return next(one for one in status(database)["searches"] if one["search"] == entry_id)


def describe(item: Item, progress: Progress, *, is_looked_after: bool) -> dict[str, Any]:
    """Return one entry as people and scripts read it."""
    has_answer = item.is_over or item.state is State.FINISHING
    chosen = (item.answer or {}).get("chosen") or {} if has_answer else {}
    state, reason = _state(item, is_looked_after=is_looked_after)
    at_work = item.state in AT_WORK and item.has_living_worker
    # what is used of the budget is written before each probe
    since = progress.probing_since if at_work else None
    return {
        "search": item.entry_id,
        "model": item.job["model"],
        "state": str(state),
        "wanted": str(item.wanted),
        "reason": reason,
        "device": item.device if item.starts else None,
        "study": item.study or item.job.get("study"),
        "budget_s": item.job["budget_s"],
        "worked_s": round(item.worked_s + (time.time() - since if since else 0.0), 1),
        "trials": progress.trials,
        "best_samples_per_s": progress.best,
        "samples_per_s": chosen.get("measurements", {}).get("samples_per_s"),
        "probing_since": since,
        "submitted_at": item.submitted_at,
        "started_at": item.started_at,
        "ended_at": item.ended_at,
        "retry_at": item.retry_at if item.put_off_s else None,
        "starts": item.starts,
        "worker": item.worker.pid if at_work and item.worker else None,
        "on_done": item.on_done,
    }


def _state(item: Item, *, is_looked_after: bool) -> tuple[State, str]:
    """Return state and reason: a state is what its process wrote, and a process that died could not write."""
    if item.state not in AT_WORK or item.has_living_worker:
        return item.state, item.reason
    if item.worker is None and is_looked_after:
        return item.state, "its process is starting"
    if item.state is State.FINISHING:  # a daemon writes it when it comes by
        return State.DONE, UNSEEN_END
    when = "at once" if is_looked_after else "when the daemon is started: `autobatch daemon start`"
    return State.QUEUED, f"its process is gone; it goes on {when}"


def _progress(connection: sqlite3.Connection) -> Mapping[str, Progress]:
    if not schema.has_table(connection, "trial_values"):
        return {}
    finished = {name: (count, best) for name, count, best in connection.execute(_PROGRESS)}
    # a database of Optuna's alone has none of our tables
    since = dict(connection.execute(_PROBE).fetchall()) if schema.version(connection) else {}
    # a study in its first probe has finished nothing
    return {name: Progress(*finished.get(name, (0, None)), since.get(name)) for name in finished.keys() | since.keys()}


def _trouble(database: Path) -> str:
    space = os.statvfs(resolved(database).parent)
    free = space.f_bavail * space.f_frsize
    if free >= FULL_BELOW_BYTES:
        return ""
    return f"the disk of {database} is full ({format_bytes(free)} free): searches go on when there is space"
