"""Every preset builds and trains one step, its parameter count beside the published one.

    python -m benchmarks.one_step [--presets NAME ...] [--device cuda:0] [--meta] [--seconds S] [--json FILE]

`--meta` checks the counts alone and allocates nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from autobatch.request import Limits, Plan, ProbeRequest
from autobatch.settings import Configuration
from autobatch.workload import presets
from autobatch.workload.spec import Workload
from benchmarks.common import Deadline, Record, parser
from benchmarks.forks import import_once, in_fork, tail

GIB = 2**30


@dataclass
class Row:
    """One preset."""

    preset: str
    method: str
    quantization: str
    published: int | None
    parameters: int | None = None
    trainable: int | None = None
    build_s: float | None = None
    step_s: float | None = None
    loss: float | None = None
    peak_gib: float | None = None
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether it ran (or was not asked to) and the counts are equal."""
        return not self.error and self.parameters == self.published


def count(workload: Workload) -> dict[str, Any]:
    """Return the parameter count of the architecture, nothing allocated."""
    import torch

    from autobatch.probe.skeleton import parameter_count, skeleton

    return {"parameters": parameter_count(skeleton(workload.model, torch.bfloat16))}


def request(workload: Workload, device: str, folder: str) -> ProbeRequest:
    """Return the request of one step at micro-batch 1, as the preset trains."""
    configuration = Configuration(
        method=workload.method,
        quantization=workload.quantization,
        precision="fp32" if device == "cpu" else "bf16",
        dataloader_num_workers=0,
    )
    return ProbeRequest(workload, configuration, Plan(), Limits(), device, folder)


def step(workload: Workload, device: str, folder: str) -> None:
    """Build, train one step, and write the figures to `row.json` in a folder."""
    from autobatch.probe.device import prepare_environment
    from autobatch.probe.outcome import Progress
    from autobatch.probe.session import Stopwatch, open_session
    from autobatch.probe.skeleton import parameter_count
    from autobatch.probe.training import make_trainer

    asked, watch = request(workload, device, folder), Stopwatch()
    prepare_environment(asked)
    session = open_session(asked, Progress(Path(folder)), watch)
    trainer = make_trainer(session)
    trainer.args.max_steps = 1
    begun = time.perf_counter()
    trainer.train()
    named = session.model.named_parameters()
    adapters = sum(p.numel() for name, p in named if "lora_" in name or "modules_to_save" in name)
    row = {
        "parameters": parameter_count(session.model) - adapters,
        "trainable": sum(p.numel() for p in session.model.parameters() if p.requires_grad),
        "build_s": watch.seconds["build"],
        "step_s": time.perf_counter() - begun,
        "loss": session.recorder.loss(),
        "peak_gib": session.meter.peak().used / GIB,
    }
    Path(folder, "row.json").write_text(json.dumps(row))


def measure(name: str, device: str, timeout_s: float, *, meta: bool) -> Row:
    """Return the row of one preset; what goes wrong is in it."""
    workload = presets.load(name)
    row = Row(name, workload.method, workload.quantization, workload.model.parameters)
    if meta:
        return Row(**{**asdict(row), **count(workload)})
    with TemporaryDirectory() as folder:
        log = Path(folder, "log.txt")
        status = in_fork(partial(step, workload, device, folder), log, timeout_s)
        if status != 0:
            row.error = "timed out" if status is None else tail(log)
            return row
        return Row(**{**asdict(row), **json.loads(Path(folder, "row.json").read_text())})


def line(row: Row) -> str:
    """Return a row of the table."""
    figures = (row.build_s, row.step_s, row.loss, row.peak_gib)
    shown = " ".join(f"{'-' if figure is None else f'{figure:.2f}':>8}" for figure in figures)
    same = "equal" if row.parameters == row.published else f"published {row.published}"
    return f"{row.preset:30} {row.quantization:>5} {row.parameters or '-':>13} {same:>8} {shown} {row.error}"


def command() -> argparse.ArgumentParser:
    """Return the command line."""
    made = parser(__doc__, seconds=600.0)
    made.add_argument("--presets", nargs="*", default=[], help="all unless given")
    made.add_argument("--meta", action="store_true", help="check the parameter counts alone")
    made.add_argument("--timeout-s", type=float, default=120, help="of one preset")
    return made


def main() -> int:
    """Run every preset and print the table; exit with 1 where one failed or was left out."""
    options = command().parse_args()
    deadline, record, rows = Deadline(options.seconds), Record(options.json, "benchmarks.one_step"), []
    import_once()
    for name in options.presets or presets.names():
        timeout_s = min(options.timeout_s, deadline.left_s)
        rows.append(measure(name, options.device, timeout_s, meta=options.meta))
        record.keep(device=options.device, rows=[asdict(row) for row in rows])
    print(f"{'preset':30} {'base':>5} {'parameters':>13} {'':8} {'build s':>8} {'step s':>8} {'loss':>8} {'GiB':>8}")
    print(*map(line, rows), sep="\n")
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
