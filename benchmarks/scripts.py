"""What a search over a person's own script promises, against that script run again on what was exported.

    python -m benchmarks.scripts [--device cpu|cuda:0] [--cases NAME ...] [--gpu-memory S] [--seconds S] [--json FILE]

Each script is searched as it is by `autobatch search ... -- python SCRIPT run.yaml`, the answer is frozen and merged
into `run.yaml` by `autobatch export --into`, and the script is run again on that file, forked from a process that has
imported torch. Its steps are timed by `autobatch.Callback`: `--steps` of them after the first 50, in which the process
warms up. They are held against the promise: s/step within 5 %. `whole` has the first ones, too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from autobatch.units import parse_duration
from benchmarks import forks, processes
from benchmarks.common import Deadline, Record, parser
from benchmarks.fidelity import SETTLING_STEPS
from benchmarks.scripts_cases import CASES, EXAMPLES, QUICK, Case, make

SAME = 0.05
SEARCH_SHARE = 0.6
"""Of a case's time, for the search; what is left of it goes to the run after it."""
OVERTIME_S = 15.0
"""A search that goes on for this long beyond its budget is interrupted, and still gives its answer."""


@dataclass
class Row:
    """One script: promised and real."""

    case: str
    configuration: dict[str, Any] = field(default_factory=dict)
    promised_step_s: float | None = None
    promised_rel_error: float | None = None
    promised_peak_bytes: int | None = None
    real_step_s: float | None = None
    whole_step_s: float | None = None
    real_peak_bytes: int | None = None
    steps: int = 0
    probes: int = 0
    search_s: float = 0.0
    note: str = ""

    @property
    def error(self) -> float | None:
        """Promised over real, less one."""
        return self.promised_step_s / self.real_step_s - 1 if self.promised_step_s and self.real_step_s else None

    def to_dict(self) -> dict[str, Any]:
        """Return the row of the JSON file."""
        return {**vars(self), "error": self.error, "ok": self.error is not None and abs(self.error) <= SAME}


@dataclass(frozen=True)
class Trial:
    """One script in a folder of its own, with its time."""

    row: Row
    options: argparse.Namespace
    folder: Path
    deadline: Deadline

    def run(self) -> None:
        """Search, freeze and merge the answer, and run the script on it; what goes wrong is in the row's note."""
        case = CASES[self.row.case]
        words = [str(EXAMPLES / case.script), *(["--config"] if self.row.case == "trl" else []), "run.yaml"]
        try:
            self.make_data()
            self.fork(partial(make, self.row.case, self.folder, self.options.device))
            self.note_answer(self.search(case, words))
            self.command(["export", "best.yaml", "--into", "run.yaml", "--format", case.target])
            with (self.folder / "run.yaml").open("a") as content:
                content.write(f"max_steps: {SETTLING_STEPS + self.options.steps}\n")
            self.fork(partial(timed, words, self.folder))
            self.note_real(json.loads((self.folder / "timed.json").read_text()))
        except Failed as failure:
            self.row.note = str(failure)

    def make_data(self) -> None:
        """Write the set that the scripts train on."""
        maker = [str(EXAMPLES / "stdlib_dataset.py"), str(self.folder / "data.jsonl"), "--limit", "2000"]
        self.checked(processes.run(maker, self.deadline.left_s))

    def search(self, case: Case, words: list[str]) -> dict[str, Any]:
        """Search the script, and return the answer."""
        budget_s = self.options.budget or SEARCH_SHARE * self.deadline.left_s
        memory = ["--gpu-memory", self.options.gpu_memory] if self.options.gpu_memory else []
        where = ["--device", self.options.device, "--budget", f"{budget_s:.0f}s", "--quiet", "--json", *memory]
        fixed = [*QUICK[self.options.device.partition(":")[0]], *case.options]
        began = time.monotonic()
        command = ["-m", "autobatch", "search", *where, *fixed, "--", "python", *words]
        done = processes.run(command, budget_s + OVERTIME_S, self.folder)
        self.row.search_s = time.monotonic() - began
        answer: dict[str, Any] = json.loads(done.output) if done.output.strip() else {}
        if not answer.get("chosen"):
            raise Failed(answer.get("stopped") or done.errors[-2000:])
        return answer

    def command(self, words: list[str]) -> None:
        """Run autobatch in the folder."""
        self.checked(processes.run(["-m", "autobatch", *words], self.deadline.left_s, self.folder))

    def checked(self, done: processes.Done) -> None:
        """Take what a command said of its failure for ours."""
        if done.status:
            raise Failed(done.errors[-2000:])

    def fork(self, function: Callable[[], object]) -> None:
        """Run a function in a fork that has torch imported already."""
        forks.import_once()
        log = self.folder / "fork.log"
        status = forks.in_fork(function, log, self.deadline.left_s)
        if status != 0:
            raise Failed("timed out" if status is None else forks.tail(log, 2000))

    def note_answer(self, answer: dict[str, Any]) -> None:
        """Take the promise into the row."""
        row, chosen = self.row, answer["chosen"]
        figures = chosen["measurements"]
        row.configuration, row.probes = chosen["configuration"], answer["probes"]
        row.promised_step_s, row.promised_rel_error = figures["step_s"], figures.get("micro_step_rel_error")
        row.promised_peak_bytes = figures.get("device_peak_reserved_bytes")

    def note_real(self, found: dict[str, Any]) -> None:
        """Take what the script's own run measured into the row."""
        row, whole = self.row, found["step_times"]
        times = whole[-self.options.steps :]
        row.steps, row.real_step_s = len(times), statistics.fmean(times) if times else None
        row.whole_step_s = statistics.fmean(whole) if whole else None
        row.real_peak_bytes = found["peak_bytes"]


