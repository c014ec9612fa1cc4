from __future__ import annotations

import pytest

from autobatch.isolation import device
from autobatch.isolation.device import DeviceWatch
from autobatch.machine.gpus import Gpu, GpuLostError, GpuProcess, GpuUnsupportedError

MIB = 1 << 20


class Card:
    """A card whose readings the test sets."""

    gpu = Gpu(0, "card", "GPU-1", 80 << 30, (9, 0), "1")

    def __init__(self):
        self.used = 500 * MIB
        self.pids = [7]
        self.held = {}
        self.load = {}
        self.events = []

    def memory_used_bytes(self):
        if isinstance(self.used, Exception):
            raise self.used
        return self.used

    def processes(self):
        if isinstance(self.pids, Exception):
            raise self.pids
        return tuple(GpuProcess(pid, self.held.get(pid)) for pid in self.pids)

    def loads(self):
        if isinstance(self.load, Exception):
            raise self.load
        return self.load

    def xids(self):
        found, self.events = tuple(self.events), []
        return found


@pytest.fixture
def card(monkeypatch):
    monkeypatch.setattr(device, "_RELEASE_S", 0.1)
    return Card()


def test_peak_is_what_the_probe_added(card):
    watch = DeviceWatch(card)
    card.used, card.pids = 4500 * MIB, [7, 100]
    assert watch.sample([100]) == 4000 * MIB
    card.used, card.pids = 500 * MIB, [7]
    facts = watch.finish()
    assert facts.peak_used_bytes == 4000 * MIB
    assert facts.others_before_bytes == 500 * MIB
    assert not facts.others_moved_in


def test_a_stranger_is_seen_while_it_is_there(card):
    watch = DeviceWatch(card)
    card.pids = [7, 100, 200]
    watch.sample([100])
    card.pids = [7]
    assert watch.finish().others_moved_in


def test_a_stranger_is_seen_by_what_it_still_holds(card):
    watch = DeviceWatch(card)
    card.used += 300 * MIB
    assert watch.finish().others_moved_in


def test_our_own_process_under_a_number_from_outside_the_container_is_no_stranger(card):
    watch = DeviceWatch(card)
    card.pids = [7, 4001]
    watch.sample([100])
    assert not watch.finish().others_moved_in
    card.pids = [7, 4001, 4002]
    watch.sample([100])
    assert watch.finish().others_moved_in


def moved_in_after(card, watch, *looks):
    """Take a look with each memory and load of process 7, which was there before, and tell whether it was marked."""
    for held, load in looks:
        card.held, card.load = {7: held}, {7: load} if load else {}
        watch.sample([])
    return watch.finish().others_moved_in


@pytest.mark.parametrize(
    ("held", "marked"), [(300, False), (400, False), (428, False), (429, True), (100, False), (None, False)]
)
def test_a_process_that_was_there_is_seen_to_grow(card, held, marked):
    card.held = {7: 300 * MIB}
    watch = DeviceWatch(card)
    assert moved_in_after(card, watch, (held and held * MIB, 0), (300 * MIB, 0)) is marked


def test_growth_from_an_unknown_size_is_none(card):
    watch = DeviceWatch(card)
    assert not moved_in_after(card, watch, (2000 * MIB, 0))


def test_small_steps_of_growth_add_up(card):
    card.held = {7: 300 * MIB}
    watch = DeviceWatch(card)
    assert moved_in_after(card, watch, (400 * MIB, 0), (500 * MIB, 0))


@pytest.mark.parametrize(
    ("loads", "marked"),
    [
        ((0.9, 0.9), True),
        ((0.9, 0.0, 0.9), True),
        ((0.9,), False),
        ((0.2, 0.2, 0.2, 0.2), False),
        ((0.0, 0.1), False),
    ],
)
def test_a_process_that_was_there_is_seen_to_rise_from_idle(card, loads, marked):
    watch = DeviceWatch(card)
    assert moved_in_after(card, watch, *((None, load) for load in loads)) is marked


def test_a_process_that_was_at_work_before_does_not_rise(card):
    card.load = {7: 0.9}
    watch = DeviceWatch(card)
    assert not moved_in_after(card, watch, (None, 0.9), (None, 0.9), (None, 0.9))


def test_loads_are_not_asked_for_where_nobody_was_there(card, monkeypatch):
    card.pids = []
    watch = DeviceWatch(card)
    monkeypatch.setattr(card, "loads", lambda: pytest.fail("it takes milliseconds"))
    watch.sample([100])


def test_load_under_an_unknown_number_may_be_the_probes_own(card):
    watch = DeviceWatch(card)
    card.pids, card.load = [7, 4001], {4001: 1.0}
    for _ in range(5):
        watch.sample([100])
    assert not watch.finish().others_moved_in


def test_a_driver_that_tells_nothing_by_process_marks_nothing(card):
    card.pids = card.load = GpuUnsupportedError("NVML: Not Supported.", "A newer driver may tell.")
    watch = DeviceWatch(card)
    for _ in range(5):
        watch.sample([100])
    assert not watch.finish().others_moved_in


def test_a_lost_card_is_kept_in_its_words(card):
    watch = DeviceWatch(card)
    card.used = GpuLostError("NVML: GPU is lost.", "Look at dmesg.")
    watch.sample([])
    assert watch.finish().lost == "NVML: GPU is lost."


def test_driver_errors_from_before_are_not_the_probes(card):
    card.events = [31]
    watch = DeviceWatch(card)
    card.events = [79]
    assert watch.finish().xids == (79,)
