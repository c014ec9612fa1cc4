"""From the request for a probe to the end of its first optimizer step, forked against cold, by phase.

    python -m benchmarks.startup [--model tiny|PRESET] [--quantization nf4] [--forks 50] [--seconds S] [--json FILE]

Afterwards the preloaded parent and the card are looked at for what the forks left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from autobatch import settings
from autobatch.isolation import proc
from autobatch.isolation.runner import ProbeRunner
from autobatch.machine.gpus import Device, open_device
from autobatch.request import Limits, NullJournal, Plan
from autobatch.settings import Configuration
from autobatch.workload import presets
from autobatch.workload.spec import Lengths, Model, Workload
from benchmarks.common import Deadline, Record, parser

Phases = list[dict[str, float]]
Isolation = Literal["fork", "spawn"]
_SHAPE = {
    "model_type": "llama",
    "vocab_size": 256,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
TINY = Workload(
    Model("tiny", "", "causal", _SHAPE), lengths=Lengths((16,) * 5), max_source_length=16, effective_batch=4
)
_PLAN = Plan(purpose="worst_case", max_seconds=300.0)
"""Two steps on the longest batch, and nothing timed."""
_MIB = 2**20
_LEAK_BYTES = 32 * _MIB
_DEVICE_LEAK_BYTES = 64 * _MIB
_RELEASE_S = 5.0
"""The driver may still be giving back a dead process's memory for this long."""
COLD_S = 30.0
"""Held back for each cold start: most of it the imports."""


@dataclass(frozen=True)
class Held:
    """What the parent and the card hold."""

    parent_bytes: int
    parent_descriptors: int
    device_bytes: int

    @classmethod
    def read(cls, runner: ProbeRunner, gpu: Device | None) -> Held:
        """Read it now."""
        pid = runner.parent.pid
        assert pid is not None, "the parent lives"
        descriptors = len(list((proc.PROC / str(pid) / "fd").iterdir()))
        return cls(proc.resident_bytes(pid), descriptors, gpu.memory_used_bytes() if gpu else 0)

    def grown_since(self, before: Held) -> dict[str, int]:
        """Return how much more is held now."""
        return {name: value - getattr(before, name) for name, value in vars(self).items()}


def workload_of(options: argparse.Namespace) -> tuple[Workload, Configuration]:
    """Return the workload and the configuration that is started."""
    tiny = options.model == "tiny"
    workload = TINY if tiny else presets.load(options.model)
    chosen = {
        settings.METHOD: options.method or workload.method,
        settings.QUANTIZATION: options.quantization or workload.quantization,
        settings.PRECISION: "fp32" if tiny else "bf16",
        settings.WORKERS: 0,
    }
    return workload, Configuration(chosen)


@contextmanager
def runner_of(isolation: Isolation, workload: Workload, device: str, gpu: Device | None) -> Iterator[ProbeRunner]:
    """Yield a runner whose process to fork from is ready."""
    with (
        tempfile.TemporaryDirectory(prefix="startup-") as folder,
        ProbeRunner(workload, device=device, limits=Limits(), work_dir=folder, isolation=isolation, gpu=gpu) as runner,
    ):
        runner.parent.ensure()
        yield runner


def start(runner: ProbeRunner, configuration: Configuration) -> dict[str, float]:
    """Start one probe, and return the seconds of each phase."""
    verdict = runner.run(configuration, _PLAN, NullJournal())
    phases = dict(verdict.measurements.startup_s)
    if "first_step" not in phases:
        sys.exit(f"No first step: {verdict.kind}: {json.dumps(verdict.evidence, indent=1)}")
    return phases


def starts(runner: ProbeRunner, configuration: Configuration, count: int, deadline: Deadline) -> Iterator[Phases]:
    """Start probes, so many or as many as there is time for, and yield the seconds of all so far after each."""
    phases: Phases = []
    longest_s = 0.0
    while len(phases) < count and deadline.allows(longest_s):
        left_s = deadline.left_s
        phases.append(start(runner, configuration))
        longest_s = max(longest_s, left_s - deadline.left_s)
        yield phases