class Failed(Exception):  # noqa: N818 - it ends a trial, and is a row of the table
    """What a part of a trial said of its failure."""


def timed(words: list[str], folder: Path) -> None:
    """Run a script with the callback of its frozen file beside its own, and write down its step times."""
    os.chdir(folder)
    from autobatch import Callback, load

    frozen = load("best.yaml")
    frozen.set_environment()
    import torch
    from transformers import Trainer

    callback, construct = Callback(frozen), Trainer.__init__

    def init(self: Any, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as Trainer's
        construct(self, *args, **options)
        self.add_callback(callback)

    Trainer.__init__ = init
    forks.run_program(words)
    peak = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else None
    Path("timed.json").write_text(json.dumps({"step_times": callback.step_times, "peak_bytes": peak}))


def report(rows: list[Row]) -> str:
    """Return the table."""
    head = f"{'script':<14}{'micro x acc':>12}{'promised':>11}{'real':>10}{'whole':>10}{'error':>8}"
    lines = [f"{head}{'steps':>7}{'search':>9}"]
    for row in rows:
        values = row.configuration
        batch = f"{values.get('per_device_train_batch_size')} x {values.get('gradient_accumulation_steps')}"
        times = f"{row.promised_step_s or 0:>11.4f}{row.real_step_s or 0:>10.4f}{row.whole_step_s or 0:>10.4f}"
        error = "-" if row.error is None else f"{row.error:+.1%}"
        lines.append(f"{row.case:<14}{batch:>12}{times}{error:>8}{row.steps:>7}{row.search_s:>8.0f}s {row.note}")
    return "\n".join(lines)


def command() -> argparse.ArgumentParser:
    """Return the command line."""
    made = parser(__doc__, seconds=1200.0)
    made.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    made.add_argument("--gpu-memory")
    made.add_argument("--budget", type=parse_duration, help="of each search, such as 90s; else a share of the time")
    made.add_argument("--steps", type=int, default=100, help="of each run after it")
    return made


def main() -> int:
    """Measure every case and print the table; exit with 1 where one was not as promised."""
    options = command().parse_args()
    deadline, record, rows = Deadline(options.seconds), Record(options.json, "benchmarks.scripts"), []
    for number, name in enumerate(options.cases):
        rows.append(Row(name))
        with TemporaryDirectory() as folder:
            time_s = deadline.share_s(len(options.cases) - number)
            Trial(rows[-1], options, Path(folder), Deadline(time_s)).run()
        record.keep(rows=[row.to_dict() for row in rows])
    print(report(rows))
    return 0 if all(row.to_dict()["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
