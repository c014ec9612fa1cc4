import pytest

from autobatch.errors import MachineError
from autobatch.job import gate
from autobatch.job.gate import CardGate, WorkClock
from autobatch.machine.gpus import GpuLostError
from autobatch.search.seams import StopSearch
from autobatch.units import GIB

FAILED = MachineError("The driver failed.", "Try again.")


class Card:
    """A card whose readings are given: used bytes and load, the last of them for ever."""

    def __init__(self, used, load=(0.0,), *, nameless=False):
        self.nameless = nameless
        self._used, self._load = list(used), list(load)

    def memory_used_bytes(self):
        used = self._used.pop(0) if len(self._used) > 1 else self._used[0]
        if isinstance(used, Exception):
            raise used
        return used

    def memory_total_bytes(self):
        return 80 * GIB

    def utilization(self):
        return self._load.pop(0) if len(self._load) > 1 else self._load[0]

    def process_ids(self):
        if self.nameless:
            raise FAILED
        return [4242]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(gate, "POLL_S", 0.01)
    monkeypatch.setattr(gate.time, "sleep", lambda _: None)


def through(card, needed=0, check=lambda: None):
    said = []
    CardGate(card, needed, WorkClock(), said.append, check)()
    return said


def test_a_free_card_is_not_waited_for():
    assert through(Card([0])) == []
    assert through(None) == []


def test_memory_of_others_is_waited_out_and_said_once():
    said = through(Card([40 * GIB, 40 * GIB, 40 * GIB, 0]))
    assert said[0] == "waiting for the card: 40.0 GiB of it are in use by process 4242"
    assert len(said) == 2
    assert said[1].startswith("the card is free after")


def test_a_smaller_search_fits_beside_others():
    assert through(Card([40 * GIB]), needed=24 * GIB) == []


def test_load_of_others_is_waited_out_and_one_reading_is_no_load():
    assert through(Card([0], [0.9, 0.0])) == []
    assert "busy" in through(Card([0], [0.9] * 6 + [0.0]))[0]


def test_a_person_can_end_the_waiting():
    def check():
        raise StopSearch

    with pytest.raises(StopSearch):
        through(Card([40 * GIB]), check=check)


def test_the_clock_stands_still_while_waiting(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(gate.time, "monotonic", lambda: now[0])
    clock = WorkClock()
    before = clock()
    with clock.waiting():
        now[0] += 50
    assert clock() == before
    now[0] += 3
    assert clock() == before + 3


def test_a_wait_within_a_wait_counts_once(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(gate.time, "monotonic", lambda: now[0])
    clock = WorkClock()
    before = clock()
    with clock.waiting():
        now[0] += 5
        with clock.waiting():
            now[0] += 7
            assert clock.is_waiting
            assert clock() == before
    assert not clock.is_waiting
    assert clock() == before


def test_whoever_asks_is_told_what_it_waits_for_and_when_it_goes_on():
    told = []
    CardGate(Card([40 * GIB, 40 * GIB, 0]), 0, WorkClock(), lambda _: None, waits=told.append)()
    assert told == ["waiting for the card: 40.0 GiB of it are in use by process 4242", ""]


def test_a_driver_that_fails_for_a_moment_is_asked_again():
    assert through(Card([FAILED, FAILED, 0])) == []
    assert "in use" in through(Card([40 * GIB, FAILED, 0], nameless=True))[0]


def test_a_driver_that_goes_on_failing_ends_the_search(monkeypatch):
    monkeypatch.setattr(gate, "PATIENCE_S", 0.01)
    with pytest.raises(MachineError):
        through(Card([FAILED]))


def test_a_lost_card_is_not_waited_for():
    lost = GpuLostError("The GPU is lost.", "Restart the host.")
    with pytest.raises(GpuLostError):
        through(Card([lost, 0]))
