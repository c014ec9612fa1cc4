"""What a search over a person's own script promises, against that script run again on what was exported.

    python -m benchmarks.scripts [--device cpu|cuda:0] [--cases NAME ...] [--gpu-memory S] [--seconds S] [--json FILE]

Each script is searched as it is by `autobatch search ... -- python SCRIPT run.yaml`, the answer is frozen and merged
into `run.yaml` by `autobatch export --into`, and the script is run again twice on that file, forked from a process that
has imported torch. Between two runs `autobatch verify` measures anew (`again`), which tells a machine that drifts from
a promise that was wrong. A run has twice `--steps`, timed by `autobatch.Callback`: in the first half the process warms
up, the other is held against the promise; `whole` has both. An epoch of each case has 100 steps, so that what is timed
has the lengths of the whole set, as the promise has. s/step is to be within 5 %, or 1.5 times the difference of the two
runs, where that is more.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from autobatch.units import parse_duration
from benchmarks import fidelity, forks, processes
from benchmarks.common import Deadline, Record, parser
from benchmarks.scripts_cases import CASES, EXAMPLES, QUICK, Case, make

SAME = 0.05
SEARCH_SHARE = 0.6
"""Of a case's time, for the search; what is left of it goes to the run after it."""
VERIFY_S = 90.0
OVERTIME_S = 15.0
"""A search that goes on for this long beyond its budget is interrupted, and still gives its answer."""


@dataclass
class Row(fidelity.Row):
    """One script: what was promised of it, and its own runs."""

    configuration: dict[str, Any] = field(default_factory=dict)
    verified_step_s: list[float] = field(default_factory=list)
    probes: int = 0
    search_s: float = 0.0

    @property
    def again_error(self) -> float | None:
        """The same of what `verify` measured between the runs."""
        return self._error(*(statistics.fmean(v) if v else None for v in (self.verified_step_s, self.real_step_s)))

    @property
    def ok(self) -> bool:
        """Whether the promise was kept: within 5 %, or 1.5 times what two real runs differ by, where that is more."""
        allowed = max(SAME, fidelity.REPEAT_FACTOR * (self.floor or 0.0))
        return self.step_error is not None and abs(self.step_error) <= allowed


@dataclass(frozen=True)
class Trial:
    """One script in a folder of its own, with its time."""

    row: Row
    options: argparse.Namespace
    folder: Path
    deadline: Deadline

    def run(self) -> None:
        """Search, freeze and merge the answer, and run the script on it; what goes wrong is in the row's note."""
        case = CASES[self.row.config]
        words = [str(EXAMPLES / case.script), *(["--config"] if self.row.config == "trl" else []), "run.yaml"]
        try:
            self.make_data()
            self.fork(partial(make, self.row.config, self.folder, self.options.device))
            self.note_answer(self.search(case, words))
            self.command(["export", "best.yaml", "--into", "run.yaml", "--format", case.target])
            with (self.folder / "run.yaml").open("a") as content:
                content.write(f"max_steps: {2 * self.options.steps}\n")
            for repeat in range(self.options.repeats):
                if repeat:
                    self.verify()
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

    def verify(self) -> None:
        """Measure what was frozen once more, whether it holds or not."""
        words = ["verify", "best.yaml", "--json", "--minutes", f"{VERIFY_S / 60:.1f}"]
        done = processes.run(["-m", "autobatch", *words], min(self.deadline.left_s, VERIFY_S + OVERTIME_S), self.folder)
        verdict = json.loads(done.output)["verdict"] if done.output.strip() else {"measurements": {}}
        if step_s := verdict["measurements"].get("step_s"):
            self.row.verified_step_s.append(step_s)

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
        row.configuration, row.probes, row.verdict = chosen["configuration"], answer["probes"], "ok"
        row.probed_step_s, row.probed_rel_error = [figures["step_s"]], figures.get("micro_step_rel_error")
        row.probed_peak_bytes = figures.get("device_peak_reserved_bytes")

    def note_real(self, found: dict[str, Any]) -> None:
        """Take what the script's own run measured into the row."""
        row, times = self.row, found["step_times"]
        row.steps_timed = min(len(times), self.options.steps)
        row.whole_step_s.append(statistics.fmean(times))
        row.real_step_s.append(statistics.fmean(times[-self.options.steps :]))
        if found["peak_bytes"]:
            row.real_peak_bytes.append(found["peak_bytes"])


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
    lines = []
    for row in rows:
        values = row.configuration
        batch = f"{values.get('per_device_train_batch_size')} x {values.get('gradient_accumulation_steps')}"
        again = f"{row.again_error:+.1%}" if row.again_error is not None else "-"
        lines.append(f"{fidelity.line(replace(row, config=f'{row.config}, {batch}', probe_s=row.search_s))} {again:>8}")
    return "\n".join([f"{fidelity.HEADER.replace('  probe s', ' search s')} {'again':>8}", *lines])


def command() -> argparse.ArgumentParser:
    """Return the command line."""
    made = parser(__doc__, seconds=1200.0)
    made.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    made.add_argument("--gpu-memory")
    made.add_argument("--budget", type=parse_duration, help="of each search, such as 90s; else a share of the time")
    made.add_argument("--steps", type=int, default=100, help="of each run after it")
    made.add_argument("--repeats", type=int, default=2, help="runs after it")
    return made


def main() -> int:
    """Measure every case and print the table; exit with 1 where one was not as promised."""
    options = command().parse_args()
    deadline, record, rows = Deadline(options.seconds), Record(options.json, "benchmarks.scripts"), []
    for number, name in enumerate(options.cases):
        rows.append(Row(name))
        with TemporaryDirectory() as folder:
            time_s = deadline.share_s(len(options.cases) - number)
            try:
                Trial(rows[-1], options, Path(folder), Deadline(time_s)).run()
            finally:  # an interrupted row is as true as far as it came
                record.keep(rows=[row.to_dict() for row in rows])
    print(report(rows))
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
