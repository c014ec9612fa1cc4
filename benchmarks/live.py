"""The main job on a real device: search, export, then a training run on the exported file, side by side.

    python -m benchmarks.live --case llama-3.2-korean-3b:24GiB --case kobart --seconds 560 --json FILE

The time is shared out equally among the cases.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from autobatch.job.prepare import SMALLEST_BUDGET_S
from autobatch.units import parse_duration
from benchmarks import forks, processes
from benchmarks.common import Deadline, Record, parser

GIB = 2**30
SEARCH_SHARE = 0.7
"""Of a case's time, for the search."""
OVERTIME_S = 10.0
"""A search that goes on for this long beyond its budget is interrupted, and still gives its answer."""
START_S = 8.0
"""A training run takes about as long to start and to end, its steps apart."""
FEWEST_STEPS = 10


@dataclass
class Row:
    """One case: what the search promised and what the training run did."""

    model: str
    card: str
    budget_s: float = 0.0
    search_s: float = 0.0
    stopped: str = ""
    probes: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    chosen: dict[str, Any] = field(default_factory=dict)
    promised_samples_per_s: float = 0.0
    promised_step_s: float = 0.0
    promised_peak_gib: float = 0.0
    """Of training and evaluation."""
    promised_train_peak_gib: float = 0.0
    real_step_s: float = 0.0
    real_peak_gib: float = 0.0
    """Of training, which does not evaluate."""
    train_steps: int = 0
    train_exit: int | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """The case in a file's name."""
        return f"live-{self.model}-{self.card}".rstrip("-")


@dataclass(frozen=True)
class Case:
    """One case with its time and what is asked of it."""

    row: Row
    options: argparse.Namespace
    deadline: Deadline
    folder: Path

    def run(self) -> None:
        """Search and train; what goes wrong is in the row's note."""
        row = self.row
        row.budget_s = self.options.budget or SEARCH_SHARE * self.deadline.left_s
        began = time.monotonic()
        answer = self.search(row.budget_s)
        row.search_s = time.monotonic() - began
        note_answer(row, answer)
        if answer.get("chosen"):
            self.train()

    def search(self, budget_s: float) -> dict[str, Any]:
        """Search on the command line, keep the database, and return the answer, or an error."""
        if budget_s < SMALLEST_BUDGET_S:
            return {"error": f"no time: {budget_s:.0f} s for a search"}
        database = self.folder / f"{self.row.name}.db"
        card = ["--gpu-memory", self.row.card] if self.row.card else []
        where = ["--device", self.options.device, "--db", str(database), "--json", "--budget", f"{budget_s:.0f}s"]
        asked = ["--model", self.row.model, *card, *where, *self.options.option]
        search = processes.start(["-m", "autobatch", "search", *asked])
        forks.import_once()  # beside the search's own imports, when no probe is timed yet
        done = search.finish(budget_s + OVERTIME_S)
        sys.stderr.write(done.errors[-4000:])
        if self.options.keep is not None and database.exists():
            keep(database, self.options.keep / database.name)
        return json.loads(done.output) if done.output.strip() else {"error": done.errors[-500:]}

    def train(self) -> None:
        """Export what was chosen, and train on it for as many steps as there is time for."""
        row, best = self.row, self.folder / "best.yaml"
        export = ["-m", "autobatch", "export", str(best), "--db", str(self.folder / f"{row.name}.db")]
        exported = processes.run(export, self.deadline.left_s)
        if exported.status:
            row.note = exported.errors[-500:]
            return
        row.train_steps = min(self.options.steps, int((self.deadline.left_s - START_S) / row.promised_step_s))
        if row.train_steps < FEWEST_STEPS:
            row.note, row.train_steps = "no time to train", 0
            return
        log, figures = self.folder / "train.log", self.folder / "train.json"
        row.train_exit = forks.train(best, log, self.deadline.left_s, steps=row.train_steps, figures=figures)
        if row.train_exit == 0:
            note_training(row, json.loads(figures.read_text()))
        else:
            row.note = "timed out" if row.train_exit is None else forks.tail(log, 800)


def keep(database: Path, target: Path) -> None:
    """Copy a database with what is still in its log."""
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)


def note_answer(row: Row, answer: dict[str, Any]) -> None:
    """Take a search's answer into the row."""
    row.probes, row.failures = answer.get("probes", 0), answer.get("failures", {})
    row.stopped, chosen = answer.get("stopped", ""), answer.get("chosen")
    if not chosen:
        row.note = str(answer.get("error") or row.stopped)
        return
    figures = chosen["measurements"]
    row.chosen = chosen["configuration"]
    row.promised_samples_per_s, row.promised_step_s = figures["samples_per_s"], figures["step_s"]
    row.promised_peak_gib = figures.get("device_peak_used_bytes", 0) / GIB
    row.promised_train_peak_gib = figures.get("train_device_peak_used_bytes", 0) / GIB


def note_training(row: Row, real: dict[str, Any]) -> None:
    """Take the figures of the training run into the row."""
    row.real_step_s, row.train_steps = real["step_s"], real["steps"]
    row.real_peak_gib = (real.get("device_peak_used_bytes") or 0) / GIB


def line(row: Row) -> str:
    """Return a row of the table."""
    return (
        f"{row.model:30} {row.card:>6} probes {row.probes:3} search {row.search_s:6.1f} s | promised "
        f"{row.promised_step_s:7.3f} s/step {row.promised_train_peak_gib:5.1f} GiB {row.promised_samples_per_s:6.1f} /s"
        f" | real {row.real_step_s:7.3f} s/step {row.real_peak_gib:5.1f} GiB | exit {row.train_exit} {row.note}"
    )


def command() -> argparse.ArgumentParser:
    """Return the command line."""
    made = parser(__doc__, seconds=1800.0)
    made.add_argument("--case", action="append", required=True, help="MODEL or MODEL:CARD")
    made.add_argument("--budget", type=parse_duration, help="of each search, such as 90s; else a share of the time")
    made.add_argument("--steps", type=int, default=100, help="of each training run, at most")
    made.add_argument("--option", action="append", default=[], help="another option of search, as --option=--seed=1")
    made.add_argument("--keep", type=Path, help="folder to keep every case's database in, as live-CASE.db")
    return made


def main() -> int:
    """Run every case and print the table; exit with 1 where one has no figures of its training."""
    options = command().parse_args()
    deadline, record = Deadline(options.seconds), Record(options.json, "benchmarks.live")
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for number, name in enumerate(options.case):
        model, _, card = name.partition(":")
        rows.append(Row(model, card))
        with TemporaryDirectory() as folder:
            Case(rows[-1], options, Deadline(deadline.share_s(len(options.case) - number)), Path(folder)).run()
        print(line(rows[-1]), flush=True)
        record.keep(rows=[asdict(row) for row in rows])
    print("", *map(line, rows), sep="\n")
    return int(not all(row.real_step_s for row in rows))


if __name__ == "__main__":
    sys.exit(main())
