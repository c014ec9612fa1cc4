"""Two answers side by side: their configurations measured alternately, in fresh processes, on a card to themselves."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from statistics import median, stdev
from tempfile import TemporaryDirectory
from typing import Any

from autobatch.intervals import student_975
from autobatch.isolation.runner import ProbeRunner
from autobatch.job.prepare import prepare, read
from autobatch.job.request import Job
from autobatch.machine.gpus import open_device
from autobatch.probe.timing import FEWEST_TIMED
from autobatch.request import NullJournal, Plan, Purpose, Runner
from autobatch.settings import Configuration
from autobatch.store.lock import GpuLock
from autobatch.verdict import Kind
from benchmarks.common import Deadline

TOLERANCE = 0.02
"""Within this share of the best a search prefers less memory: two answers that differ by less are equally good."""
PROBE_S = 60.0
ROUND_S = 30.0
"""Of both probes, as long as none was timed; the preloaded process's start is in the first."""


def compare(
    job: Job,
    answers: Mapping[str, Mapping[str, Any]],
    rounds: int,
    folder: Path,
    deadline: Deadline,
    *,
    purpose: Purpose = "confirm",
) -> dict[str, Any]:
    """Compare the chosen configurations of two searches; the same configuration is not measured again.

    Args:
        job: either search, as it was asked for.
        answers: `chosen` of both answers by name, the undisturbed first.
        rounds: measurements of each.
        folder: for the probes.
        deadline: no round is begun that would end after it.
        purpose: of the probes.

    Raises:
        AutobatchError: the device is not there, or a search is at work on it.

    """
    configurations = {name: Configuration(chosen["configuration"]) for name, chosen in answers.items()}
    if len(set(configurations.values())) == 1:
        return {"same_configuration": True, "rel_difference": 0.0, "tolerance": TOLERANCE, "within": True}
    asked = read(job)
    prepared = prepare(job, asked)
    card = open_device(prepared.machine.gpu.uuid) if prepared.machine.gpu else None
    with (
        GpuLock(asked.identity) as lock,
        ProbeRunner(
            prepared.workload,
            device=prepared.device,
            limits=prepared.limits,
            work_dir=folder,
            gpu=card,
            keep_open=(lock.fileno(),),
        ) as runner,
    ):
        return judged(alternately(runner, configurations, rounds, deadline, purpose))


def alternately(
    runner: Runner,
    configurations: Mapping[str, Configuration],
    rounds: int,
    deadline: Deadline,
    purpose: Purpose = "confirm",
) -> dict[str, list[dict[str, Any]]]:
    """Measure each configuration in turn, in fresh processes, each round in the other order: A B, B A, A B."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in configurations}
    took_s = ROUND_S
    for number in range(rounds):
        if not deadline.allows(took_s):
            break
        left_s = deadline.left_s
        for name in list(configurations)[:: -1 if number % 2 else 1]:
            verdict = runner.run(configurations[name], Plan(purpose, max_seconds=PROBE_S), NullJournal())
            found[name].append({"kind": str(verdict.kind), "samples_per_s": verdict.measurements.samples_per_s})
        took_s = left_s - deadline.left_s
    return found


def judged(measured: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the relative difference of the second's samples/s to the first's: the median over the rounds."""
    rounds = zip(*measured.values(), strict=True)
    ran = [(one["samples_per_s"], other["samples_per_s"]) for one, other in rounds if _ran(one) and _ran(other)]
    differences = [second / first - 1 for first, second in ran]
    difference = median(differences) if ran else None
    return {
        "same_configuration": False,
        "measured": dict(measured),
        "rel_difference": difference,
        "half_width": _half_width(differences),
        "tolerance": TOLERANCE,
        "within": difference is not None and abs(difference) <= TOLERANCE,
    }


def _half_width(differences: list[float]) -> float | None:
    """Return that of the mean's 95 % interval; None from too few."""
    count = len(differences)
    return student_975(count - 1) * stdev(differences) / sqrt(count) if count >= FEWEST_TIMED else None


def _ran(probe: Mapping[str, Any]) -> bool:
    return probe["kind"] == Kind.OK and bool(probe["samples_per_s"])


def main() -> int:
    """Compare two answers by short probes, for `benchmarks.grid`: what is asked is read from a JSON file."""
    asked = json.loads(Path(sys.argv[1]).read_text())
    deadline = Deadline(asked["seconds"])
    with TemporaryDirectory() as folder:
        job, answers, rounds = Job.from_dict(asked["job"]), asked["answers"], asked["rounds"]
        found = compare(job, answers, rounds, Path(folder), deadline, purpose="probe")
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