def grown(runner: ProbeRunner, gpu: Device | None, before: Held) -> dict[str, int]:
    """Return what the parent and the card hold more, once the driver has given back what was left."""
    waited = Deadline(_RELEASE_S)
    while (more := Held.read(runner, gpu).grown_since(before))["device_bytes"] > 0 and waited.allows():
        time.sleep(0.1)
    return more


def medians(phases: Phases) -> dict[str, float]:
    """Return the median of each phase, and of their sum."""
    names = dict.fromkeys(name for one in phases for name in one)
    found = {name: statistics.median(one.get(name, 0.0) for one in phases) for name in names}
    return {**found, "total": statistics.median(sum(one.values()) for one in phases)}


def measure(
    isolation: Isolation, options: argparse.Namespace, count: int, deadline: Deadline
) -> Iterator[dict[str, Any]]:
    """Yield the figures of one way of starting after every start; the last say what was left behind."""
    workload, configuration = workload_of(options)
    gpu = open_device(0) if options.device != "cpu" else None
    with runner_of(isolation, workload, options.device, gpu) as runner:
        found = {"import_s": runner.parent.facts["import_s"], "cuda_in_parent": runner.parent.facts["cuda"]}
        if isolation == "fork":
            start(runner, configuration)  # warms the caches of files and kernels for all that come
        before = Held.read(runner, gpu)
        for phases in starts(runner, configuration, count, deadline):
            found |= {"count": len(phases), "seconds": medians(phases)}
            yield found
        yield found | {"grown": grown(runner, gpu, before)}


def command() -> argparse.ArgumentParser:
    """Return the command line."""
    made = parser(__doc__, seconds=600.0)
    made.add_argument("--model", default="tiny", help="tiny, or a preset")
    made.add_argument("--method", choices=("full", "lora"), help="over the preset's")
    made.add_argument("--quantization", choices=("none", "int8", "nf4"), help="over the preset's")
    made.add_argument("--forks", type=int, default=50)
    made.add_argument("--cold", type=int, default=5)
    return made


def main() -> int:
    """Print the phases of both, and what the forks left behind; exit with 1 on a leak or where nothing started."""
    options = command().parse_args()
    record, deadline = Record(options.json, "benchmarks.startup"), Deadline(options.seconds)
    report: dict[str, Any] = {"model": options.model, "load": os.getloadavg()[0]}
    ways: dict[Isolation, tuple[int, float]] = {
        "fork": (options.forks, options.cold * COLD_S),
        "spawn": (options.cold, 0),
    }
    for isolation, (count, held_s) in ways.items():
        for found in measure(isolation, options, count, Deadline(deadline.left_s - held_s)):
            record.keep(**report, **{isolation: found})
        report[isolation] = found
    if not all(report[isolation].get("count") for isolation in ways):
        sys.exit("There was no time for both ways: raise --seconds.")
    report["times_faster"] = report["spawn"]["seconds"]["total"] / report["fork"]["seconds"]["total"]
    record.keep(**report)
    for isolation in ways:
        _print(isolation, report[isolation])
    print(f"forked is {report['times_faster']:.1f} times faster than cold")
    return int(leaks(report["fork"]))


def leaks(forked: Mapping[str, Any]) -> bool:
    """Tell whether the forks left something behind, or the parent touched the card."""
    more = forked["grown"]
    return bool(
        forked["cuda_in_parent"]
        or more["parent_bytes"] > _LEAK_BYTES
        or more["parent_descriptors"] > 0
        or more["device_bytes"] > _DEVICE_LEAK_BYTES
    )


def _print(isolation: str, found: Mapping[str, Any]) -> None:
    phases = "  ".join(f"{name} {seconds:.3f}" for name, seconds in found["seconds"].items())
    more = found["grown"]
    print(f"{isolation:<6} n={found['count']:<3} median s: {phases}")
    print(
        f"       left behind: parent {more['parent_bytes'] / _MIB:+.1f} MiB, "
        f"{more['parent_descriptors']:+d} descriptors, device {more['device_bytes'] / _MIB:+.1f} MiB"
    )


if __name__ == "__main__":
    sys.exit(main())
