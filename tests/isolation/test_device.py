from __future__ import annotations

import pytest

from autobatch.isolation import device
from autobatch.isolation.device import DeviceWatch
from autobatch.machine.gpus import Gpu, GpuLostError

MIB = 1 << 20


class Card:
    """A card whose readings the test sets."""

    gpu = Gpu(0, "card", "GPU-1", 80 << 30, (9, 0), "1")

    def __init__(self):
        self.used = 500 * MIB
        self.pids = [7]
        self.events = []

    def memory_used_bytes(self):
        if isinstance(self.used, Exception):
            raise self.used
        return self.used

    def process_ids(self):
        return self.pids

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
