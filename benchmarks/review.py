"""How soon `studies`, `trials`, `show` and `report` begin to answer on a database of 100,000 trials.

    python -m benchmarks.review [--trials N] [--runs N] [--json FILE]

Two databases are made: all trials in one study, and 100 trials in each of many studies. Each command runs in a fresh
process, its output read as it comes: `first_s` is when the first byte was there, `total_s` when it ended.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from autobatch import attributes
from autobatch.store import open_storage
from autobatch.units import GIB
from autobatch.verdict import HINTS, Kind, Measurements, Verdict
from autobatch.workload.spec import Model, Workload

LIMIT_S = 2.0
COMMANDS = (
    ("studies",),
    ("studies", "--json"),
    ("trials",),
    ("trials", "--failed"),
    ("trials", "--json"),
    ("trials", "--csv"),
    ("show", "0"),
    ("report",),
    ("report", "--markdown"),
    ("report", "--json"),
    ("report", "--html", "{folder}/report.html"),
)
CHOICES: dict[str, tuple[bool | int | str, ...]] = {
    "per_device_train_batch_size": (1, 2, 4, 8, 16, 32, 64, 128),
    "precision": ("bf16", "fp16", "tf32", "fp32"),
    "gradient_checkpointing": (False, True),
    "dataloader_num_workers": (0, 1, 2, 4, 8),
    "per_device_eval_batch_size": (8, 16, 32),
}
_EVERY_FAILS = 3
_START = datetime(2026, 1, 1)  # noqa: DTZ001 - Optuna keeps local time without a zone


@dataclass(frozen=True)
class Row:
    """One command on one database, over several runs."""

    database: str
    command: str
    first_s: list[float]
    total_s: list[float]
    output_bytes: int

    @property
    def worst_first_s(self) -> float:
        """The slowest run's wait for the first byte."""
        return max(self.first_s)


def fill(path: Path, studies: int, trials: int) -> None:
    """Make a database of `studies` studies of `trials` trials each, as a search leaves them."""
    open_storage(path).engine.dispose()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.executemany("INSERT INTO studies VALUES (?, ?)", ((s, f"study-{s}") for s in range(1, studies + 1)))
        directions = ((s, "MAXIMIZE", s, 0) for s in range(1, studies + 1))
        connection.executemany("INSERT INTO study_directions VALUES (?, ?, ?, ?)", directions)
        text = "INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (?, ?, ?)"
        connection.executemany(text, _study_attributes(studies))
        for table, columns, rows in _tables(studies, trials):
            marks = ", ".join("?" * len(columns.split(",")))
            connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)


def _study_attributes(studies: int) -> Iterator[tuple[int, str, str]]:
    workload = Workload(Model("llama-3.2-korean-3b", "", "causal"), method="lora", effective_batch=128)
    limits = {"device_bytes": 24 * GIB, "device_fraction": 0.85, "host_bytes": 60 * GIB, "host_fraction": 0.8}
    space = {"fixed": {"method": "lora"}, "searched": CHOICES, "effective_batch": 128, "devices": 1}
    facts = {attributes.WORKLOAD: workload.to_dict(), attributes.LIMITS: limits, attributes.SPACE: space}
    for study in range(1, studies + 1):
        for key, value in facts.items():
            yield study, key, json.dumps(json.dumps(value))


