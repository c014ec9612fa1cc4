"""One sample ten times the usual length: what fits without it and dies on it is called unsafe, and is not chosen.

    python -m benchmarks.long_sample [--device cpu|cuda:0] [--memory SIZE] [--json FILE]

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
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autobatch.export.chosen import Chosen
from autobatch.export.frozen import save
from autobatch.isolation import cgroup
from autobatch.isolation.runner import ProbeRunner
from autobatch.job.prepare import build_limits
from autobatch.job.request import Job
from autobatch.machine import fingerprint
from autobatch.machine.gpus import list_gpus, open_device
from autobatch.request import Limits, Plan
from autobatch.settings import Configuration, Scalar
from autobatch.units import format_bytes, parse_bytes
from autobatch.verdict import Verdict
from autobatch.workload import data
from autobatch.workload.resolve import resolve
from autobatch.workload.spec import Workload
from benchmarks.startup import Journal
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
TRAIN = Path(__file__).resolve().parent.parent / "examples" / "train.py"
BATCH = {"cpu": 8, "cuda": 64}
MEMORY = {"cpu": "1.5GiB", "cuda": "8GiB"}
"""Limits between what the usual batch needs and what the long one does."""


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


def probe(workload: Workload, configuration: Configuration, limits: Limits, device: str) -> Verdict:
    """Run one probe as a search does."""
    gpu = open_device(int(device.partition(":")[2] or 0)) if device != "cpu" else None
    with (
        tempfile.TemporaryDirectory() as folder,
        ProbeRunner(workload, device=device, limits=limits, work_dir=folder, gpu=gpu) as runner,
    ):
        return runner.run(configuration, Plan(), Journal())


def train(best: Path, limit_bytes: int | None) -> tuple[int, str]:
    """Train over the whole set, under a memory limit where given; return the exit status and the last words."""
    with _group(limit_bytes) as group, tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([sys.executable, str(TRAIN), str(best)], stdout=log, stderr=log)
        if group is not None:
            group.add(process.pid)
        status = process.wait()
        log.seek(0)
        return status, " ".join(log.read().split())[-300:]


@contextlib.contextmanager
def _group(limit_bytes: int | None) -> Iterator[cgroup.ProbeGroup | None]:
    if limit_bytes is None:
        yield None
        return
    group = cgroup.create(f"{cgroup.PREFIX}long-{secrets.token_hex(4)}", limit_bytes)
    if group is None:
        sys.exit("No cgroup may be made here: run it as root, or in a container that may.")
    try:
        yield group
    finally:
        group.kill()
        group.remove()


def autobatch(*words: str) -> None:
    """Run the command line; its answer goes to standard output."""
    subprocess.run([sys.executable, "-m", "autobatch", *words], check=True)


def search(model: Path, path: Path, options: argparse.Namespace, fixed: Sequence[str], folder: Path) -> Path:
    """Search and export on the command line; return the frozen file."""
    device, database, best = str(options.device), str(folder / "trials.db"), folder / "best.yaml"
    kind = device.partition(":")[0]
    limit = ("--host-memory" if kind == "cpu" else "--gpu-memory", str(options.memory))
    asked = (
        "--effective-batch",
        str(BATCH[kind]),
        "--epochs",
        "1",
        "--budget",
        options.budget,
        "--text-column",
        "text",
    )
    chosen = [word for setting in fixed for word in ("--fix", setting)]
    where = ("--device", device, "--db", database, "--quiet")
    autobatch("search", "--model", str(model), "--data", str(path), *asked, *limit, *chosen, *where)
    autobatch("export", str(best), "--db", database)
    return best


def told(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict for the table."""
    found = verdict.measurements
    return {
        "verdict": str(verdict.kind),
        "peak_bytes": found.device_peak_used_bytes,
        "host_peak_bytes": found.host_peak_bytes,
    }


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Do all of it; return what came of each."""
    kind, size = options.device.partition(":")[0], parse_bytes(options.memory)
    model, usual, long = folder / "model", folder / "usual.jsonl", folder / "long.jsonl"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(MODEL))
    write_data(usual, long=False)
    write_data(long, long=True)
    batch, machine = BATCH[kind], fingerprint.read(options.device)
    asked = Job(str(model), 60.0)
    asked = replace(asked, host_memory_bytes=size) if kind == "cpu" else replace(asked, gpu_memory_bytes=size)
    limits = build_limits(asked, machine)
    fixed: dict[str, Scalar] = {"precision": "fp32", "gradient_checkpointing": False, "dataloader_num_workers": 0}
    configuration = Configuration({**fixed, "per_device_train_batch_size": batch, "per_device_eval_batch_size": 1})
    found: dict[str, Any] = {"device": options.device, "limit_bytes": size, "micro_batch": batch}
    workload = workload_of(model, long, batch)
    found["without"] = told(probe(workload_of(model, usual, batch), configuration, limits, options.device))
    verdict = probe(workload, configuration, limits, options.device)
    found["with"] = told(verdict)
    unsafe = folder / "unsafe.yaml"
    save(Chosen("long", None, configuration, verdict.measurements, workload, machine.to_dict(), limits), unsafe)
    cap = size if kind == "cpu" else None
    found["unsafe_training"] = dict(zip(("status", "said"), train(unsafe, cap), strict=True))
    names = [f"{name}={value}" for name, value in {**fixed, "per_device_eval_batch_size": 1}.items()]
    best = search(model, long, options, names, folder)
    found["chosen_training"] = dict(zip(("status", "said"), train(best, cap), strict=True))
    return found


def holds(found: dict[str, Any]) -> bool:
    """Tell whether the long sample made the difference, and what was chosen survived it."""
    verdicts = found["without"]["verdict"] == "ok" and found["with"]["verdict"] != "ok"
    return bool(verdicts and found["chosen_training"]["status"] == 0)


def main() -> int:
    """Print what came of each; exit with 1 where the long sample was not found out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0" if list_gpus() else "cpu")
    parser.add_argument("--memory", "--gpu-memory", "--host-memory", help="limit, over the device's usual one here")
    parser.add_argument("--budget", default="90s")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.memory = options.memory or MEMORY[options.device.partition(":")[0]]
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as in the probes
    with tempfile.TemporaryDirectory(prefix="long-sample-") as folder:
        found = run(options, Path(folder))
    for name in ("without", "with"):
        peak = found[name]["peak_bytes"]
        print(f"probe {name:8} the long sample: {found[name]['verdict']}, {format_bytes(peak) if peak else 'no peak'}")
    for name in ("unsafe_training", "chosen_training"):
        print(f"{name}: exit status {found[name]['status']}: {found[name]['said'][-160:]}")
    if options.json:
        options.json.write_text(json.dumps({**found, "ok": holds(found)}, indent=1) + "\n")
    return 0 if holds(found) else 1


if __name__ == "__main__":
    sys.exit(main())
