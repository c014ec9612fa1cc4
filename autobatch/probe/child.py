"""The probe's process: runs one request from its folder, and leaves the outcome there whatever happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from autobatch.probe.build import build_model
from autobatch.probe.conductor import Conductor
from autobatch.probe.device import open_meter, prepare_environment
from autobatch.probe.material import make_material
from autobatch.probe.measure import flags, measurements, worker_bytes
from autobatch.probe.outcome import Progress, write_outcome
from autobatch.probe.recorder import Recorder
from autobatch.probe.schedule import parts
from autobatch.probe.training import make_trainer
from autobatch.request import ProbeRequest
from autobatch.verdict import Measurements

OK = 0
FAILED = 1


def main(folder: str) -> int:
    """Run `request.json` of a folder and write `outcome.json` there.

    Returns:
        0 if the probe ran to its end, 1 if it failed; the outcome says why.

    """
    path = Path(folder)
    progress = Progress(path)
    progress.enter("start")
    try:
        request = ProbeRequest.from_json((path / "request.json").read_text(encoding="utf-8"))
        found, marks = run(request, progress)
    except BaseException as error:  # noqa: BLE001 - whatever ends a probe is its outcome
        write_outcome(path, progress.phase, Measurements(), {}, error)
        return FAILED
    write_outcome(path, progress.phase, found, marks)
    return OK


class Stopwatch:
    """Seconds of each phase of the start."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what is done within."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def run(request: ProbeRequest, progress: Progress) -> tuple[Measurements, dict[str, bool]]:
    """Run one probe and return its measurements and flags; what fails is raised."""
    started, watch = time.monotonic(), Stopwatch()
    prepare_environment(request)
    progress.enter("build")
    meter = open_meter(request)
    with watch.phase("context"):
        meter.start()
    torch.manual_seed(request.seed)
    with watch.phase("build"):
        device = torch.device("cpu" if request.device == "cpu" else "cuda")
        model = build_model(request.workload, request.configuration, device)
        meter.synchronize()
    with watch.phase("trainer"):
        material = make_material(request, model)
        recorder = Recorder(material.order.costs, material.order.expected_cost)
        conductor = Conductor(parts(request, started), recorder, meter, progress)
        trainer = make_trainer(request, model, material, recorder, conductor, meter)
    model.register_forward_pre_hook(progress.beat)
    begun = time.perf_counter()
    if request.plan.purpose == "inference":
        progress.enter("eval")
        meter.reset()
        trainer.evaluate()
    else:
        trainer.train()
        watch.seconds["first_step"] = (recorder.first_step_end or begun) - begun
    found = measurements(request, conductor, recorder, material, meter, watch.seconds, worker_bytes())
    return found, flags(request, conductor, meter, found)
