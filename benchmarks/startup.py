"""From the request for a probe to the end of its first optimizer step, forked against cold, by phase.

    python -m benchmarks.startup [--model tiny|PRESET] [--quantization nf4] [--forks 50] [--json FILE]

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
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from autobatch import settings
from autobatch.isolation import proc
from autobatch.isolation.runner import ProbeRunner
from autobatch.machine.gpus import Device, list_gpus, open_device
from autobatch.request import Limits, Plan
from autobatch.settings import Configuration
from autobatch.workload import presets
from autobatch.workload.spec import Lengths, Model, Workload

TINY = Workload(
    Model(
        "tiny",
        "",
        "causal",
        {
            "model_type": "llama",
            "vocab_size": 256,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 128,
        },
    ),
    lengths=Lengths((16,) * 5),
    max_source_length=16,
    effective_batch=4,
)
_PLAN = Plan(purpose="worst_case", max_seconds=300.0)
"""Two steps on the longest batch, and nothing timed."""
_MIB = 2**20
_LEAK_BYTES = 32 * _MIB
_DEVICE_LEAK_BYTES = 64 * _MIB


@dataclass
class Journal:
    """Stands for the ledger."""

    facts: dict[str, Any] = field(default_factory=dict)

    def started(self, facts: Mapping[str, Any]) -> None:
        """Remember the process."""
        self.facts = dict(facts)

    def sample(self, facts: Mapping[str, Any]) -> None:
        """Nothing is lost when this process dies."""

    def intent(self, reason: str) -> None:
        """Nothing is lost when this process dies."""


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


def workload_of(name: str, method: str | None, quantization: str | None) -> tuple[Workload, Configuration]:
    """Return the workload and the configuration that is started."""
    workload = TINY if name == "tiny" else presets.load(name)
    chosen = {
        settings.METHOD: method or workload.method,
        settings.QUANTIZATION: quantization or workload.quantization,
        settings.PRECISION: "fp32" if name == "tiny" else "bf16",
        settings.WORKERS: 0,
    }
    return workload, Configuration(chosen)


def measure(
    runner: ProbeRunner, configuration: Configuration, count: int, gpu: Device | None
) -> tuple[list[dict[str, float]], dict[str, int]]:
    """Start so many probes; return the seconds of each by phase, and what the parent and the card hold more after."""
    runner.parent.ensure()
    # the first probe warms the file cache and the kernels' caches on disk
    _start(runner, configuration)
    before = Held.read(runner, gpu)
    phases = [_start(runner, configuration) for _ in range(count)]
    return phases, Held.read(runner, gpu).grown_since(before)


def _start(runner: ProbeRunner, configuration: Configuration) -> dict[str, float]:
    verdict = runner.run(configuration, _PLAN, Journal())
    phases = dict(verdict.measurements.startup_s)
    if "first_step" not in phases:
        sys.exit(f"No first step: {verdict.kind}: {json.dumps(verdict.evidence, indent=1)}")
    return phases


def medians(phases: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each phase, and of their sum."""
    names = dict.fromkeys(name for one in phases for name in one)
    found = {name: statistics.median(one.get(name, 0.0) for one in phases) for name in names}
    return {**found, "total": statistics.median(sum(one.values()) for one in phases)}


def main() -> int:
    """Print the phases of both, and what 50 forks left behind; exit with 1 on a leak."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--model", default="tiny", help="tiny, or a preset")
    parser.add_argument("--method", choices=("full", "lora"), help="over the preset's")
    parser.add_argument("--quantization", choices=("none", "int8", "nf4"), help="over the preset's")
    parser.add_argument("--forks", type=int, default=50)
    parser.add_argument("--cold", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    workload, configuration = workload_of(options.model, options.method, options.quantization)
    gpu = open_device(0) if list_gpus() else None
    report: dict[str, Any] = {
        "command": sys.argv[1:],
        "date": time.strftime("%Y-%m-%d"),
        "device": gpu.gpu.name if gpu else "cpu",
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "load": os.getloadavg()[0],
        "model": options.model,
        "configuration": configuration.to_dict(),
    }
    ways: tuple[tuple[Literal["fork", "spawn"], int], ...] = (("fork", options.forks), ("spawn", options.cold))
    for isolation, count in ways:
        with (
            tempfile.TemporaryDirectory(prefix="startup-") as folder,
            ProbeRunner(
                workload,
                device="cuda:0" if gpu else "cpu",
                limits=Limits(),
                work_dir=folder,
                isolation=isolation,
                gpu=gpu,
            ) as runner,
        ):
            phases, grown = measure(runner, configuration, count, gpu)
            report[isolation] = {
                "seconds": medians(phases),
                "count": count,
                "grown": grown,
                "import_s": runner.parent.facts["import_s"],
                "cuda_in_parent": runner.parent.facts["cuda"],
            }
            _print(isolation, report[isolation])
    report["times_faster"] = report["spawn"]["seconds"]["total"] / report["fork"]["seconds"]["total"]
    print(f"forked is {report['times_faster']:.1f} times faster than cold")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return int(leaks(report["fork"]))


def leaks(forked: Mapping[str, Any]) -> bool:
    """Tell whether the forks left something behind, or the parent touched the card."""
    grown = forked["grown"]
    return bool(
        forked["cuda_in_parent"]
        or grown["parent_bytes"] > _LEAK_BYTES
        or grown["parent_descriptors"] > 0
        or grown["device_bytes"] > _DEVICE_LEAK_BYTES
    )


def _print(isolation: str, found: Mapping[str, Any]) -> None:
    phases = "  ".join(f"{name} {seconds:.3f}" for name, seconds in found["seconds"].items())
    grown = found["grown"]
    print(f"{isolation:<6} n={found['count']:<3} median s: {phases}")
    print(
        f"       left behind: parent {grown['parent_bytes'] / _MIB:+.1f} MiB, "
        f"{grown['parent_descriptors']:+d} descriptors, device {grown['device_bytes'] / _MIB:+.1f} MiB",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
