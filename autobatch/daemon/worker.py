"""One search of the queue, in a process of its own that outlives its daemon: `python -m autobatch.daemon.worker`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from autobatch.daemon import places
from autobatch.daemon.on_done import Interrupts, run_on_done
from autobatch.daemon.words import say
from autobatch.errors import AutobatchError, DatabaseError, MachineError, UsageError
from autobatch.job.gate import WorkClock
from autobatch.job.prepare import SMALLEST_BUDGET_S
from autobatch.job.request import Job
from autobatch.machine.memory import host_limit
from autobatch.review.terminal import PatientStream
from autobatch.search.seams import StopSearch
from autobatch.store.connection import resolved
from autobatch.store.database import Database
from autobatch.store.entry import State, Wish
from autobatch.store.ledger import Ledger
from autobatch.store.owner import Process
from autobatch.store.queue import Queue

if TYPE_CHECKING:
    from autobatch.daemon.witness import Witness


class Worker:
    """Runs one entry of the queue to its end, or to where somebody wants it to end.

    Args:
        database: with the queue in it.
        entry_id: what to run.
        start: number of the start that this process is; a later one takes the entry from it.
        shares: searches that may run side by side on this host, which share its memory.

    Raises:
        DatabaseError: it cannot be used.
        UsageError: there is no such entry.

    """

    def __init__(self, database: Path, entry_id: int, start: int, shares: int) -> None:
        self._path = resolved(database)
        self._start = start
        self._shares = shares
        self._database = Database(database)
        self._queue = Queue(self._database)
        self._clock = WorkClock()
        self._started = self._clock()
        self._draining = False
        self._interrupts = Interrupts()
        self._item = self._queue.item(entry_id)
        self._witness: Witness

    def run(self) -> None:
        """Run the search, write how it ended, and run the command for that.

        Raises:
            DatabaseError: how it ended cannot be written; the daemon finds out by itself.

        """
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._drain)
        # a daemon that a shell put into the background has left us deaf to it
        signal.signal(signal.SIGINT, signal.default_int_handler)
        registered = self._queue.register(self._item.entry_id, self._start, Process.current())
        if registered is None:
            say(f"{self._name}: is no longer wanted of this process")
            return
        self._item = registered
        try:
            answer = self._search()
            command = self._finish(answer)
        except (MachineError, DatabaseError) as error:
            self._put_back(f"{error.what} {error.do}", setback=True)
        except AutobatchError as error:
            self._end(State.FAILED, f"{error.what} {error.do}")
        except KeyboardInterrupt:
            self._put_back("interrupted; it goes on with the next start")
        else:
            # whatever happens from here on, the entry is never put back: the command would run twice
            if command:
                self._end(State.DONE, self._on_done(command, answer))

    @property
    def _name(self) -> str:
        return f"search {self._item.entry_id}"

    def _drain(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's
        """End after the probe at work; when asked again, now."""
        if self._draining:
            signal.raise_signal(signal.SIGINT)
        self._draining = True

    def _search(self) -> dict[str, Any]:
        from autobatch.daemon.witness import Witness
        from autobatch.job.run import run

        _enter(str(self._item.job.get("folder", "")))
        self._witness = Witness(PatientStream(sys.stderr))
        answer = run(
            self._job(),
            self._witness,
            check=self._check,
            clock=self._clock,
            known=lambda study: self._change(study=study),
            waits=self._waits,
        )
        self._witness.check_machine()
        return answer

    def _job(self) -> Job:
        """Return the job with what a later start must not see otherwise: its share of memory and its study."""
        job = Job.from_dict(self._item.job)
        if job.host_memory_bytes is None and self._shares > 1:
            job = replace(job, host_memory_bytes=host_limit().bytes // self._shares)
            self._change(job=job.to_dict())
        left = max(SMALLEST_BUDGET_S, job.budget_s - self._item.worked_s)
        return replace(job, budget_s=left, device=self._item.device or job.device, study=self._item.study or job.study)

    def _check(self) -> None:
        """Heed what is wanted, before each probe and while waiting; a wish is told by ending the search here."""
        if self._draining or self._queue.item(self._item.entry_id).wanted is not Wish.RUN:
            raise StopSearch
        self._witness.check_machine()
        if not self._clock.is_waiting:
            progress: dict[str, object] = {"setbacks": 0} if self._witness.ended else {}
            self._change(worked_s=self._worked_s(), **progress)

    def _waits(self, reason: str) -> None:
        self._change(state=State.WAITING if reason else State.RUNNING, reason=reason)

    def _change(self, **values: object) -> None:
        """Write to our entry.

        Raises:
            StopSearch: it is no longer ours.

        """
        if not self._queue.change(self._item, **values):
            raise StopSearch
        if "setbacks" in values:
            self._item = replace(self._item, setbacks=0)

    def _worked_s(self) -> float:
        return self._item.worked_s + self._clock() - self._started

    def _finish(self, answer: dict[str, Any]) -> str | None:
        """Write how the search ended; return the command that is to be run now."""
        self._change(worked_s=self._worked_s())
        if answer["interrupted"]:
            self._put_back("interrupted; it goes on with the next start", answer)
        elif answer["chosen"] and self._item.on_done:
            signal.signal(signal.SIGINT, self._interrupts.note)
            self._change(state=State.FINISHING, answer=answer, reason="the command for its end runs")
            return self._item.on_done
        else:
            self._end(State.DONE, "" if answer["chosen"] else self._why_nothing(answer), answer)
        return None

    def _why_nothing(self, answer: Mapping[str, Any]) -> str:
        study = str(answer["study"])
        if held := len(Ledger(self._database).quarantined(study)):
            again = f"`autobatch release --study {study}` lets them be tried again"
            return f"no answer: {held} configuration(s) ran when a process died, and are held back; {again}"
        return str(answer.get("advice") or "nothing fits")

    def _on_done(self, command: str, answer: Mapping[str, Any]) -> str:
        log = places.done_log(self._path, self._item.entry_id)
        facts = {"AUTOBATCH_STUDY": str(answer["study"]), "AUTOBATCH_DB": str(self._path)}
        say(f"{self._name}: runs the command for its end, output in {log}")
        return run_on_done(command, log, facts, self._interrupts)

    def _end(self, state: State, reason: str, answer: Mapping[str, Any] | None = None) -> None:
        self._queue.end(self._item, state, reason, answer)
        say(f"{self._name}: {state}. {reason}".rstrip())

    def _put_back(self, reason: str, answer: Mapping[str, Any] | None = None, *, setback: bool = False) -> None:
        state = self._queue.put_back(self._item, reason, answer, setback=setback)
        why = reason if state is State.QUEUED else ""
        say(f"{self._name}: {state or 'given to another process'}. {why}".rstrip())


def _enter(folder: str) -> None:
    try:
        os.chdir(folder or ".")
    except OSError as error:
        message = f"The folder {folder} that the search was asked for in cannot be entered: {error.strerror}."
        raise UsageError(message, "Put it back, or submit the search again from where its files are.") from error


def main() -> None:
    """Run the entry that the command line names: database, entry, start, shares."""
    try:
        Worker(Path(sys.argv[1]), *map(int, sys.argv[2:])).run()
    except AutobatchError as error:
        say(f"{error.what} {error.do}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
