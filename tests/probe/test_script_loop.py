"""A loop on a device that goes on beside the host, and what it is told of its settings."""

import time

import pytest

from autobatch.probe.device import Peak
from autobatch.probe.outcome import Progress
from autobatch.probe.script_loop import LoopProbe
from autobatch.probe.script_loop_look import Look
from autobatch.request import Limits, Plan, ProbeRequest
from autobatch.settings import Configuration
from autobatch.workload.spec import Model, Workload

STEP_S = 0.05


class Beside:
    """A device whose work takes a while, and is launched at once."""

    total_bytes = 2**40
    busy_until = 0.0

    def launch(self):
        self.busy_until = max(self.busy_until, time.perf_counter()) + STEP_S

    def peak(self):
        return Peak(1)

    def reset(self):
        pass

    def synchronize(self):
        time.sleep(max(0.0, self.busy_until - time.perf_counter()))

    def moment(self):
        at = self.busy_until
        return lambda: at if time.perf_counter() >= at else None


@pytest.fixture
def loop(tmp_path):
    def loop(meter=None, **settings):
        workload = Workload(Model("script", "script", "causal"))
        request = ProbeRequest(workload, Configuration(settings), Plan(), Limits(), "cpu", str(tmp_path))
        return LoopProbe(request, meter, Progress(tmp_path))

    return loop


def test_the_first_timed_step_is_as_long_as_the_others(loop):
    device = Beside()
    probe = loop(device)
    for _ in range(5):
        device.launch()
        probe.step()
    device.synchronize()

    probe.recorder.estimate()

    assert probe.recorder.micro_steps == pytest.approx([STEP_S] * 2, rel=0.5)


def test_a_setting_is_of_the_kind_that_the_loop_has(loop):
    probe = loop(dataloader_prefetch_factor=4, dataloader_num_workers=2)

    assert probe.setting("dataloader_prefetch_factor", None) == 4
    assert probe.setting("dataloader_prefetch_factor", 2.0) == 4.0
    assert loop(dataloader_num_workers=0).setting("dataloader_prefetch_factor", 2) is None


def test_a_setting_that_is_none_is_the_usual_one():
    told = []
    look = Look(told.append)

    assert look.setting("dataloader_prefetch_factor", None) is None
    look.step()

    assert told[0]["settings"] == {"dataloader_prefetch_factor": 2}
