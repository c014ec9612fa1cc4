"""One sample ten times the usual length: what fits without it and dies on it is called unsafe, and is not chosen.

    python -m benchmarks.long_sample [--device cpu|cuda:0] [--memory SIZE] [--seconds S] [--json FILE]

A small causal model with a large vocabulary is trained on docstrings of Python's standard library, cut to one length,
among which one is ten times as long. A micro-batch of the whole effective batch is probed with and without it, then
trained; then `autobatch search` chooses, and its choice is trained over the whole set. Memory is limited by a cgroup on
the CPU (which needs the right to make one), by the allocator's cap on a card.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from autobatch.export.chosen import Chosen
from autobatch.export.frozen import save
from autobatch.isolation import cgroup, proc
from autobatch.isolation.parent import PreloadedParent
from autobatch.isolation.runner import ProbeRunner
from autobatch.job.prepare import build_limits
from autobatch.job.request import Job
from autobatch.machine import fingerprint
from autobatch.machine.gpus import open_device
from autobatch.request import Limits, NullJournal, Plan
from autobatch.settings import Configuration, Scalar
from autobatch.units import format_bytes, parse_bytes
from autobatch.verdict import Verdict
from autobatch.workload import data
from autobatch.workload.resolve import resolve
from autobatch.workload.spec import Workload
from benchmarks import forks, processes
from benchmarks.common import Deadline, Record, parser
from examples.stdlib_dataset import samples

MODEL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 32_000,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
}
USUAL_WORDS, LONG_WORDS = 24, 240
SAMPLES = 96
BATCH = {"cpu": 8, "cuda": 64}
MEMORY = {"cpu": "1.5GiB", "cuda": "8GiB"}
"""Limits between what the usual batch needs and what the long one does."""
FIXED: dict[str, Scalar] = {
    "precision": "fp32",
    "gradient_checkpointing": False,
    "dataloader_num_workers": 0,
    "per_device_eval_batch_size": 1,
}
SEARCH_SHARE = 0.3
"""Of the time, for the search."""


def write_data(path: Path, *, long: bool) -> None:
    """Write docstrings cut to the usual length, one of them ten times as long where asked for, as JSON Lines."""
    words = " ".join(sample["summary"] for sample in samples(Path(sysconfig.get_path("stdlib")) / "json")).split()
    words *= 1 + (SAMPLES + LONG_WORDS) // max(1, len(words) - LONG_WORDS)
    lengths = [USUAL_WORDS] * (SAMPLES - 1) + [LONG_WORDS if long else USUAL_WORDS]
    texts = (" ".join(words[i : i + length]) for i, length in enumerate(lengths))
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def workload_of(model: Path, path: Path, batch: int) -> Workload:
    """Return the model's workload on a data set, one epoch."""
    workload = replace(resolve(str(model)), effective_batch=batch)
    found = data.describe(path, workload)
    return replace(workload, data=found.data, lengths=found.lengths, train_samples=found.data.samples or 1)


