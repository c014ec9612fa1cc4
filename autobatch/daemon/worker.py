"""One search of the queue, in a process of its own that outlives its daemon: `python -m autobatch.daemon.worker`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from autobatch.daemon import places
from autobatch.errors import AutobatchError, MachineError, UsageError
from autobatch.job.gate import WorkClock
from autobatch.job.prepare import SMALLEST_BUDGET_S
from autobatch.job.request import Job
from autobatch.machine.memory import host_limit
from autobatch.search.seams import StopSearch
from autobatch.store.database import Database
from autobatch.store.owner import Process
from autobatch.store.queue import Item, Queue, State, Wish

POLL_S = 0.5


class Worker:
    """Runs one entry of the queue to its end, or to where somebody wants it to end.

    Args:
        database: with the queue in it.
        entry_id: what to run.
        shares: searches that may run side by side on this host, which share its memory.

    """

    def __init__(self, database: Path, entry_id: int, shares: int) -> None:
        self._path = database.resolve()
        self._entry_id = entry_id
        self._shares = shares
        self._queue = Queue(Database(database))
        self._clock = WorkClock()
        self._started = self._clock()
        self._draining = False
        self._before = self._queue.item(entry_id)

    def run(self) -> None:
        """Run the search, write how it ended, and then the command for that."""
        self._queue.update(self._entry_id, worker=Process.current(), state=State.RUNNING)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._drain)
        try:
            answer = self._search()
        except MachineError as error:
            self._end(State.QUEUED, f"{error.what} {error.do}")
        except AutobatchError as error:
            self._end(State.FAILED, f"{error.what} {error.do}")
        except KeyboardInterrupt:
            self._end(*self._interrupted())
        else:
            self._finish(answer)

    def _drain(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's
        """End after the probe at work; when asked again, now."""
        if self._draining:
            raise KeyboardInterrupt
        self._draining = True

    def _search(self) -> dict[str, Any]:
        from autobatch.job.run import run
        from autobatch.review.live import make_view

        view = make_view(sys.stderr, color=False)
        job = self._job()
        _enter(job.folder)
        return run(job, view, check=self._check, clock=self._clock, known=self._known)

    def _job(self) -> Job:
        item = self._before
        job = Job.from_dict(item.job)
        left = max(SMALLEST_BUDGET_S, job.budget_s - item.worked_s)
        host = job.host_memory_bytes
        if host is None and self._shares > 1:
            host = host_limit().bytes // self._shares
        return replace(job, budget_s=left, device=item.device or job.device, host_memory_bytes=host)

    def _known(self, study: str) -> None:
        self._queue.update(self._entry_id, study=study)

    def _check(self) -> None:
        self._queue.update(self._entry_id, worked_s=self._worked_s())
        item = self._heed()
        if item.wanted is not Wish.PAUSE:
            return
        self._queue.update(self._entry_id, state=State.PAUSED, reason="paused by a person")
        with self._clock.waiting():
            while self._heed().wanted is Wish.PAUSE:
                time.sleep(POLL_S)
        self._queue.update(self._entry_id, state=State.RUNNING, reason="")

    def _heed(self) -> Item:
        item = self._queue.item(self._entry_id)
        if self._draining or item.wanted in {Wish.STOP, Wish.CANCEL}:
            raise StopSearch
        return item

    def _worked_s(self) -> float:
        return self._before.worked_s + self._clock() - self._started

    def _interrupted(self) -> tuple[State, str]:
        wanted = self._queue.item(self._entry_id).wanted
        if wanted is Wish.CANCEL:
            return State.CANCELLED, "cancelled by a person"
        if wanted is Wish.STOP:
            return State.STOPPED, "stopped by a person; what was measured is kept"
        return State.QUEUED, "interrupted; it goes on with the next start"

    def _finish(self, answer: dict[str, Any]) -> None:
        if answer["interrupted"]:
            state, reason = self._interrupted()
        else:
            state, reason = State.DONE, "" if answer["chosen"] else str(answer.get("advice") or "nothing fits")
        self._end(state, reason, answer)
        if state is State.DONE and answer["chosen"] and self._before.on_done:
            self._run_on_done(self._before.on_done)

    def _end(self, state: State, reason: str, answer: dict[str, Any] | None = None) -> None:
        self._queue.update(self._entry_id, worked_s=self._worked_s())
        self._queue.finish(self._entry_id, state, reason, answer)
        sys.stderr.write(f"search {self._entry_id}: {state}. {reason}\n")

    def _run_on_done(self, command: str) -> None:
        log = places.open_log(places.done_log(self._path, self._entry_id))
        done = subprocess.run(command, shell=True, stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=False)  # noqa: S602 - the person's own command line
        sys.stderr.write(f"search {self._entry_id}: the command for its end exited with {done.returncode}\n")


def _enter(folder: str) -> None:
    try:
        os.chdir(folder or ".")
    except OSError as error:
        message = f"The folder {folder} that the search was asked for in cannot be entered: {error.strerror}."
        raise UsageError(message, "Put it back, or submit the search again from where its files are.") from error


def main() -> None:
    """Run the entry that the command line names."""
    database, entry_id, shares = sys.argv[1:]
    Worker(Path(database), int(entry_id), int(shares)).run()


if __name__ == "__main__":
    main()
