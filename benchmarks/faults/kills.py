"""SIGKILL of a search: at every system call on its database, at random moments, and of its whole PID namespace."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from autobatch.store.recovery import recover
from benchmarks.faults import Line, scaled
from benchmarks.faults.strace import calls, run_injected
from benchmarks.faults.survey import Ack, Tally, orphans, parse, survey
from benchmarks.faults.worker import STUDY, work

RANDOM_KILLS = 1000
NAMESPACES = 200
LIFE_S = 0.15
"""A worker's life is cut at a moment drawn evenly from this, counted from its first word."""
PROBE_S = 0.03
EARLY_SHARE = 0.2
"""Of the workers, counted from their start: they die while opening the database."""
FRESH_EVERY = 50
_MANY = 1_000_000
_SYSCALLS = (
    "pwrite64",
    "fdatasync",
    "fsync",
    "ftruncate",
    "openat",
    "unlink",
    "mkdir",
    "flock",
    "fcntl",
    "fchown",
    "mmap",
)


def run(folder: Path, scale: float) -> Iterator[Line]:
    """Yield a line for each way of killing."""
    yield at_every_syscall(folder / "syscalls", scale)
    yield at_random(folder / "random", scaled(RANDOM_KILLS, scale))
    yield whole_namespaces(folder / "namespaces", scaled(NAMESPACES, scale))


def at_every_syscall(folder: Path, scale: float) -> Line:
    """Kill a worker on entering each system call that it makes on the database and its side files."""
    tally = Tally("SIGKILL at each system call on the database")
    generator = random.Random(0)
    for syscall, count in calls(folder, _SYSCALLS).items():
        every = range(1, count + 1)
        for number in sorted(generator.sample(every, scaled(count, scale))):
            done = run_injected(folder, f"{syscall}:signal=KILL:when={number}")
            problem, _ = survey(done.database, done.acks)
            if done.returncode == 0:
                problem = problem or f"{syscall} {number} was not reached"
            tally.add(problem, syscall)
    return tally.line()


def at_random(folder: Path, count: int, seed: int = 0, probe_s: float = PROBE_S) -> Line:
    """Kill workers that run real process trees and tell Optuna, each at a random moment, again and again."""
    folder.mkdir(parents=True)
    tally = Tally("SIGKILL of the search at a random moment")
    generator = random.Random(seed)
    for number in range(count):
        database = folder / f"{number // FRESH_EVERY}.db"
        pid, acks = _live_and_die(
            database, generator.uniform(0, LIFE_S), probe_s, early=generator.random() < EARLY_SHARE
        )
        problem, killed = survey(database, acks)
        problem = problem or _unsettled(database)
        if left := orphans(pid):
            problem = problem or f"orphans: {left}"
        tally.add(problem, "in flight" if killed else "between probes")
    return tally.line()


def whole_namespaces(folder: Path, count: int, seed: int = 0) -> Line:
    """Kill a container in small, PID namespace and all, and say so at the next start, itself in a new namespace."""
    folder.mkdir(parents=True)
    tally = Tally("SIGKILL of the search's whole PID namespace")
    generator = random.Random(seed)
    for number in range(count):
        database = folder / f"{number // FRESH_EVERY}.db"
        acks = _live_in_namespace(database, generator.uniform(0, LIFE_S))
        problem, killed = survey(database, acks)
        causes = {(probe.verdict.evidence["cause"] if probe.verdict else "") for probe in killed}
        if causes - {"the search's container ended"}:
            problem = problem or f"attributed to {causes}"
        tally.add(problem, "in flight" if killed else "between probes")
    return tally.line()


def _live_and_die(database: Path, life_s: float, probe_s: float, *, early: bool) -> tuple[int, list[Ack]]:
    """Fork a worker, kill it, and return its pid and what it acknowledged."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _be_search(database, writer, probe_s)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        first = [] if early else [stream.readline()]
        time.sleep(life_s)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return pid, parse([*first, *stream])


def _be_search(database: Path, out: int, probe_s: float) -> None:
    try:
        import optuna

        from autobatch import attributes
        from autobatch.store import open_storage

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage = open_storage(database)
        study = optuna.create_study(storage=storage, study_name=STUDY, direction="maximize", load_if_exists=True)
        study.set_user_attr(attributes.WORKLOAD, "{}")  # ours: another program's trials are left alone
        work(database, out, _MANY, study, processes=True, probe_s=probe_s)
    finally:
        os._exit(1)


def _unsettled(database: Path) -> str | None:
    """Recover Optuna's part; say what is left running without a verdict to be told."""
    from optuna.trial import TrialState

    from autobatch.store import open_storage
    from autobatch.store.ledger import Ledger

    storage = open_storage(database)
    with Ledger.open(database) as ledger:
        untold = {probe.trial_number for probe in recover(ledger, storage).untold}
    running = set()
    for study in storage.get_all_studies():
        trials = storage.get_all_trials(study._study_id, deepcopy=False, states=(TrialState.RUNNING,))  # noqa: SLF001 - Optuna has no public way from a study to its id
        running = {trial.number for trial in trials}
        for trial in trials:
            storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [1.0])  # noqa: SLF001 - as above
    storage.engine.dispose()
    return None if running == untold else f"running {running}, untold {untold}"


def _live_in_namespace(database: Path, life_s: float) -> list[Ack]:
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-m"]
    command += ["benchmarks.faults.worker", str(database), "--probes", str(_MANY), "--processes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(life_s)
        process.kill()
        return parse([first, *process.stdout])