@dataclass(frozen=True)
class Case:
    """The model and the two sets in a folder, and what is done with them on a device."""

    options: argparse.Namespace
    folder: Path
    deadline: Deadline

    @property
    def kind(self) -> str:
        """`cpu` or `cuda`."""
        return str(self.options.device).partition(":")[0]

    @property
    def limits(self) -> Limits:
        """Limits of a search that is given as much memory."""
        size, on_cpu = parse_bytes(self.options.memory), self.kind == "cpu"
        asked = Job("", 0.0, host_memory_bytes=size if on_cpu else None, gpu_memory_bytes=None if on_cpu else size)
        return build_limits(asked, fingerprint.read(self.options.device))

    @property
    def configuration(self) -> Configuration:
        """A micro-batch of the whole effective batch."""
        return Configuration({**FIXED, "per_device_train_batch_size": BATCH[self.kind]})

    def workload(self, *, long: bool) -> Workload:
        """Return the workload on the set with the long sample or without it."""
        return workload_of(self.folder / "model", self.folder / f"{long}.jsonl", BATCH[self.kind])

    def run(self) -> Iterator[dict[str, Any]]:
        """Do all of it; yield what came of each so far."""
        (self.folder / "model").mkdir()
        (self.folder / "model" / "config.json").write_text(json.dumps(MODEL))
        for long in (False, True):
            write_data(self.folder / f"{long}.jsonl", long=long)
        size = parse_bytes(self.options.memory)
        found: dict[str, Any] = {"device": self.options.device, "limit_bytes": size, "micro_batch": BATCH[self.kind]}
        for name, verdict in self.probes():
            found[name] = told(verdict)
            yield found
        found["unsafe_training"] = self.train(self.frozen(verdict))
        yield found
        found["chosen_training"] = self.train(self.search())
        yield found

    def probes(self) -> Iterator[tuple[str, Verdict]]:
        """Probe without the long sample and with it, as a search does, both forked from one process."""
        device = self.options.device
        gpu = open_device(int(device.partition(":")[2] or 0)) if self.kind == "cuda" else None
        parent = PreloadedParent(self.folder, bare=False)
        parent.start()
        forks.import_once()  # for the trainings to come, beside the parent's own imports
        try:
            for name, long in (("without", False), ("with", True)):
                with ProbeRunner(
                    self.workload(long=long),
                    device=device,
                    limits=self.limits,
                    work_dir=self.folder,
                    gpu=gpu,
                    parent=parent,
                ) as runner:
                    yield name, runner.run(self.configuration, Plan(), NullJournal())
        finally:
            parent.close()

    def frozen(self, verdict: Verdict) -> Path:
        """Freeze the configuration that was probed, whatever the verdict."""
        machine, path = fingerprint.read(self.options.device).to_dict(), self.folder / "unsafe.yaml"
        workload = self.workload(long=True)
        save(Chosen("long", None, self.configuration, verdict.measurements, workload, machine, self.limits), path)
        return path

    def search(self) -> Path:
        """Search and export on the command line; return the frozen file."""
        database, best = str(self.folder / "trials.db"), self.folder / "best.yaml"
        budget_s = SEARCH_SHARE * self.options.seconds
        limit = "--host-memory" if self.kind == "cpu" else "--gpu-memory"
        data_set = ["--data", str(self.folder / "True.jsonl"), "--text-column", "text", "--epochs", "1"]
        batch = ["--effective-batch", str(BATCH[self.kind]), limit, self.options.memory, "--budget", f"{budget_s:.0f}s"]
        fixed = [word for name, value in FIXED.items() for word in ("--fix", f"{name}={value}")]
        where = ["--device", self.options.device, "--db", database, "--quiet"]
        self.autobatch("search", "--model", str(self.folder / "model"), *data_set, *batch, *fixed, *where)
        self.autobatch("export", str(best), "--db", database)
        return best

    def autobatch(self, *words: str) -> None:
        """Run the command line; what it says of a failure ends the benchmark."""
        done = processes.run(["-m", "autobatch", *words], self.deadline.left_s)
        print(done.output)
        if done.status:
            sys.exit(f"autobatch {words[0]}: exit status {done.status}: {done.errors[-2000:]}")

    def train(self, best: Path) -> dict[str, Any]:
        """Train over the whole set, on the CPU under the memory limit; return the exit status and the last words."""
        log = best.with_suffix(".log")
        with _group(self.limits.host_bytes if self.kind == "cpu" else None) as group:
            status = forks.in_fork(partial(_train_inside, group, best), log, self.deadline.left_s)
        return {"status": status, "said": forks.tail(log, 300)}


def _train_inside(group: cgroup.ProbeGroup | None, best: Path) -> None:
    if group is not None:
        group.add(os.getpid())
    forks.run_program([str(forks.TRAIN), str(best)])


@contextlib.contextmanager
def _group(limit_bytes: int | None) -> Iterator[cgroup.ProbeGroup | None]:
    if limit_bytes is None:
        yield None
        return
    inherited = proc.resident_bytes(os.getpid())  # a fork shares it, and it is charged to us
    group = cgroup.create(f"{cgroup.PREFIX}long-{secrets.token_hex(4)}", limit_bytes - inherited)
    if group is None:
        sys.exit("No cgroup may be made here: run it as root, or in a container that may.")
    try:
        yield group
    finally:
        group.kill()
        group.remove()


def told(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict for the table."""
    found = verdict.measurements
    return {
        "verdict": str(verdict.kind),
        "peak_bytes": found.device_peak_used_bytes,
        "host_peak_bytes": found.host_peak_bytes,
    }


def holds(found: dict[str, Any]) -> bool:
    """Tell whether the long sample made the difference, and what was chosen survived it."""
    verdicts = found["without"]["verdict"] == "ok" and found["with"]["verdict"] != "ok"
    return bool(verdicts and found["chosen_training"]["status"] == 0)


def command() -> argparse.ArgumentParser:
    """Return the command line."""
    made = parser(__doc__, seconds=300.0)
    made.add_argument("--memory", "--gpu-memory", "--host-memory", help="limit, over the device's usual one here")
    return made


def main() -> int:
    """Print what came of each; exit with 1 where the long sample was not found out."""
    options = command().parse_args()
    options.memory = options.memory or MEMORY[options.device.partition(":")[0]]
    record, found = Record(options.json, "benchmarks.long_sample"), {}
    with tempfile.TemporaryDirectory(prefix="long-sample-") as folder:
        for found in Case(options, Path(folder), Deadline(options.seconds)).run():
            record.keep(**found)
    record.keep(**found, ok=holds(found))
    for name in ("without", "with"):
        peak = found[name]["peak_bytes"]
        print(f"probe {name:8} the long sample: {found[name]['verdict']}, {format_bytes(peak) if peak else 'no peak'}")
    for name in ("unsafe_training", "chosen_training"):
        print(f"{name}: exit status {found[name]['status']}: {found[name]['said'][-160:]}")
    return 0 if holds(found) else 1


if __name__ == "__main__":
    sys.exit(main())
