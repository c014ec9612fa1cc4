"""Stop a probe before the kernel must, where it has no cgroup of its own.

Rule: the headroom kept is larger than the fastest growth seen times what passes between a reading and a dead process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from autobatch.isolation import proc
from autobatch.machine import cgroups, memory
from autobatch.machine.cgroups import Group

POLL_S = 0.02
_KILL_LATENCY_S = 0.03
_FASTEST_BYTES_PER_S = 2.5e9
"""One core touching fresh pages; a tree of processes that is faster is found out by its readings."""
_SHARE_KEPT = 0.05


def headroom_bytes(group: Group | None = None) -> int:
    """Return what a probe could take now before a container's limit, or the machine's memory, is reached.

    Args:
        group: our memory cgroup, for whoever asks often; it is looked up where not given.

    """
    limits = [memory.physical(), *memory.group_limits(group or cgroups.read().memory)]
    return min(limit.free_bytes for limit in limits)


class Watchdog:
    """Follows how far the nearest limit is, and how fast it comes nearer.

    Args:
        tree: returns the processes that are held against `limit_bytes`.
        limit_bytes: a limit of their own; None for none.
        room: reads what is free before any other limit, in bytes; None for the machine's own.
        clock: monotonic seconds.

    """

    def __init__(
        self,
        tree: Callable[[], list[int]],
        limit_bytes: int | None,
        room: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._room = room or partial(headroom_bytes, cgroups.read().memory)
        self._tree = tree
        self._limit = limit_bytes
        self._clock = clock
        self._last: tuple[float, int] | None = None
        self._fastest = _FASTEST_BYTES_PER_S
        self._started_with = self.distance_bytes()

    def distance_bytes(self) -> int:
        """Return how much may still be taken before the nearest limit."""
        return min(self._room(), self._own_distance())

    def must_stop(self) -> bool:
        """Take a reading; tell whether the next one might come too late."""
        now, distance = self._clock(), self.distance_bytes()
        if self._last is not None and now > self._last[0]:
            self._fastest = max(self._fastest, (self._last[1] - distance) / (now - self._last[0]))
        self._last = now, distance
        return distance < max(self.kept_bytes(), _SHARE_KEPT * self._started_with)

    def kept_bytes(self) -> float:
        """Return the headroom that the rule asks for."""
        return self._fastest * (POLL_S + _KILL_LATENCY_S)

    def _own_distance(self) -> int:
        if self._limit is None:
            return 1 << 62
        pids = self._tree()
        rough = self._limit - sum(map(proc.resident_bytes, pids))
        if rough > self._fastest * (POLL_S + _KILL_LATENCY_S):
            return rough
        # near the limit it is worth the dearer reading, which counts shared pages once
        return self._limit - sum(map(proc.anonymous_bytes, pids))
