"""The daemon's loop: gives devices to searches, starts their workers, takes note of their ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from autobatch.daemon import places
from autobatch.daemon.notify import notify
from autobatch.errors import DatabaseError, MachineError
from autobatch.isolation import proc
from autobatch.machine.gpus import list_gpus
from autobatch.store.database import Database
from autobatch.store.queue import Item, Queue, State, Wish

TICK_S = 1.0
LARGEST_STARTS = 20
"""A search whose process died this often is given up."""
BACK_OFF_S = (1.0, 300.0)
"""Wait before a search that did not end well is started again: doubled each time, between these."""
KILL_S = 20.0
"""From the second signal to SIGKILL: a probe's tree is ended in this time."""


@dataclass
class Supervisor:
    """Works a queue until it is told to end.

    Attributes:
        database: with the queue in it.
        tick_s: seconds between two looks at the queue.

    """

    database: Path
    tick_s: float = TICK_S
    _signals: int = field(default=0, init=False)
    _children: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict, init=False)
    _not_before: dict[int, float] = field(default_factory=dict, init=False)

    def run(self) -> None:
        """Work until a signal: the first lets the probes at work end, the second does not.

        Raises:
            MachineError: another daemon is at work on this database.

        """
        with places.lock(self.database):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)
            self._queue = Queue(Database(self.database))
            notify("READY=1")
            while not self._signals:
                self._guarded_tick()
                time.sleep(self.tick_s)
            notify("STOPPING=1")
            self._drain()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's
        self._signals += 1

    def _guarded_tick(self) -> None:
        """Look at the queue once; a full disk or a lost driver is waited out."""
        notify("WATCHDOG=1")
        try:
            self._tick()
        except (DatabaseError, MachineError) as error:
            sys.stderr.write(f"{error.what} {error.do}\n")
            time.sleep(self.tick_s)

    def _tick(self) -> None:
        self._reap()
        items = self._queue.items(unfinished=True)
        for item in items:
            self._look_after(item)
        self._start_what_can_run(items)

    def _reap(self) -> None:
        self._children = {key: child for key, child in self._children.items() if child.poll() is None}

    def _look_after(self, item: Item) -> None:
        if item.state is State.QUEUED or self._is_at_work(item):
            return
        # the worker may have ended between the two looks: what it wrote last counts
        now = self._queue.item(item.entry_id)
        if now.state not in {State.RUNNING, State.PAUSED} or self._is_at_work(now):
            return
        if now.wanted in {Wish.CANCEL, Wish.STOP}:
            state = State.CANCELLED if now.wanted is Wish.CANCEL else State.STOPPED
            self._queue.finish(item.entry_id, state, "its process had died")
        elif now.starts >= LARGEST_STARTS:
            self._queue.finish(item.entry_id, State.FAILED, f"its process died {now.starts} times: see its log")
        else:
            self._queue.finish(item.entry_id, State.QUEUED, "its process died; it goes on where it was")

    def _is_at_work(self, item: Item) -> bool:
        return item.entry_id in self._children or (item.worker is not None and item.worker.is_alive)

    def _start_what_can_run(self, items: list[Item]) -> None:
        waiting = [item for item in items if item.state is State.QUEUED and item.wanted is Wish.RUN]
        if not waiting:
            return
        devices = [f"cuda:{gpu.index}" for gpu in list_gpus()] or ["cpu"]
        taken = {item.device for item in items if item.state in {State.RUNNING, State.PAUSED}}
        for item in waiting:
            device = _device(str(item.job.get("device", "auto")), [d for d in devices if d not in taken], taken)
            if device and time.monotonic() >= self._not_before.get(item.entry_id, 0.0):
                taken.add(device)
                self._start(item, device, len(devices))

    def _start(self, item: Item, device: str, shares: int) -> None:
        if not self._queue.claim(item.entry_id, device):
            return
        pause = min(BACK_OFF_S[1], BACK_OFF_S[0] * 2**item.starts)
        self._not_before[item.entry_id] = time.monotonic() + pause
        log = places.open_log(places.log(self.database, item.entry_id))
        command = [sys.executable, "-m", "autobatch.daemon.worker", str(self.database), str(item.entry_id), str(shares)]
        try:
            self._children[item.entry_id] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        finally:
            os.close(log)

    def _workers(self) -> list[int]:
        items = self._queue.items(unfinished=True)
        adopted = [item.worker.pid for item in items if item.worker is not None and item.worker.is_alive]
        return sorted({*adopted, *(child.pid for child in self._children.values())})

    def _drain(self) -> None:
        """Have every worker end after its probe; when asked again, at once; at last, kill what is left."""
        told, deadline = 0, float("inf")
        while workers := self._workers():
            notify("WATCHDOG=1")
            if told < min(2, self._signals):
                told += 1
                proc.kill(workers, signal.SIGTERM)
                deadline = time.monotonic() + KILL_S if told > 1 else deadline
            if time.monotonic() > deadline:
                proc.kill([pid for worker in workers for pid in (*proc.descendants(worker), worker)])
            time.sleep(min(self.tick_s, 0.2))
            self._reap()


def _device(asked: str, free: list[str], taken: set[str | None]) -> str | None:
    """Return the device for a search: the one it asks for if that is free, or the first free one for `auto`."""
    if asked == "auto":
        return free[0] if free else None
    wanted = "cuda:0" if asked == "cuda" else asked
    return None if wanted in taken else wanted
