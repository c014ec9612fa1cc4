"""The memory of the device."""

import os

import pytest

from autobatch.probe.device import HostMeter, open_meter, prepare_environment
from autobatch.request import Limits, Plan, ProbeRequest
from autobatch.settings import Configuration


@pytest.fixture
def request_of(workload):
    """Make a request."""

    def make(device="cpu", limits=None, **settings):
        return ProbeRequest(workload("bart"), Configuration(settings), Plan(), limits or Limits(), device, "/nowhere")

    return make


@pytest.mark.parametrize(
    ("visible", "device", "left"),
    [(None, "cuda:1", "1"), ("4,7", "cuda:1", "7"), ("GPU-abc", "cuda:0", "GPU-abc"), (None, "cuda", "0")],
)
def test_one_card_is_left_visible(visible, device, left, request_of, monkeypatch):
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    prepare_environment(request_of(device))

    assert os.environ["CUDA_VISIBLE_DEVICES"] == left


def test_both_names_of_the_allocators_settings_agree(request_of, monkeypatch):
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        monkeypatch.setenv(name, "old")

    prepare_environment(request_of(pytorch_alloc_conf="expandable_segments:True"))

    assert os.environ["PYTORCH_ALLOC_CONF"] == os.environ["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"
    prepare_environment(request_of())
    assert "PYTORCH_ALLOC_CONF" not in os.environ


def test_the_hosts_peak_rises_and_is_forgotten():
    meter = HostMeter(None)
    meter.reset()
    before = meter.peak().used
    block = bytearray(64 << 20)
    del block
    risen = meter.peak().used
    meter.reset()

    assert risen >= before + (60 << 20)
    assert meter.peak().used < risen - (30 << 20)


def test_the_size_of_the_host_is_emulated(request_of):
    assert open_meter(request_of(limits=Limits(device_bytes=123))).total_bytes == 123
    assert open_meter(request_of()).total_bytes > 2**28
