"""What a probe takes, all in, by phase: a model's default arms at one micro-batch, as a search runs them.

    python -m benchmarks.probe_time [--model llama-3.2-korean-3b] [--micro-batch 4] [--seconds S] [--json FILE]

`whole` is from the request to an empty process tree. The phases up to the end of the first optimizer step are the
probe's own; `rest` is what follows them: the second step, the timed steps, the longest micro-batch again, and the end.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from autobatch.isolation.runner import ProbeRunner
from autobatch.job.space import Wishes, build_space
from autobatch.machine import fingerprint, processors
from autobatch.machine.gpus import open_device
from autobatch.request import Limits, NullJournal, Plan
from autobatch.search.first_stage import initial_settings
from autobatch.settings import ARM_KEYS, CHECKPOINTING, PRECISION, Configuration
from autobatch.verdict import Verdict
from autobatch.workload import presets
from autobatch.workload.spec import Workload
from benchmarks.common import Deadline, Record, parser

WHOLE, REST = "whole", "rest"


def arms(workload: Workload, device: str, micro_batch: int) -> list[Configuration]:
    """Return the arms that a search tries by default, as its first stage does."""
    space = build_space(workload, fingerprint.precisions(device), processors.usable(), Wishes({}, {}))
    held = initial_settings(space)
    return [space.at({**{key: arm[key] for key in ARM_KEYS}, **held}, micro_batch) for arm in space.arms()]


def measure(workload: Workload, options: argparse.Namespace, deadline: Deadline) -> Iterator[dict[str, Any]]:
    """Probe every arm for which there is time, and yield its figures."""
    gpu = open_device(int(options.device.partition(":")[2] or 0)) if options.device != "cpu" else None
    with (
        tempfile.TemporaryDirectory(prefix="probe-time-") as folder,
        ProbeRunner(workload, device=options.device, limits=Limits(), work_dir=folder, gpu=gpu) as runner,
    ):
        runner.parent.ensure()  # a search forks all its probes from one process, too
        longest_s = 0.0
        for arm in arms(workload, options.device, options.micro_batch):
            if not deadline.allows(longest_s):
                return
            verdict = runner.run(arm, Plan(), NullJournal())
            longest_s = max(longest_s, verdict.duration_s)
            yield {"import_s": runner.parent.facts["import_s"], **told(arm, verdict)}


def told(arm: Configuration, verdict: Verdict) -> dict[str, Any]:
    """Return what a probe came to, and the seconds of its phases."""
    phases = dict(verdict.measurements.startup_s)
    rest = verdict.duration_s - sum(phases.values())
    return {
        "precision": arm[PRECISION],
        "gradient_checkpointing": arm[CHECKPOINTING],
        "verdict": str(verdict.kind),
        "steps_timed": verdict.measurements.steps_timed,
        "micro_step_s": verdict.measurements.micro_step_s,
        "seconds": {WHOLE: verdict.duration_s, **phases, REST: rest},
    }


def medians(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the median seconds of every phase, over the probes that ran to their end."""
    found = [row["seconds"] for row in rows if row["verdict"] == "ok"]
    names = dict.fromkeys(name for one in found for name in one)
    return {name: statistics.median(one.get(name, 0.0) for one in found) for name in names}


def line(name: str, verdict: str, seconds: dict[str, float], names: list[str]) -> str:
    """Return a row of the table."""
    return f"{name:22} {verdict:10}" + "".join(f"{seconds.get(phase, 0.0):>11.3f}" for phase in names)


def report(rows: list[dict[str, Any]]) -> str:
    """Return the table, the medians last."""
    names = list(dict.fromkeys(name for row in rows for name in row["seconds"]))
    head = f"{'arm':22} {'verdict':10}" + "".join(f"{name:>11}" for name in names)
    told_arms = [
        line(
            f"{row['precision']}{', checkpointing' * row['gradient_checkpointing']}",
            row["verdict"],
            row["seconds"],
            names,
        )
        for row in rows
    ]
    return "\n".join([head, *told_arms, line("median", "ok", medians(rows), names)])


def command() -> argparse.ArgumentParser:
    """Return the command line."""
    made = parser(__doc__, seconds=300.0)
    made.add_argument("--model", default="llama-3.2-korean-3b")
    made.add_argument("--micro-batch", type=int, default=4)
    return made


def main() -> int:
    """Probe every arm and print the table; exit with 1 where one was left out."""
    options = command().parse_args()
    workload, rows = presets.load(options.model), []
    deadline, record = Deadline(options.seconds), Record(options.json, "benchmarks.probe_time")
    for row in measure(workload, options, deadline):
        rows.append(row)
        record.keep(model=options.model, micro_batch=options.micro_batch, median_s=medians(rows), rows=rows)
    print(report(rows))
    return int(len(rows) < len(arms(workload, options.device, options.micro_batch)))


if __name__ == "__main__":
    sys.exit(main())
