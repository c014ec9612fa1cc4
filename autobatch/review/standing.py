"""How a search stands by its database: the probe at work by the ledger's samples, and the best trial before it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autobatch import attributes
from autobatch.errors import AutobatchError
from autobatch.review.database import Database
from autobatch.review.picture import Best
from autobatch.store.read import opened

_EVERY_S = 0.5
_LAST_SAMPLE = """
SELECT e.facts FROM ab_probes p JOIN ab_events e ON e.probe_id = p.probe_id
WHERE p.study = ? AND p.ended_at IS NULL AND e.event = 'sample' ORDER BY e.event_id DESC LIMIT 1
"""


_LOOKED_AT = 20
"""Trials among which the best is looked for: one that only evaluates has the throughput of another as its value."""


def known_best(database: Path | str, study: str) -> Best | None:
    """Return the fastest training of a study so far; None where there is none.

    Raises:
        DatabaseError: the database cannot be read.

    """
    source = Database(Path(database))
    found = next((one for one in source.studies() if one.name == study), None)
    trials = source.best_trials(found, _LOOKED_AT) if found else []
    measured = ((trial.figure(attributes.SAMPLES_PER_S), trial) for trial in trials if trial.ok)
    bests = [Best(trial.number, trial.settings, rate) for rate, trial in measured if rate]
    return max(bests, key=lambda best: best.samples_per_s, default=None)


class LedgerWatch:
    """A `picture.Watch` over a database; it reads twice a second at most, and an unreadable ledger is no news.

    Args:
        database: path of the database.
        study: name of the study whose probe is watched.

    """

    def __init__(self, database: Path | str, study: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._study = study
        self._clock = clock
        self._read_at = float("-inf")
        self._last: Mapping[str, Any] = {}

    def __call__(self) -> Mapping[str, Any]:
        """Return `phase`, `device_bytes` and `host_bytes` of the newest sample; nothing while there is none."""
        if self._clock() - self._read_at >= _EVERY_S:
            self._last, self._read_at = self._read(), self._clock()
        return self._last

    def _read(self) -> Mapping[str, Any]:
        try:
            with opened(self._database) as connection:
                found = connection.execute(_LAST_SAMPLE, (self._study,)).fetchone()
            facts = json.loads(found[0]) if found else {}
        except (AutobatchError, sqlite3.Error, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}
