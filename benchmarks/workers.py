"""A slow data set: the DataLoader workers chosen beside the least that keep the device busy, by measuring them all.

    python -m benchmarks.workers [--device cpu|cuda:0] [--workers 0,1,2,3] [--rounds 2] [--seconds S] [--json FILE]

The samples are modules of Python's standard library, tokenised whole and then cut to a few tokens, so that making a
micro-batch takes long and training on it does not. `autobatch search` chooses the workers; then every number of them
is measured, all of them in turn, `--rounds` times, and their mean counts; `autobatch report` must say what one costs in
memory. What the search measured is kept beside. On the CPU the workers take cores from training.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autobatch.isolation.runner import ProbeRunner
from autobatch.machine.gpus import open_device
from autobatch.request import Limits, NullJournal, Plan
from autobatch.search.loader import fewest
from autobatch.settings import Configuration, Scalar
from autobatch.units import format_bytes
from autobatch.workload import data, presets
from autobatch.workload.spec import Workload
from benchmarks import processes
from benchmarks.common import Deadline, Record, parser

BATCH = 8
SHORTEST, LONGEST = 40_000, 400_000
"""Characters of a sample."""
MODULES = 64
WORKERS = "dataloader_num_workers"
SEARCH_SHARE = 0.5
"""Of the time, for the search."""
OVERTIME_S, REPORT_S, PROBE_S = 10.0, 30.0, 12.0
"""A search is interrupted so long after its budget; what a report takes at most; with less no probe is begun."""
FIXED: dict[str, Scalar] = {
    "precision": "fp32",
    "gradient_checkpointing": False,
    "per_device_train_batch_size": BATCH,
    "per_device_eval_batch_size": 1,
}


def write_data(path: Path) -> None:
    """Write modules of the standard library with their first lines as summaries, as JSON Lines."""
    found = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    texts = [text for file in found if SHORTEST <= len(text := file.read_text(errors="replace")) <= LONGEST]
    rows = [{"text": texts[i % len(texts)], "summary": texts[i % len(texts)][:200]} for i in range(MODULES)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@dataclass(frozen=True)
class Searched:
    """What a search came to: its answer, its report and its trials; empty where there is none."""

    answer: dict[str, Any] = field(default_factory=dict)
    report: str = ""
    trials: list[dict[str, Any]] = field(default_factory=list)


def search(path: Path, folder: Path, options: argparse.Namespace, budget_s: float) -> Searched:
    """Search on the command line."""
    database = str(folder / "trials.db")
    asked = ["--model", "demo", "--data", str(path), "--effective-batch", str(BATCH), "--budget", f"{budget_s:.0f}s"]
    fixed = [word for name, value in FIXED.items() for word in ("--fix", f"{name}={value}")]
    where = ["--device", options.device, "--db", database, "--quiet", "--json"]
    searched = ["--search", f"{WORKERS}={options.workers}"]
    words = ["-m", "autobatch", "search", *asked, *fixed, *searched, *where]
    done = processes.run(words, budget_s + OVERTIME_S)
    sys.stderr.write(done.errors[-2000:])
    if not done.output.strip():
        return Searched()
    report = processes.run(["-m", "autobatch", "report", "--db", database], REPORT_S).output
    trials = processes.run(["-m", "autobatch", "trials", "--json", "--limit", "0", "--db", database], REPORT_S).output
    return Searched(json.loads(done.output), report, json.loads(trials or "[]"))


def workload_of(path: Path) -> Workload:
    """Return the workload of the measurements."""
    workload = replace(presets.load("demo"), effective_batch=BATCH)
    found = data.describe(path, workload)
    return replace(workload, data=found.data, lengths=found.lengths, train_samples=found.data.samples or 1)


def measure(path: Path, counts: list[int], device: str, deadline: Deadline) -> Iterator[dict[str, Any]]:
    """Measure the numbers of workers in turn, as long as there is time, from one preloaded process."""
    gpu = open_device(int(device.partition(":")[2] or 0)) if device != "cpu" else None
    with (
        tempfile.TemporaryDirectory() as folder,
        ProbeRunner(workload_of(path), device=device, limits=Limits(), work_dir=folder, gpu=gpu) as runner,
    ):
        for count in counts:
            if not deadline.allows(PROBE_S):
                return
            verdict = runner.run(Configuration({**FIXED, WORKERS: count}), Plan(), NullJournal())
            found = verdict.measurements
            yield {
                "workers": count,
                "verdict": str(verdict.kind),
                "loader_wait_fraction": found.loader_wait_fraction,
                "samples_per_s": found.samples_per_s,
                "loader_batch_s": found.loader_batch_s,
                "micro_step_s": found.micro_step_s,
                "loader_worker_bytes": found.loader_worker_bytes,
                "host_peak_bytes": found.host_peak_bytes,
            }


def least(rows: list[dict[str, Any]]) -> int | None:
    """Return the least workers that keep the device busy, or that more would not help; None where none ran."""
    waits: dict[int, list[float]] = {}
    for row in rows:
        if row["verdict"] == "ok":
            waits.setdefault(row["workers"], []).append(row["loader_wait_fraction"] or 0.0)
    return fewest({workers: statistics.fmean(seen) for workers, seen in waits.items()}) if waits else None


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    wait, speed, each = row["loader_wait_fraction"], row["samples_per_s"], row["loader_worker_bytes"]
    figures = f"{100 * wait:8.1f} {speed:10.2f}" if wait is not None and speed else f"{row['verdict']:>19}"
    return f"{row['workers']:>7} {figures} {format_bytes(each) if each else '-':>12}"


def judged(searched: Searched, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what was chosen beside the least by measurement, and what the report says; `ok` where they agree."""
    chosen = searched.answer["chosen"]["configuration"][WORKERS] if searched.answer.get("chosen") else None
    said = [text.strip() for text in searched.report.splitlines() if "of host memory" in text]
    good = chosen is not None and chosen == least(rows) and (bool(said) or chosen == 0)
    return {"chosen": chosen, "least": least(rows), "said": said, "ok": good}


def command() -> argparse.ArgumentParser:
    """Return the command line."""
    made = parser(__doc__, seconds=300.0)
    made.add_argument("--workers", default="0,1,2,3")
    made.add_argument("--rounds", type=int, default=2, help="of measuring every number")
    return made


def main() -> int:
    """Print every number of workers beside the choice; exit with 1 where it is not the least that keeps busy."""
    options = command().parse_args()
    deadline, record = Deadline(options.seconds), Record(options.json, "benchmarks.workers")
    counts, rows = [int(count) for count in options.workers.split(",")] * options.rounds, []
    with tempfile.TemporaryDirectory(prefix="workers-") as name:
        path = Path(name, "slow.jsonl")
        write_data(path)
        searched = search(path, Path(name), options, SEARCH_SHARE * options.seconds)
        for row in measure(path, counts, options.device, deadline):
            rows.append(row)
            record.keep(device=options.device, **judged(searched, rows), rows=rows, trials=searched.trials)
    found = judged(searched, rows)
    print(f"{'workers':>7} {'wait %':>8} {'samples/s':>10} {'one takes':>12}", *map(line, rows), sep="\n")
    print(f"chosen: {found['chosen']}; least that keeps the device busy, measured again: {found['least']}")
    print(f"the report says: {found['said'][0] if found['said'] else 'nothing of the memory of a worker'}")
    return 0 if found["ok"] and len(rows) == len(counts) else 1


if __name__ == "__main__":
    sys.exit(main())
