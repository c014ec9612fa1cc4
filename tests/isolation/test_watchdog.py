from __future__ import annotations

import os

import pytest

from autobatch.isolation import proc
from autobatch.isolation.watchdog import POLL_S, Watchdog, headroom_bytes

GIB = 1 << 30


class Machine:
    """Free memory and a clock that moves with every reading."""

    def __init__(self, readings):
        self.readings = iter(readings)
        self.now = 0.0

    def room(self):
        return next(self.readings)

    def clock(self):
        self.now += POLL_S
        return self.now


def watchdog(readings, limit=None):
    machine = Machine(readings)
    return Watchdog(list, limit, room=machine.room, clock=machine.clock)


def test_it_waits_while_there_is_room():
    guard = watchdog([8 * GIB, 8 * GIB, 7 * GIB + GIB // 2])
    assert [guard.must_stop(), guard.must_stop()] == [False, False]


def test_it_stops_with_a_share_of_the_room_left():
    guard = watchdog([8 * GIB, int(0.06 * 8 * GIB), int(0.049 * 8 * GIB)])
    assert [guard.must_stop(), guard.must_stop()] == [False, True]


def test_the_faster_memory_goes_the_more_is_kept():
    """At 20 GiB/s a reading later is 0.4 GiB later, and a kill takes longer still."""
    slow = watchdog([8 * GIB, int(0.8 * GIB)])
    assert not slow.must_stop()
    fast = watchdog([8 * GIB, int(1.2 * GIB), int(0.8 * GIB)])
    assert [fast.must_stop(), fast.must_stop()] == [False, True]


def test_a_limit_of_its_own_counts_the_trees_memory():
    held = proc.anonymous_bytes(os.getpid())
    tight = Watchdog(lambda: [os.getpid()], held + (64 << 20), room=lambda: 1 << 40)
    assert tight.must_stop()
    wide = Watchdog(lambda: [os.getpid()], held + 4 * GIB, room=lambda: 1 << 40)
    assert not wide.must_stop()


def test_headroom_is_within_the_machine():
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < headroom_bytes() < total


@pytest.mark.parametrize("limit", [None, 1 << 40])
def test_an_empty_tree_leaves_the_room_as_it_is(limit):
    assert watchdog([GIB, GIB], limit).distance_bytes() == GIB
