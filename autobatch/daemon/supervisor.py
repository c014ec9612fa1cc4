"""The daemon's loop: gives devices to searches, starts their workers, takes note of their ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from autobatch.daemon import places, presence
from autobatch.daemon.assign import Devices, studies_of, taken_by
from autobatch.daemon.deaths import settle
from autobatch.daemon.notify import notify, without_notification
from autobatch.daemon.words import say
from autobatch.errors import DatabaseError, MachineError
from autobatch.isolation import proc
from autobatch.machine.gpus import list_gpus
from autobatch.store.connection import identity, resolved
from autobatch.store.database import Database
from autobatch.store.entry import AT_WORK, Item, State, Wish
from autobatch.store.queue import Queue

TICK_S = 1.0
KILL_S = 20.0
"""From the second signal to SIGKILL: a probe's tree is ended in this time."""


def worker_command(database: Path, item: Item, shares: int) -> list[str]:
    """Return the command that works on a claimed entry."""
    numbers = map(str, (item.entry_id, item.starts, shares))
    return [sys.executable, "-m", "autobatch.daemon.worker", str(database), *numbers]


@dataclass
class Supervisor:
    """Works a queue until it is told to end.

    Attributes:
        database: with the queue in it; it is made where nothing is expected there.
        tick_s: seconds between two looks at the queue.
        command: makes the command that works on an entry: database, entry, searches that share the host's memory.

    """

    database: Path
    tick_s: float = TICK_S
    command: Callable[[Path, Item, int], list[str]] = worker_command
    _signals: int = field(default=0, init=False)
    _children: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict, init=False)
    _started: dict[int, int] = field(default_factory=dict, init=False)
    """Number of the start that we made last of each entry."""
    _trouble: str = field(default="", init=False)

    def run(self) -> None:
        """Work until a signal: the first lets the probes at work end, the second does not.

        Raises:
            DatabaseError: the database cannot be used, or was replaced while in use.
            MachineError: another daemon is at work on it.

        """
        places.check(self.database)
        self.database = resolved(self.database)
        database = Database(self.database)
        try:
            presence.take(database)
            self._queue = Queue(database)
            self._file = identity(self.database)
            self._work()
        finally:
            database.close()

    def _work(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        say(f"daemon: process {os.getpid()} works the queue of {self.database}")
        notify("READY=1")
        while not self._signals:
            self._guarded_tick()
            time.sleep(self.tick_s)
        notify("STOPPING=1")
        self._drain()
        say("daemon: ends")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's
        self._signals += 1

    def _guarded_tick(self) -> None:
        """Look at the queue once; a full disk or a lost driver is waited out, and said once."""
        notify("WATCHDOG=1")
        try:
            self._tick()
        except (DatabaseError, MachineError, OSError) as error:
            if identity(self.database) != self._file:
                raise
            self._note(str(error))
        else:
            self._note("")

    def _note(self, trouble: str) -> None:
        if trouble != self._trouble:
            say(f"daemon: {trouble or 'goes on'}")
            self._trouble = trouble

    def _tick(self) -> None:
        self._reap()
        for item in self._queue.items(unfinished=True):
            if item.state in AT_WORK and not self._is_at_work(item):
                self._take_note(item.entry_id)
        self._start_what_can_run(self._queue.items(unfinished=True))

    def _reap(self) -> None:
        if os.getpid() == 1:
            _reap_adopted()
        self._children = {key: child for key, child in self._children.items() if child.poll() is None}

    def _is_at_work(self, item: Item) -> bool:
        return item.entry_id in self._children or item.has_living_worker

    def _take_note(self, entry_id: int) -> None:
        """Put back an entry whose process has died, after what that left running is ended."""
        # it may have ended well between the two looks: what it wrote last counts
        item = self._queue.item(entry_id)
        if item.state not in AT_WORK or self._is_at_work(item):
            return
        said = settle(self._queue, item, is_known=self._started.get(entry_id) == item.starts)
        say(f"search {entry_id}: {said}")

    def _start_what_can_run(self, items: list[Item]) -> None:
        waiting = [item for item in items if item.state in {State.QUEUED, State.PAUSED} and item.wanted is Wish.RUN]
        ready = [item for item in waiting if not item.put_off_s]
        if not ready:
            return
        devices, taken, at_work = _devices(), taken_by(items), studies_of(items)
        for item in ready:
            device, reason = devices.choose(item, taken, at_work)
            if device is None:
                if reason != item.reason:
                    self._queue.change(item, reason=reason)
            elif (claimed := self._queue.claim(item, device)) is not None:
                taken[device] = item.entry_id
                at_work |= studies_of([claimed])
                self._start(claimed, devices.shares(items))

    def _start(self, item: Item, shares: int) -> None:
        self._started[item.entry_id] = item.starts
        try:
            log = places.open_log(places.log(self.database, item.entry_id))
            try:
                self._children[item.entry_id] = subprocess.Popen(
                    self.command(self.database, item, shares),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=without_notification(os.environ),
                    start_new_session=True,
                )
            finally:
                os.close(log)
        except OSError as error:
            self._queue.put_back(item, f"its process cannot be started: {error.strerror}", setback=True)
        else:
            say(f"search {item.entry_id}: starts on {item.device}, process {self._children[item.entry_id].pid}")

    def _workers(self) -> list[int]:
        """Return the processes to be ended: a search's command for its end is let be by the first signal."""
        try:
            items = self._queue.items(unfinished=True)
        except (DatabaseError, OSError) as error:
            self._note(str(error))
            return [child.pid for child in self._children.values()]
        items = [item for item in items if item.state is not State.FINISHING or self._signals > 1]
        adopted = [item.worker.pid for item in items if item.worker is not None and item.worker.is_alive]
        started = [self._children[item.entry_id].pid for item in items if item.entry_id in self._children]
        return sorted({*adopted, *started})

    def _drain(self) -> None:
        """Have every worker end after its probe; when asked again, at once; at last, kill what is left."""
        told, deadline = 0, float("inf")
        while workers := self._workers():
            notify("WATCHDOG=1")
            if told < min(2, self._signals):
                told = min(2, self._signals)
                say(f"daemon: ends {'now' if told > 1 else 'after the probes at work'}")
                proc.kill(workers, signal.SIGINT if told > 1 else signal.SIGTERM)
                deadline = time.monotonic() + KILL_S if told > 1 else deadline
            if time.monotonic() > deadline:
                proc.kill([pid for worker in workers for pid in (*proc.descendants(worker), worker)])
            time.sleep(min(self.tick_s, 0.2))
            self._reap()


def _devices() -> Devices:
    try:
        return Devices(list_gpus(), "", presence.search_on)
    except MachineError as error:
        return Devices([], error.what, presence.search_on)


def _reap_adopted() -> None:
    """Reap what others left to us, as a container's first process must."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