def _tables(studies: int, trials: int) -> Iterator[tuple[str, str, Iterator[tuple[object, ...]]]]:
    numbers = range(studies * trials)
    yield (
        "trials",
        "trial_id, number, study_id, state, datetime_start, datetime_complete",
        ((n + 1, n % trials, n // trials + 1, "COMPLETE", _time(n), _time(n, 8)) for n in numbers),
    )
    yield (
        "trial_values",
        "trial_id, objective, value, value_type",
        ((n + 1, 0, _verdict(n).measurements.samples_per_s or 0.0, "FINITE") for n in numbers),
    )
    kinds = {name: _distribution(choices) for name, choices in CHOICES.items()}
    yield (
        "trial_params",
        "trial_id, param_name, param_value, distribution_json",
        ((n + 1, name, float(_choice(n, name)), kinds[name]) for n in numbers for name in CHOICES),
    )
    yield (
        "trial_user_attributes",
        "trial_id, key, value_json",
        ((n + 1, key, json.dumps(value)) for n in numbers for key, value in _attributes(n).items()),
    )


def _time(number: int, later_s: int = 0) -> str:
    return f"{_START + timedelta(seconds=10 * number + later_s)}.000000"


def _distribution(choices: tuple[bool | int | str, ...]) -> str:
    return json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": choices}})


def _choice(number: int, name: str) -> int:
    names = list(CHOICES)
    earlier = math.prod(len(CHOICES[other]) for other in names[: names.index(name)])
    return number // earlier % len(CHOICES[name])


def _verdict(number: int) -> Verdict:
    if number % _EVERY_FAILS == 0:
        return Verdict(Kind.CUDA_OOM_TRAIN if number % 2 else Kind.WATCHDOG_MEMORY, duration_s=4.0)
    rate = 5.0 + number * 7919 % 1000 / 100
    peak = int((10 + number % 10) * GIB)
    measured = Measurements(samples_per_s=rate, step_s=128 / rate, device_peak_used_bytes=peak, host_peak_bytes=6 * GIB)
    return Verdict(Kind.OK, measurements=measured, duration_s=8.0)


def _attributes(number: int) -> dict[str, object]:
    verdict = _verdict(number)
    measured = verdict.measurements
    found = {
        attributes.VERDICT: str(verdict.kind),
        attributes.HINT: HINTS[verdict.kind],
        attributes.WHY: "most expected gain for its time",
        attributes.STAGE: "search",
        attributes.DIGEST: f"{number:016x}",
        attributes.PROBE_S: verdict.duration_s,
        attributes.PREDICTED_SAMPLES_PER_S: 11.0,
        attributes.PREDICTED_PEAK_GIB: 15.0,
        attributes.CHANCE_TO_FIT: 0.9,
        "verdict data": verdict.to_dict(),
    }
    if measured.samples_per_s:
        found |= {
            attributes.STEP_S: measured.step_s,
            attributes.SAMPLES_PER_S: measured.samples_per_s,
            attributes.DEVICE_PEAK_GIB: (measured.device_peak_used_bytes or 0) / GIB,
            attributes.HOST_PEAK_GIB: (measured.host_peak_bytes or 0) / GIB,
            attributes.LOADER_WAIT_PERCENT: number % 20,
        }
    return found


def measure(name: str, path: Path, command: tuple[str, ...], runs: int) -> Row:
    """Time a command; where it prints nothing, its end counts as the first byte."""
    arguments = [text.format(folder=path.parent) for text in command]
    first, total, size = [], [], 0
    for _ in range(runs):
        start = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "autobatch", *arguments, "--db", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout
            content = process.stdout.read(1)
            first.append(round(time.perf_counter() - start, 3))
            content += process.stdout.read()
        total.append(round(time.perf_counter() - start, 3))
        assert process.returncode == 0, command
        size = len(content)
    return Row(name, " ".join(command).replace("{folder}/", ""), first, total, size)


def main() -> None:
    """Make the databases, time every command, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    shapes = (("one study", 1, options.trials), ("many studies", options.trials // 100, 100))
    for name, studies, trials in shapes:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "trials.db"
            fill(path, studies, trials)
            print(f"{name}: {studies:,} x {trials:,} trials, {path.stat().st_size / 2**20:.0f} MiB")
            rows += [measure(name, path, command, options.runs) for command in COMMANDS]
    for row in rows:
        mark = "" if row.worst_first_s < LIMIT_S else "  <- over the limit"
        figures = (
            f"{statistics.median(row.first_s):7.2f} {row.worst_first_s:7.2f} {statistics.median(row.total_s):8.2f}"
        )
        print(f"{row.database:13} {row.command:26} {figures} {row.output_bytes:12,}{mark}")
    if options.json:
        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
        kept = {"limit_s": LIMIT_S, "trials": options.trials, "machine": machine, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
