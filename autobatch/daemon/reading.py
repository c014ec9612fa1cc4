"""Reading the logs of the queue, and following one while it grows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from autobatch.daemon import places
from autobatch.errors import UsageError
from autobatch.store import schema
from autobatch.store.entry import OVER, State, read_items
from autobatch.store.read import opened

POLL_S = 0.5


def lines(database: Path, entry_id: int | None, *, follow: bool) -> Iterator[str]:
    """Yield the log of a search, or of the daemon, in pieces; with `follow`, until the search is over.

    Raises:
        DatabaseError: there is no such database.
        UsageError: there is no such search, or no log of it yet and `follow` is not asked for.

    """
    path = places.log(database, entry_id)
    state_of(database, entry_id)
    if not path.exists() and not follow:
        message = f"There is no log {path} yet."
        raise UsageError(message, "`autobatch status` says what it waits for; `logs -f` waits for it, too.")
    while not path.exists() and state_of(database, entry_id) not in OVER:
        time.sleep(POLL_S)
    if path.exists():
        yield from _read(path, database, entry_id, follow=follow)


def _read(path: Path, database: Path, entry_id: int | None, *, follow: bool) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as stream:
        while True:
            # asked before reading: what was written until it was over is still read
            is_last = not follow or state_of(database, entry_id) in OVER
            yield stream.read()
            if is_last:
                return
            time.sleep(POLL_S)


def state_of(database: Path, entry_id: int | None) -> State | None:
    """Return the state of a search of the queue; None for the daemon itself, which has none.

    Raises:
        DatabaseError: there is no such database.
        UsageError: there is no such search.

    """
    with opened(database) as connection:
        items = read_items(connection) if schema.has_table(connection, "ab_queue") else []
    states = {item.entry_id: item.state for item in items}
    if entry_id is None:
        return None
    if entry_id not in states:
        message = f"There is no search {entry_id} in the queue."
        raise UsageError(message, "`autobatch status` lists those there are.")
    return states[entry_id]
