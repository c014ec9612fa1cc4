"""The main job on a real device: search, export, then a training run on the exported file, side by side.

    python -m benchmarks.live --case llama-3.2-korean-3b:24GiB --case kobart:80GiB --budget 6m --json FILE

With `--grid`, the same space is also searched exhaustively, and the two choices are compared.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

GIB = 2**30


@dataclass
class Row:
    """One case: what the search promised and what the training run did."""

    model: str
    card: str
    probes: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    search_s: float = 0.0
    chosen: dict[str, Any] = field(default_factory=dict)
    promised_samples_per_s: float = 0.0
    promised_step_s: float = 0.0
    promised_peak_gib: float = 0.0
    real_step_s: float = 0.0
    real_peak_gib: float = 0.0
    train_steps: int = 0
    train_exit: int | None = None
    grid_s: float | None = None
    grid_probes: int | None = None
    grid_samples_per_s: float | None = None
    note: str = ""


def _run(arguments: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


def _search(case: str, options: list[str], database: Path, timeout_s: float) -> dict[str, Any]:
    model, _, card = case.partition(":")
    card_option = ["--gpu-memory", card] if card else []
    command = ["-m", "autobatch", "search", "--model", model, *card_option, "--db", str(database), "--json", *options]
    done = _run(command, timeout_s)
    sys.stderr.write(done.stderr[-4000:])
    return json.loads(done.stdout) if done.stdout.strip() else {"error": done.stderr[-500:]}


def measure(case: str, options: list[str], steps: int, *, keep: Path | None, grid: bool, timeout_s: float) -> Row:
    """Run one case to its end; what goes wrong is in the row's note."""
    model, _, card = case.partition(":")
    row = Row(model, card)
    with TemporaryDirectory() as folder:
        database, best = Path(folder) / "trials.db", Path(folder) / "best.yaml"
        started = time.monotonic()
        answer = _search(case, options, database, timeout_s)
        row.search_s = time.monotonic() - started
        if "error" in answer or not answer.get("chosen"):
            row.note = str(answer.get("error") or answer.get("reason"))
            return row
        _note_answer(row, answer)
        _train(row, database, best, steps, timeout_s)
        if grid:
            started = time.monotonic()
            other = _search(case, [*options, "--sampler", "grid"], Path(folder) / "grid.db", timeout_s)
            row.grid_s, row.grid_probes = time.monotonic() - started, other.get("probes")
            row.grid_samples_per_s = (other.get("chosen") or {}).get("measurements", {}).get("samples_per_s")
        if keep is not None:
            _keep(database, best, keep / f"{model}-{card or 'whole'}")
    return row


def _keep(database: Path, best: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(database) as source, sqlite3.connect(folder / "trials.db") as target:
        source.backup(target)
    if best.exists():
        shutil.copy(best, folder)


def _note_answer(row: Row, answer: dict[str, Any]) -> None:
    chosen = answer["chosen"]
    figures = chosen["measurements"]
    row.chosen = chosen["configuration"]
    row.probes = answer["probes"]
    row.failures = answer.get("failures", {})
    row.promised_samples_per_s = figures.get("samples_per_s") or 0.0
    row.promised_step_s = figures.get("step_s") or 0.0
    row.promised_peak_gib = (figures.get("device_peak_used_bytes") or 0) / GIB


def _train(row: Row, database: Path, best: Path, steps: int, timeout_s: float) -> None:
    exported = _run(["-m", "autobatch", "export", str(best), "--db", str(database)], timeout_s)
    if exported.returncode:
        row.note = exported.stderr[-500:]
        return
    figures = best.with_suffix(".json")
    arguments = ["examples/train.py", str(best), "--max-steps", str(steps), "--json", str(figures)]
    trained = _run(arguments, timeout_s)
    row.train_exit = trained.returncode
    if trained.returncode:
        row.note = trained.stderr[-800:]
        return
    real = json.loads(figures.read_text())
    row.real_step_s, row.train_steps = real["step_s"], real["steps"]
    row.real_peak_gib = (real.get("device_peak_used_bytes") or 0) / GIB


def main() -> None:
    """Run every case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", required=True, help="MODEL or MODEL:CARD")
    parser.add_argument("--budget", default="6m")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--option", action="append", default=[], help="another option of search, as --option=--seed=1")
    parser.add_argument("--keep", type=Path, help="folder to keep every case's trials.db and best.yaml in")
    parser.add_argument("--timeout-s", type=float, default=580)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for case in options.case:
        extra = ["--budget", options.budget, *options.option]
        row = measure(case, extra, options.steps, keep=options.keep, grid=options.grid, timeout_s=options.timeout_s)
        rows.append(asdict(row))
        print(
            f"{row.model:30} {row.card:>6} probes {row.probes:3} search {row.search_s:6.1f} s | promised "
            f"{row.promised_step_s:7.3f} s/step {row.promised_peak_gib:5.1f} GiB | real {row.real_step_s:7.3f} s/step "
            f"{row.real_peak_gib:5.1f} GiB | exit {row.train_exit} {row.note}",
            flush=True,
        )
        if options.json:
            options.json.write_text(json.dumps({"rows": rows}, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
