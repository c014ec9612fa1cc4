"""The memory of the device."""

import os
import time

import pytest
import torch

from autobatch.probe import device as devices
from autobatch.probe.device import LIBRARIES_BYTES, CudaMeter, HostMeter, open_meter, prepare_environment
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

    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")

    prepare_environment(request_of(device))

    assert os.environ["CUDA_VISIBLE_DEVICES"] == left
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


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


class Card:
    """A card of 80 GB on which others hold 1 GB; a context takes 0.5 GB."""

    def __init__(self):
        self.used = 1e9
        self.reserved = 0
        self.fraction = None

    def memory_used_bytes(self):
        return int(self.used + self.reserved)

    def energy_j(self):
        return 5.0

    def utilization(self):
        return 0.9


@pytest.fixture
def card(monkeypatch):
    """Put a card behind torch.cuda and NVML."""
    made = Card()
    cuda = {
        "synchronize": lambda *_: setattr(made, "used", 1.5e9),
        "get_device_properties": lambda _: type("P", (), {"total_memory": int(80e9), "name": "NVIDIA H100"}),
        "set_per_process_memory_fraction": lambda fraction, _: setattr(made, "fraction", fraction),
        "memory_reserved": lambda _: made.reserved,
        "max_memory_reserved": lambda _: made.reserved,
        "max_memory_allocated": lambda _: made.reserved // 2,
        "memory_stats": lambda _: {"num_alloc_retries": 3},
        "empty_cache": lambda: setattr(made, "reserved", made.reserved // 2),
        "reset_peak_memory_stats": lambda _: None,
    }
    for name, function in cuda.items():
        monkeypatch.setattr(torch.cuda, name, function)
    monkeypatch.setattr(devices, "open_device", lambda _: made)
    return made


@pytest.mark.parametrize(("cap", "total"), [(None, 80e9), (24e9, 24e9), (100e9, 80e9)])
def test_the_allocator_is_capped_with_context_and_libraries_subtracted(cap, total, card):
    meter = CudaMeter(None if cap is None else int(cap))
    meter.start()

    assert meter.total_bytes == total
    assert card.fraction * 80e9 == pytest.approx(total - 0.5e9 - LIBRARIES_BYTES)
    assert card.fraction < 1


def test_the_peak_is_what_is_reserved_and_the_context_without_the_neighbours(card):
    meter = CudaMeter(None)
    meter.start()
    card.used, card.reserved = 2.2e9, int(10e9)

    peak = meter.peak()

    assert (peak.reserved, peak.allocated, peak.context, peak.retries) == (10e9, 5e9, pytest.approx(1.2e9), 3)
    assert peak.used == pytest.approx(11.2e9)
    assert (meter.energy_j(), meter.utilization(), meter.card) == (5.0, 0.9, "NVIDIA H100")


def test_what_is_cached_does_not_hide_what_the_next_part_needs(card):
    meter = CudaMeter(None)
    meter.start()
    card.reserved = int(10e9)

    meter.reset()
    assert meter.peak().reserved == 10e9
    meter.part_over()
    assert meter.peak().reserved == 5e9


class Event:
    """An event of a stream whose clock is turned by hand; what is recorded is reached `lag_ms` later."""

    now_ms, lag_ms = 0.0, 0.0

    def __init__(self, *, enable_timing):
        assert enable_timing
        self.at_ms = 0.0

    def record(self):
        self.at_ms = Event.now_ms + Event.lag_ms

    def query(self):
        return Event.now_ms >= self.at_ms

    def synchronize(self):
        Event.now_ms = max(Event.now_ms, self.at_ms)

    def elapsed_time(self, other):
        return other.at_ms - self.at_ms


def test_a_moment_of_the_card_is_told_once_it_has_come(monkeypatch, card):  # noqa: ARG001 - stands behind torch.cuda
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(devices.time, "perf_counter", lambda: 100.0)
    monkeypatch.setattr(Event, "lag_ms", 500.0)
    meter = CudaMeter(None)

    moment = meter.moment()
    assert moment() is None
    monkeypatch.setattr(Event, "now_ms", 1000.0)
    assert moment() == pytest.approx(100.5)
    later = meter.moment()
    monkeypatch.setattr(Event, "now_ms", 2000.0)
    assert later() - moment() == pytest.approx(0.5)


def test_a_moment_of_the_host_has_come():
    meter = HostMeter(None)
    first = meter.moment()
    assert first() <= meter.moment()()


@pytest.mark.gpu
def test_moments_have_the_time_of_the_cards_work():
    meter = CudaMeter(None)
    meter.start()
    matrix = torch.randn(8192, 8192, device="cuda")
    meter.synchronize()
    before, begun = meter.moment(), time.perf_counter()
    for _ in range(100):
        matrix = matrix @ matrix / 8192
    after, launched_s = meter.moment(), time.perf_counter() - begun
    assert after() is None
    meter.synchronize()
    worked_s = time.perf_counter() - begun
    assert launched_s < after() - before() == pytest.approx(worked_s, rel=0.1)
