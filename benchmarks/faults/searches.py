"""SIGKILL of the real search at random moments, and the same search again: it goes on, and never repeats a killer."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autobatch.errors import NothingFeasibleError
from autobatch.request import Journal, Limits, Plan
from autobatch.settings import CHECKPOINTING, PRECISION, Configuration, SearchSpace
from autobatch.store import read, rows
from autobatch.store.rows import Probe
from autobatch.verdict import Kind, Measurements, Verdict
from autobatch.workload import presets
from benchmarks.faults import Line, scaled
from benchmarks.faults.survey import Tally, orphans, survey
from benchmarks.faults.worker import probe_process

KILLS = 300
ENOUGH = 8
"""Kills of one study; then a new one is begun."""
LIFE_S = 1.2
STUDY = "faults"
_GIB = 2**30
_CARD = 24 * _GIB


def run(folder: Path, scale: float) -> Iterator[Line]:
    """Yield one line."""
    yield killed_searches(folder / "searches", scaled(KILLS, scale))


def killed_searches(folder: Path, kills: int, seed: int = 0) -> Line:
    """Kill searches until it was done so often; each that ends by itself begins a new study."""
    folder.mkdir(parents=True)
    tally = Tally("SIGKILL of the real search, engine and all")
    generator = random.Random(seed)
    study = of_study = 0
    while tally.injected < kills:
        database = folder / f"{study}.db"
        pid, status = _live(database, generator.uniform(0.1, LIFE_S))
        of_study += 1
        if os.WIFSIGNALED(status):
            problem, killed = survey(database, [])
            problem = problem or _repeats(database) or (f"orphans {left}" if (left := orphans(pid)) else None)
            tally.add(problem, "in flight" if killed else "between probes")
        elif os.waitstatus_to_exitcode(status):
            tally.add(f"a search that was gone on with failed: exit {os.waitstatus_to_exitcode(status)}")
        if not os.WIFSIGNALED(status) or of_study == ENOUGH:
            study, of_study = study + 1, 0
    tally.notes["studies"] = study
    return tally.line()


@dataclass
class Toy:
    """A `Runner` of real processes and made-up figures: memory is affine in the micro-batch, and so is time."""

    probe_s: float = 0.1

    def run(self, configuration: Configuration, plan: Plan, journal: Journal) -> Verdict:  # noqa: ARG002 - the seam
        """Run a process tree for a moment, and say what the formula says."""
        with probe_process(journal):
            time.sleep(self.probe_s)
        half = 1.0 if configuration[PRECISION] == "fp32" else 0.6
        kept = 0.4 if configuration[CHECKPOINTING] else 1.0
        used = round((3 + 0.9 * half * kept * configuration.micro_batch) * _GIB)
        if used > _CARD:
            return Verdict(Kind.CUDA_OOM_TRAIN, duration_s=self.probe_s)
        micro_step_s = half * (1.3 if kept < 1 else 1.0) * (0.02 + 0.01 * configuration.micro_batch)
        step_s = configuration.accumulation * micro_step_s + 0.01
        figures = Measurements(
            micro_step_s=micro_step_s,
            optimizer_step_s=0.01,
            step_s=step_s,
            samples_per_s=configuration.accumulation * configuration.micro_batch / step_s,
            device_peak_used_bytes=used,
        )
        return Verdict(Kind.OK, figures, duration_s=self.probe_s)


def _live(database: Path, life_s: float) -> tuple[int, int]:
    """Fork a search, kill it unless it ends before, and return its pid and wait status."""
    pid = os.fork()
    if pid == 0:
        _be_search(database)
    deadline = time.monotonic() + life_s
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return pid, status
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    return pid, os.waitpid(pid, 0)[1]


def _be_search(database: Path) -> None:
    code = 1
    try:
        _search(database)
        code = 0
    except NothingFeasibleError:
        code = 0
    except BaseException:  # noqa: BLE001 - a forked child must not return into its parent's code
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(code)


def _search(database: Path) -> None:
    """Do what `autobatch search` does, with toy probes."""
    from autobatch.search.engine import Search
    from autobatch.store import open_storage
    from autobatch.store.ledger import Ledger
    from autobatch.store.recovery import recover

    space = SearchSpace({}, {PRECISION: ("fp32", "bf16"), CHECKPOINTING: (False, True)}, effective_batch=64)
    with Ledger.open(database) as ledger:
        storage = open_storage(database)
        untold = recover(ledger, storage).untold
        Search(
            workload=presets.load("demo"),
            space=space,
            runner=Toy(),
            storage=storage,
            limits=Limits(device_bytes=_CARD),
            study_name=STUDY,
            ledger=ledger,
            budget_s=60.0,
            untold=untold,
        ).run()


def _repeats(database: Path) -> str | None:
    """Return a probe of what had killed a search before, or of a larger micro-batch of the same arm."""
    with read.opened(database) as connection:
        numbers = [number for (number,) in connection.execute("SELECT DISTINCT trial_number FROM ab_probes")]
        probes = [probe for number in numbers for probe in rows.of_trial(connection, STUDY, number)]
    killers = [probe for probe in probes if probe.kind == Kind.KILLED_IN_FLIGHT]
    for killer in killers:
        for probe in probes:
            if probe.probe_id > killer.probe_id and _needs_as_much(probe, killer):
                return f"probe {probe.probe_id} repeats killer {killer.probe_id}"
    return None


def _needs_as_much(probe: Probe, killer: Probe) -> bool:
    tried, bad = probe.configuration, killer.configuration
    return tried.arm == bad.arm and tried.micro_batch >= bad.micro_batch
