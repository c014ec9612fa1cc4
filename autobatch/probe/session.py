"""All parts of one probe, put together."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from autobatch.probe.build import base_of, build_model
from autobatch.probe.conductor import Conductor
from autobatch.probe.device import Meter, open_meter
from autobatch.probe.material import Material, make_material
from autobatch.probe.outcome import Progress
from autobatch.probe.recorder import Recorder
from autobatch.probe.sampler import ProbeSampler
from autobatch.probe.schedule import parts
from autobatch.request import ProbeRequest
from autobatch.settings import COMPILE


@dataclass
class Stopwatch:
    """Seconds of each phase of the start."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what is done within."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class Session:
    """A probe that is ready to train."""

    request: ProbeRequest
    meter: Meter
    model: Any
    """An `nn.Module`; None where a script has it, which may make another when it trains: the first must go then."""
    material: Material
    recorder: Recorder
    conductor: Conductor


def beat_with(model: nn.Module, request: ProbeRequest, progress: Progress) -> None:
    """Show that it moves at every forward pass, every token that is generated among them."""
    if request.configuration[COMPILE]:
        return  # a compiler would trace into the hook
    for module in {model, base_of(model)}:
        module.register_forward_pre_hook(progress.beat)


def open_session(request: ProbeRequest, progress: Progress, watch: Stopwatch) -> Session:
    """Start the device, build the model and prepare the data."""
    started = time.monotonic()
    progress.enter("build")
    meter = open_meter(request)
    with watch.phase("context"):
        meter.start()
    torch.manual_seed(request.seed)
    with watch.phase("build"):
        model = build_model(request.workload, request.configuration, torch.device(request.device.partition(":")[0]))
        meter.synchronize()
    progress.beat()
    with watch.phase("trainer"):
        material = make_material(request, model)
    recorder = Recorder(material.order.costs, material.order.expected_cost)
    sampler = ProbeSampler(material.order)
    conductor = Conductor(parts(request, started), recorder, meter, progress, sampler, material.clock)
    beat_with(model, request, progress)
    return Session(request, meter, model, material, recorder, conductor)
