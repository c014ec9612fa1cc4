import logging
from types import SimpleNamespace

import pytest
import torch

from autobatch.export.chosen import Chosen
from autobatch.export.frozen import save
from autobatch.probe import callback as module
from autobatch.probe.callback import Callback
from autobatch.settings import Configuration
from autobatch.verdict import Measurements
from autobatch.workload.spec import Model, Workload


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(module.time, "perf_counter", lambda: now.seconds)
    return now


@pytest.fixture
def make(tmp_path, monkeypatch):
    def make(peak=100, **promised):
        monkeypatch.setattr(module, "device_peak_bytes", lambda *_: peak)
        workload = Workload(Model("toy", "toy/toy", "causal", {"model_type": "gpt2"}))
        save(Chosen("toy", 1, Configuration(), Measurements(**promised), workload), tmp_path / "best.yaml")
        return Callback(tmp_path / "best.yaml")

    return make


def train(callback, clock, times):
    arguments = SimpleNamespace(device=torch.device("cpu"))
    for seconds in times:
        clock.seconds += seconds
        callback.on_step_end(arguments, None, None)


def test_it_is_silent_while_the_promise_is_kept(make, clock, caplog):
    callback = make(step_s=1.0, device_peak_used_bytes=100)

    train(callback, clock, [30, 9, 9] + [1.1] * 40)

    assert callback.warned == set()
    assert callback.step_s == pytest.approx(1.1)
    assert not caplog.records


def test_it_warns_once_when_steps_are_slower(make, clock, caplog):
    callback = make(step_s=1.0)

    with caplog.at_level(logging.WARNING, "autobatch"):
        train(callback, clock, [1] * 5 + [1.3] * 40)

    assert callback.warned == {"time"}
    assert len(caplog.records) == 1
    assert "1.3 s/step, where 1 were promised" in caplog.text


def test_a_doubtful_promise_has_a_wider_band(make, clock):
    callback = make(step_s=1.0, micro_step_rel_error=0.2)

    train(callback, clock, [1.3] * 40)

    assert callback.warned == set()


def test_it_warns_when_memory_leaves_the_band(make, clock, caplog):
    callback = make(peak=2 * 2**30, device_peak_used_bytes=2**30)

    with caplog.at_level(logging.WARNING, "autobatch"):
        train(callback, clock, [1] * 4)

    assert callback.warned == {"memory"}
    assert "2.0 GiB of device memory, where at most 1.0 GiB" in caplog.text


@pytest.mark.parametrize("event", ["on_evaluate", "on_save", "on_epoch_end"])
def test_the_step_around_other_work_is_not_timed(make, clock, event):
    callback = make(step_s=1.0)
    train(callback, clock, [1] * 10)

    getattr(callback, event)(None, None, None)
    train(callback, clock, [500, 1, 1])

    assert set(callback.step_times) == {1}


def test_the_peak_is_that_of_the_process():
    assert module.device_peak_bytes(torch.device("cpu"), 0) > 2**20
