from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat

import pytest

from autobatch.errors import MachineError
from autobatch.isolation import device
from autobatch.isolation.device import DeviceWatch
from autobatch.machine.gpus import Gpu, GpuLostError, GpuProcess, GpuUnsupportedError

MIB = 1 << 20
FAILED = MachineError("NVML: Unknown Error.", "Check that `nvidia-smi` works here.")


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
        used = next(self.used) if isinstance(self.used, Iterator) else self.used
        if isinstance(used, Exception):
            raise used
        return used

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
    monkeypatch.setattr(device, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(device, "_AGAIN_S", 0.01)
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


def test_a_lost_card_is_not_waited_for(card, monkeypatch):
    monkeypatch.setattr(device, "_RELEASE_S", 60.0)
    watch = DeviceWatch(card)
    card.used = GpuLostError("NVML: GPU is lost.", "Look at dmesg.")
    assert watch.finish().others_after_bytes is None


def test_a_reading_that_fails_leaves_the_last_one_standing(card):
    watch = DeviceWatch(card)
    card.used, card.pids = 4500 * MIB, [7, 100]
    watch.sample([100])
    card.used = card.pids = FAILED
    assert watch.sample([100]) == 4000 * MIB
    card.used, card.pids = 500 * MIB, [7]
    facts = watch.finish()
    assert (facts.peak_used_bytes, facts.others_moved_in, facts.lost) == (4000 * MIB, False, None)


def test_a_card_that_does_not_tell_at_the_end_marks_nothing(card):
    watch = DeviceWatch(card)
    card.used = 4500 * MIB
    watch.sample([])
    card.used = FAILED
    facts = watch.finish()
    assert (facts.others_after_bytes, facts.others_moved_in, facts.peak_used_bytes) == (None, False, 4000 * MIB)


def test_a_last_reading_that_fails_is_taken_again(card):
    watch = DeviceWatch(card)
    card.used = chain([FAILED, 4500 * MIB, FAILED], repeat(500 * MIB))
    facts = watch.finish()
    assert (facts.others_after_bytes, facts.others_moved_in) == (500 * MIB, False)


def test_a_first_reading_that_fails_is_taken_again(card):
    card.used = chain([FAILED, FAILED], repeat(500 * MIB))
    watch = DeviceWatch(card)
    assert watch.finish().others_before_bytes == 500 * MIB


def test_what_others_had_before_is_unknown_where_the_card_did_not_tell_and_no_peak_is_made_of_it(card):
    card.used = FAILED
    watch = DeviceWatch(card)
    card.used = 4500 * MIB
    assert watch.sample([]) is None
    facts = watch.finish()
    assert (facts.others_before_bytes, facts.peak_used_bytes, facts.others_moved_in) == (None, None, False)


def test_processes_that_were_not_told_before_are_no_strangers_later(card):
    card.pids = FAILED
    watch = DeviceWatch(card)
    card.pids = [7, 8, 9]
    watch.sample([100])
    assert not watch.finish().others_moved_in
