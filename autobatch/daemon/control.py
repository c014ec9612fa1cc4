"""What a person does with the daemon and its queue: start, stop, submit, pause, cancel."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from autobatch.daemon import places, presence
from autobatch.daemon.presence import Daemon
from autobatch.daemon.reading import state_of
from autobatch.daemon.unit import run_command
from autobatch.errors import DatabaseError, MachineError
from autobatch.isolation import proc
from autobatch.job.request import Job
from autobatch.review.words import one_line
from autobatch.store.connection import resolved
from autobatch.store.database import Database
from autobatch.store.entry import Item, State, Wish
from autobatch.store.lock import GpuLock, InUseError
from autobatch.store.queue import Queue

if TYPE_CHECKING:
    from autobatch.job.prepare import Asked

START_S = 30.0
"""A daemon that does not hold its lock after this has failed."""


def start(database: Path) -> Daemon:
    """Start a daemon in the background, and return it once it works; one that works already is returned as it is.

    Raises:
        DatabaseError: the database cannot be used.
        MachineError: it did not come up; its log says why.

    """
    places.check(database)
    Database(database).close()  # what is wrong with it is said here, where somebody reads it
    if (found := presence.find(database)) is not None:
        return found
    try:
        log = places.open_log(places.log(database))
    except OSError as error:
        message = f"The daemon's log {places.log(database)} cannot be written: {error.strerror}."
        raise MachineError(message, "Free some space there, or allow writing.") from error
    command = run_command(database)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    os.close(log)
    return _wait_for(process, database)


def _wait_for(process: subprocess.Popen[bytes], database: Path) -> Daemon:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        found = presence.find(database)
        # another one that was started at the same moment serves as well
        if found is not None and (found.pid is not None or process.poll() is not None):
            return found
        if process.poll() is not None:
            break
        time.sleep(0.05)
    message = "The daemon did not start."
    raise MachineError(message, f"Its log says why: {places.log(database)}")


def stop(database: Path, *, now: bool = False) -> bool:
    """Ask the daemon to end: after the probes at work, or `now`. False where there is none.

    Raises:
        DatabaseError: there is no such database, or it is another user's.
        MachineError: it cannot be reached from here.

    """
    _check_there(database)
    found = presence.find(database)
    if found is None:
        return False
    if (pid := found.pid) is None:
        message = "The daemon runs in another container, or is just starting: it cannot be told from here."
        raise MachineError(message, "Run the same command there, or again in a moment.")
    proc.kill([pid], signal.SIGTERM)
    if now:
        time.sleep(0.5)
        proc.kill([pid], signal.SIGTERM)
    return True


def submit(database: Path, job: Job, on_done: str | None) -> int:
    """Put a search into the queue, start the daemon if there is none, and return the entry's number.

    Raises:
        UsageError: the job cannot be served; said now, while somebody is there to read it.
        DatabaseError: the database cannot be used.
        MachineError: the device is not there, or the daemon did not start; then the search is queued all the same.

    """
    from autobatch.job.prepare import read

    places.check_content(database)
    asked = read(job)
    here = replace(job, folder=str(Path.cwd()), database=str(resolved(database)), study=_study(job, asked))
    entry_id = _queue(database).submit(here.to_dict(), on_done, asked.device)
    try:
        start(database)
    except MachineError as error:
        raise MachineError(f"Search {entry_id} is queued, but no daemon works: {error.what}", error.do) from error
    return entry_id


def _study(job: Job, asked: Asked) -> str | None:
    """Return the study's name; that of a script is left to the search itself where the card is in use now.

    To know what a script trains it must run, and it would take memory and time from the probe at work.
    """
    from autobatch.job.prepare import prepare

    alone = GpuLock(asked.identity) if job.script else contextlib.nullcontext()
    with contextlib.suppress(InUseError), alone:
        return prepare(job, asked).study
    return job.study


def wish(database: Path, entry_id: int, wanted: Wish) -> Item:
    """Note a wish, wake the search's process where it must act at once, and return the entry as it was.

    Raises:
        DatabaseError: there is no such database.
        UsageError: there is no such entry, or it is over, or about to be.

    """
    _check_there(database)
    # looked up before it is opened for writing, which would make our tables in a database of Optuna's alone
    state_of(database, entry_id)
    queue = _queue(database)
    before = queue.want(entry_id, wanted)
    worker = queue.item(entry_id).worker
    if wanted is Wish.CANCEL and worker is not None and worker.is_alive:
        proc.kill([worker.pid], signal.SIGINT)
    return before


def said(before: Item, wanted: Wish) -> str:
    """Say plainly what a wish did."""
    return one_line(f"Search {before.entry_id} ({before.job['model']}) {_DID[wanted](before)}")


def _paused(before: Item) -> str:
    if before.has_living_worker:
        return "pauses after the probe at work, and gives device and memory back; `resume` goes on with it."
    return f"is paused{' before it began' if before.starts == 0 else ''}; `resume` goes on with it."


def _resumed(before: Item) -> str:
    if before.wanted is Wish.STOP:
        return "goes on: `stop` is taken back."
    if before.wanted is Wish.PAUSE or before.state is State.PAUSED:
        return "goes on."
    return "is tried again at once." if before.put_off_s else "was not paused; nothing changed."


def _stopped(before: Item) -> str:
    return f"{'ends after the probe at work' if before.has_living_worker else 'is ended'}; what was measured is kept."


def _cancelled(before: Item) -> str:
    at_work = before.has_living_worker
    if before.state is State.FINISHING:
        return f"was done; {'the command for its end is ended' if at_work else 'nobody watches its command any more'}."
    return f"is cancelled{', its probe ended' if at_work else ''}; what was measured before is kept."


_DID: dict[Wish, Callable[[Item], str]] = {
    Wish.PAUSE: _paused,
    Wish.RUN: _resumed,
    Wish.STOP: _stopped,
    Wish.CANCEL: _cancelled,
}


def _queue(database: Path) -> Queue:
    return Queue(Database(database))


def _check_there(database: Path) -> None:
    places.check(database)
    if not database.exists():
        message = f"There is no database {database}."
        raise DatabaseError(message, "`autobatch search --detach ...` makes it, or name another with --db.")
