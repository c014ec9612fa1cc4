"""What `autobatch.probe()` costs a training step, outside a search and in one.

python -m benchmarks.instrument [--json FILE]

The calls are timed by themselves, many at a time, against the median step of a small loop on the CPU: on a machine that
others use too, the difference of two runs of the loop would be their noise.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from autobatch.instrument import Absent
from autobatch.probe.device import HostMeter
from autobatch.probe.outcome import Progress
from autobatch.probe.script_loop import LoopProbe
from autobatch.request import Limits, Plan, ProbeRequest
from autobatch.settings import Configuration
from autobatch.workload.spec import Model, Workload

CALLS = 400
STEPS = 60
WIDTH = 512
LIMIT = 0.01


def step_s() -> float:
    """Return the median seconds of a step of a small network: a short one, against which a cost shows."""
    model = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.ReLU(), nn.Linear(4 * WIDTH, WIDTH))
    optimizer = torch.optim.AdamW(model.parameters())
    inputs, times = torch.randn(64, WIDTH), []
    for _ in range(STEPS):
        start = time.perf_counter()
        model(inputs).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def call_s(call: Callable[[], object]) -> float:
    """Return the mean seconds of a call over many, the looks at the estimate among them."""
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - start) / CALLS


def in_a_search(folder: Path) -> LoopProbe:
    """Return a probe that never has enough."""
    workload = Workload(Model("loop", "loop", "causal"))
    plan = Plan(max_seconds=1e9, precision_target=0.0)
    request = ProbeRequest(workload, Configuration(), plan, Limits(), "cpu", str(folder))
    return LoopProbe(request, HostMeter(None), Progress(folder))


def main() -> None:
    """Print the table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    step = step_s()
    with tempfile.TemporaryDirectory() as folder:
        costs = {"outside a search": call_s(Absent().step), "in a search": call_s(in_a_search(Path(folder)).step)}
    rows = [
        {"where": where, "call_us": 1e6 * cost, "step_ms": 1e3 * step, "share": cost / step}
        for where, cost in costs.items()
    ]
    for row in rows:
        print("{where:<18}{call_us:>9.2f} us a step of {step_ms:.2f} ms: {share:.3%}".format_map(row))
    print(f"limit {LIMIT:.0%}: {'met' if max(costs.values()) < LIMIT * step else 'missed'}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
