"""What a person does with the daemon and its queue: start, stop, submit, pause, cancel, look."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autobatch.daemon import places
from autobatch.errors import DatabaseError, MachineError, UsageError
from autobatch.job.request import Job
from autobatch.store.database import Database
from autobatch.store.lock import Holder
from autobatch.store.queue import Item, Queue, State, Wish

START_S = 15.0
"""A daemon that does not hold its lock after this has failed."""
_UNIT = """\
[Unit]
Description=autobatch: searches of {database}
After=network.target nvidia-persistenced.service

[Service]
Type=notify
ExecStart={command}
WorkingDirectory={folder}
WatchdogSec=60
Restart=on-failure
RestartSec=5
# the daemon ends its searches itself; after its own death they go on, and it takes them up again
KillMode=process
TimeoutStopSec=300

[Install]
WantedBy=default.target
"""


def open_queue(database: Path, *, make: bool = False) -> Queue:
    """Open the queue of a database.

    Raises:
        UsageError: there is no such database, and it is not to be made.

    """
    if not make and not database.exists():
        message = f"There is no database {database}."
        raise UsageError(message, "`autobatch search --detach ...` makes it, or name another with --db.")
    return Queue(Database(database))


def start(database: Path) -> Holder:
    """Start a daemon in the background, and return it once it works; one that works already is returned as it is.

    Raises:
        MachineError: it did not come up; its log says why.

    """
    found = places.holder(database)
    if found is not None:
        return found
    log = places.open_log(places.log(database))
    subprocess.Popen(
        run_command(database), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True
    )
    os.close(log)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if (found := places.holder(database)) is not None:
            return found
        time.sleep(0.1)
    message = "The daemon did not start."
    raise MachineError(message, f"Its log says why: {places.log(database)}")


def run_command(database: Path) -> list[str]:
    """Return the command that runs a daemon in the foreground."""
    return [sys.executable, "-m", "autobatch", "daemon", "run", "--db", str(database.resolve())]


def stop(database: Path, *, now: bool = False) -> bool:
    """Ask the daemon to end: after the probes at work, or `now`. False where there is none."""
    found = places.holder(database)
    if found is None or found.pid is None or not found.is_alive:
        return False
    os.kill(found.pid, signal.SIGTERM)
    if now:
        time.sleep(0.3)
        os.kill(found.pid, signal.SIGTERM)
    return True


def submit(database: Path, job: Job, on_done: str | None) -> int:
    """Put a search into the queue, start the daemon if there is none, and return the entry's number.

    Raises:
        UsageError: the job cannot be served; said now, while somebody is there to read it.

    """
    from autobatch.job.prepare import prepare

    prepare(job)
    here = replace(job, folder=str(Path.cwd()))
    entry_id = open_queue(database, make=True).submit(here.to_dict(), on_done)
    start(database)
    return entry_id


def wish(database: Path, entry_id: int, wanted: Wish) -> Item:
    """Note a wish, wake the search's process where it must act at once, and return the entry as it was.

    Raises:
        UsageError: there is no such entry, or it is over.

    """
    queue = open_queue(database)
    before = queue.want(entry_id, wanted)
    worker = queue.item(entry_id).worker
    if wanted is Wish.CANCEL and worker is not None and worker.is_alive:
        os.kill(worker.pid, signal.SIGINT)
    return before


def said(before: Item, wanted: Wish) -> str:
    """Say plainly what a wish did."""
    name = f"Search {before.entry_id} ({before.job['model']})"
    at_work = before.worker is not None
    if wanted is Wish.PAUSE:
        return (
            f"{name} pauses {'after the probe at work' if at_work else 'before it begins'}; `resume` goes on with it."
        )
    if wanted is Wish.RUN:
        return f"{name} goes on." if before.wanted is Wish.PAUSE else f"{name} was not paused; nothing changed."
    if wanted is Wish.STOP:
        return f"{name} {'ends after the probe at work' if at_work else 'is ended'}; what was measured is kept."
    return f"{name} is cancelled{', its probe ended' if at_work else ''}; what was measured before is kept."


def unit(database: Path) -> str:
    """Return a systemd unit that runs the daemon of a database.

    Raises:
        DatabaseError: its folder does not exist.

    """
    if not database.resolve().parent.is_dir():
        message = f"The folder of {database} does not exist."
        raise DatabaseError(message, "Make it first, or name another database with --db.")
    command = shlex.join(run_command(database))
    return _UNIT.format(database=database.resolve(), command=command, folder=database.resolve().parent)


def status(database: Path) -> dict[str, Any]:
    """Return how the daemon and its queue stand, JSON-ready."""
    found = places.holder(database)
    items = open_queue(database).items() if database.exists() else []
    return {
        "daemon": None if found is None else {"pid": found.pid, "since": found.since},
        "searches": [describe(item) for item in items],
    }


def describe(item: Item) -> Mapping[str, Any]:
    """Return one entry as people and scripts read it."""
    chosen = (item.answer or {}).get("chosen") or {}
    # a state is what its process wrote; a process that died could not write
    lost = item.state in {State.RUNNING, State.PAUSED} and (item.worker is None or not item.worker.is_alive)
    return {
        "search": item.entry_id,
        "model": item.job["model"],
        "state": str(item.state),
        "wanted": str(item.wanted),
        "reason": "its process is starting, or has died and waits for the daemon" if lost else item.reason,
        "device": item.device,
        "study": item.study,
        "budget_s": item.job["budget_s"],
        "worked_s": round(item.worked_s, 1),
        "starts": item.starts,
        "worker": item.worker.pid if item.worker else None,
        "samples_per_s": chosen.get("measurements", {}).get("samples_per_s"),
    }
