"""A search in small, to be killed: real ledger, real processes, and a line on stdout for everything acknowledged.

    python -m benchmarks.faults.worker DATABASE [--probes N] [--processes]

Each line is JSON: what was done, and to which probe. It exits with 4 where the database refused, saying why on stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from autobatch.errors import DatabaseError
from autobatch.isolation import proc
from autobatch.isolation.parent import MARK
from autobatch.request import Journal
from autobatch.settings import Configuration
from autobatch.store.ledger import Ledger
from autobatch.store.recovery import close_dead
from autobatch.verdict import Kind, Measurements, Verdict

if TYPE_CHECKING:
    import optuna

STUDY = "faults"
ORPHAN = "sleep 600 & setsid sleep 600 & wait"
"""A probe with a worker and an escapee."""


def work(
    database: Path,
    out: int,
    probes: int,
    study: optuna.Study | None = None,
    *,
    processes: bool = False,
    probe_s: float = 0.0,
) -> None:
    """Probe configurations in order, always the first that is neither done nor quarantined.

    Args:
        database: the file.
        out: descriptor on which to acknowledge.
        probes: how many to run.
        study: an Optuna study in the same file, to be told as well.
        processes: whether each probe is a real process tree.
        probe_s: how long a probe takes.

    """

    def acknowledge(did: str, probe: int, **more: object) -> None:
        os.write(out, json.dumps({"did": did, "probe": probe, **more}).encode() + b"\n")

    with Ledger.open(database) as ledger:
        close_dead(ledger)
        for _ in range(probes):
            configuration = next(_candidates(ledger))
            trial = None if study is None else study.ask()
            number = 0 if trial is None else trial.number
            entry = ledger.begin(STUDY, number, configuration, "probe", "search")
            acknowledge("begun", entry.probe_id, digest=configuration.digest, trial=number)
            with probe_process(entry) if processes else _no_process(entry):
                acknowledge("started", entry.probe_id)
                entry.intent("over the limit")
                acknowledge("intent", entry.probe_id)
                time.sleep(probe_s)
            verdict = Verdict(Kind.OK, Measurements(samples_per_s=1.0))
            entry.finish(verdict)
            acknowledge("finished", entry.probe_id)
            if study is not None and trial is not None:
                trial.set_user_attr("verdict", "ok")
                study.tell(trial, 1.0)
                acknowledge("told", entry.probe_id, trial=number)


def _candidates(ledger: Ledger) -> Iterator[Configuration]:
    with ledger.database.reading() as connection:
        done = {row[0] for row in connection.execute("SELECT digest FROM ab_probes WHERE kind = ?", (str(Kind.OK),))}
    avoided = {configuration.digest for configuration in ledger.quarantined(STUDY)} | done
    micro_batch = 0
    while True:
        micro_batch += 1
        configuration = Configuration(per_device_train_batch_size=micro_batch)
        if configuration.digest not in avoided:
            yield configuration


@contextlib.contextmanager
def probe_process(journal: Journal) -> Iterator[None]:
    """Run a probe's process tree, and write it down: a process, its worker, and an escapee."""
    environment = {**os.environ, MARK: f"{os.getpid()}-faults"}
    with subprocess.Popen(["sh", "-c", ORPHAN], env=environment, start_new_session=True) as process:
        now = proc.stat(process.pid)
        ticks = now.start_ticks if now else 0
        journal.started({"pid": process.pid, "start_time_ticks": ticks, "boot_id": proc.boot_id()})
        journal.sample({"host_bytes": 1 << 30, "device_bytes": None, "phase": "typical"})
        yield
        proc.kill([*proc.descendants(process.pid), process.pid])


@contextlib.contextmanager
def _no_process(journal: Journal) -> Iterator[None]:
    journal.started({"pid": os.getpid()})
    yield


def main() -> int:
    """Work on the database named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database", type=Path)
    parser.add_argument("--probes", type=int, default=3)
    parser.add_argument("--processes", action="store_true")
    options = parser.parse_args()
    try:
        work(options.database, sys.stdout.fileno(), options.probes, processes=options.processes)
    except DatabaseError as error:
        os.write(2, f"{error.what}\n{error.do}\n".encode())
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
