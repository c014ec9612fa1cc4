"""After a fault: what was acknowledged is compared with what the database holds, and the processes are counted."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autobatch.errors import DatabaseError
from autobatch.isolation import proc
from autobatch.isolation.parent import MARK
from autobatch.store.ledger import Ledger
from autobatch.store.recovery import close_dead
from autobatch.store.rows import Probe
from autobatch.verdict import Kind
from benchmarks.faults import Line

Ack = Mapping[str, Any]


@dataclass
class Tally:
    """Counts of one line of the table."""

    fault: str
    injected: int = 0
    right: int = 0
    lost: int = 0
    notes: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def add(self, problem: str | None, note: str = "", *, lost: bool = True) -> None:
        """Count one fault; `problem` is None where the outcome was right."""
        self.injected += 1
        self.right += problem is None
        self.lost += problem is not None and lost
        if note:
            self.notes[note] = self.notes.get(note, 0) + 1
        if problem is not None:
            self.problems.append(problem)

    def line(self) -> Line:
        """Return the line."""
        told = [f"{count} {note}" for note, count in sorted(self.notes.items())] + self.problems[:5]
        seconds = round(time.monotonic() - self.began, 1)
        return Line(self.fault, self.injected, self.right, self.lost, seconds, "; ".join(told))


def parse(lines: Iterable[bytes]) -> list[Ack]:
    """Return the acknowledgements; a last line cut short was never received."""
    return [json.loads(line) for line in lines if line.endswith(b"\n") and line.startswith(b"{")]


def survey(database: Path, acks: list[Ack]) -> tuple[str | None, tuple[Probe, ...]]:
    """Recover, then compare; return what is wrong, if anything, and the probes that were in flight."""
    try:
        with Ledger.open(database) as ledger:
            killed = close_dead(ledger)
    except DatabaseError as error:
        return f"refused: {error.what}", ()
    with closing(sqlite3.connect(database)) as connection:
        problem = _missing(connection, acks) or _not_whole(connection) or _repeated(connection)
    return problem, killed


def _missing(connection: sqlite3.Connection, acks: list[Ack]) -> str | None:
    """Return the first acknowledgement that the database knows nothing of."""
    queries = {
        "begun": "SELECT 1 FROM ab_probes WHERE probe_id = :probe AND digest = :digest",
        "started": "SELECT 1 FROM ab_events WHERE probe_id = :probe AND event = 'started'",
        "intent": "SELECT 1 FROM ab_events WHERE probe_id = :probe AND event = 'intent'",
        "finished": "SELECT 1 FROM ab_probes WHERE probe_id = :probe AND kind = 'ok' AND verdict IS NOT NULL",
        "told": "SELECT 1 FROM trials WHERE number = :trial AND state = 'COMPLETE'",
    }
    for ack in acks:
        if connection.execute(queries[ack["did"]], dict(ack)).fetchone() is None:
            return f"lost: {ack}"
    return None


def _not_whole(connection: sqlite3.Connection) -> str | None:
    found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    return None if found == "ok" else f"integrity: {found}"


def _repeated(connection: sqlite3.Connection) -> str | None:
    """Return a configuration that was tried again after its search was killed, though nobody released it."""
    text = """SELECT a.digest FROM ab_probes a JOIN ab_probes b ON a.study = b.study AND a.digest = b.digest
        WHERE a.kind = ? AND a.released_at IS NULL AND b.probe_id > a.probe_id"""
    found = connection.execute(text, (str(Kind.KILLED_IN_FLIGHT),)).fetchone()
    return None if found is None else f"repeated: {found[0]}"


def orphans(pid: int) -> list[int]:
    """Return the living processes that the search of this pid started."""
    return [found for found in proc.marked(f"{MARK}={pid}-") if (now := proc.stat(found)) and now.state not in "ZX"]
