from types import SimpleNamespace

import pytest

from autobatch.probe.measure import waiting_s
from autobatch.request import Limits, Plan, ProbeRequest
from autobatch.settings import WORKERS, Configuration


@pytest.fixture
def waiting(workload):
    """Seconds that a step of 4 micro-batches, made in 0.5 s each, waits for one worker, of 1.2 s of compute."""

    def waiting(waits):
        batches = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4, WORKERS: 1}
        request = ProbeRequest(workload("bart"), Configuration(batches), Plan("confirm"), Limits(), "cpu", "/nowhere")
        recorder = SimpleNamespace(waits=waits, wait_s=sum(waits) / max(1, len(waits)))
        material = SimpleNamespace(clock=SimpleNamespace(batch_s=0.5))
        return waiting_s(SimpleNamespace(request=request, recorder=recorder, material=material), 1.2)

    return waiting


def test_whole_steps_that_were_timed_tell_what_they_waited(waiting):
    assert waiting([0.3, 0.5]) == pytest.approx(0.4)


def test_where_none_was_timed_whole_the_workers_speed_tells_it(waiting):
    assert 4 * 0.5 - 1.2 <= waiting([]) < 4 * 0.5
