"""One search of the queue, looked on from outside: how it stood and when, what was probed, what it chose."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autobatch.daemon import control, presence
from autobatch.errors import AutobatchError
from autobatch.store.entry import Item, read_items
from autobatch.store.read import opened
from autobatch.verdict import Kind
from benchmarks.common import Deadline
from benchmarks.daemon_queue import OVER, autobatch, searches

STOP_S = 40.0
"""The daemon told to end at once kills what does not end within 20 s."""
END_S = 15.0
"""Held back of a run's time, to end what was started and to write down what was seen."""
_LOOK_S = 0.2
_PROBES = """
SELECT trial_number AS trial, purpose, digest, kind, begun_at, ended_at,
       json_extract(configuration, '$.per_device_train_batch_size') AS micro_batch
FROM ab_probes ORDER BY probe_id
"""

Standing = dict[str, Any]


@contextmanager
def daemon(database: Path) -> Iterator[None]:
    """Start a daemon on a fresh database; at the end it is told to end at once, and waited for."""
    autobatch("daemon", "start", database=database)
    try:
        yield
    finally:
        with suppress(AutobatchError):
            control.stop(database, now=True)
        deadline = time.monotonic() + STOP_S
        while presence.find(database) is not None and time.monotonic() < deadline:
            time.sleep(0.1)


def is_waiting(one: Standing) -> bool:
    """Tell whether its process waits for the card."""
    return bool(one["state"] == "waiting")


def is_over(one: Standing) -> bool:
    """Tell whether nothing more will happen to it."""
    return one["state"] in OVER


@dataclass
class Watched:
    """A search, the only one of its database, as `autobatch status --json` tells of it."""

    database: Path
    deadline: Deadline
    """Of the whole run: no wait is longer than what is left of it."""
    look: Callable[[Path], Mapping[int, Standing]] = searches
    changes: list[dict[str, Any]] = field(default_factory=list)
    """Each state and reason that was seen, with the seconds since the first look."""
    _began: float = field(default_factory=time.monotonic)

    def now(self) -> Standing:
        """Look."""
        [one] = self.look(self.database).values()
        seen = {"state": one["state"], "reason": one["reason"]}
        last = self.changes[-1] if self.changes else {}
        if any(last.get(name) != value for name, value in seen.items()):
            self.changes.append({"at_s": round(time.monotonic() - self._began, 1), **seen})
        return one

    def wait(self, until: Callable[[Standing], bool], limit_s: float, what: str) -> Standing:
        """Look until it stands as wanted.

        Raises:
            RuntimeError: it is over before.
            TimeoutError: it takes too long.

        """
        limit_s = max(0.0, min(limit_s, self.deadline.left_s - END_S))
        deadline = time.monotonic() + limit_s
        while not until(one := self.now()):
            if is_over(one):
                message = f"the search was over ({one['state']}, {one['reason'] or 'no reason'}) before {what}"
                raise RuntimeError(message)
            if time.monotonic() > deadline:
                message = f"{what} took more than {limit_s:.0f} s: {one['state']}, {one['reason'] or 'no reason'}"
                raise TimeoutError(message)
            time.sleep(_LOOK_S)
        return one

    def stay(self, seconds: float) -> list[Standing]:
        """Look on for a time, and return what was seen."""
        deadline, seen = time.monotonic() + seconds, [self.now()]
        while time.monotonic() < deadline:
            time.sleep(_LOOK_S)
            seen.append(self.now())
        return seen


def queue(database: Path, options: Sequence[str]) -> None:
    """Queue the search, as a person does."""
    autobatch("search", *options, "--detach", database=database)


def item(database: Path) -> Item:
    """Return the entry of the search."""
    with opened(database) as connection:
        [found] = read_items(connection)
    return found


def probes(database: Path) -> list[dict[str, Any]]:
    """Return the probes of the search, in order: trial, purpose, digest, kind, begun_at, ended_at, micro_batch."""
    with opened(database) as connection:
        cursor = connection.execute(_PROBES)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]


def disturbed(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the probes that were marked as disturbed, each with the next probe of the same configuration."""
    found = []
    for index, row in enumerate(rows):
        if row["kind"] == Kind.DISTURBED:
            key = row["digest"], row["purpose"]
            again = next((later for later in rows[index + 1 :] if (later["digest"], later["purpose"]) == key), None)
            found.append(
                {
                    "trial": row["trial"],
                    "purpose": row["purpose"],
                    "micro_batch": row["micro_batch"],
                    "seconds": round(row["ended_at"] - row["begun_at"], 1),
                    "repeated_in": again and again["trial"],
                    "repeated_kind": again and again["kind"],
                }
            )
    return found


def during(rows: Sequence[Mapping[str, Any]], came: float, left: float) -> list[dict[str, Any]]:
    """Return the probes that ran at some moment between two, in seconds since the epoch."""
    there = [row for row in rows if row["begun_at"] < left and (row["ended_at"] is None or row["ended_at"] > came)]
    return [{name: row[name] for name in ("trial", "purpose", "micro_batch", "kind")} for row in there]


def outcome(database: Path) -> dict[str, Any]:
    """Return what came of the search; `chosen` is None where it has no answer."""
    found, rows = item(database), probes(database)
    answer = found.answer or {}
    return {
        "state": str(found.state),
        "reason": found.reason,
        "chosen": answer.get("chosen"),
        "stopped": answer.get("stopped"),
        "worked_s": round(found.worked_s, 1),
        "probes": len(rows),
        "kinds": {kind: sum(row["kind"] == kind for row in rows) for kind in sorted({str(r["kind"]) for r in rows})},
    }
