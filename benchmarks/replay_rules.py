"""The rules of other tools, as strategies over a replayed case: one arm, one setting.

Each takes the arms in the file's order and settles for the first in which anything fits, which is kinder than the
tools themselves: they fail where the user's own arm does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from autobatch.request import NullJournal, Plan
from autobatch.settings import Configuration
from autobatch.verdict import Verdict
from benchmarks.replay_surfaces import Replay

PLATEAU = 0.05
FILL = 0.6
FIT_SIZES = (1, 2, 4, 8, 16)


@dataclass
class Arm:
    """The micro-batches of one arm, ascending, probed at most once each."""

    replay: Replay
    configurations: Sequence[Configuration]
    seen: dict[int, Verdict] = field(default_factory=dict)

    def fits(self, index: int) -> bool:
        """Probe it, and tell whether it ran."""
        return self._verdict(index).ok

    def speed(self, index: int) -> float:
        """Return its samples/s; 0 where it did not run."""
        return self._verdict(index).measurements.samples_per_s or 0.0

    def used_bytes(self, index: int) -> int:
        """Return its device memory; 0 where it did not run."""
        return self._verdict(index).measurements.device_peak_used_bytes or 0

    def batch(self, index: int) -> int:
        """Return its micro-batch."""
        return self.configurations[index].micro_batch

    def next_at_most(self, index: int, batch: float) -> int | None:
        """Return the largest index above this one whose micro-batch is at most `batch`; else the next one."""
        above = range(index + 1, len(self.configurations))
        near = [i for i in above if self.batch(i) <= batch]
        return max(near, default=next(iter(above), None))

    def _verdict(self, index: int) -> Verdict:
        if index not in self.seen:
            self.seen[index] = self.replay.run(self.configurations[index], Plan(), NullJournal())
        return self.seen[index]


Rule = Callable[[Arm], int | None]
"""From an arm to the index of its choice; None where nothing in it fits."""


def shrink(arm: Arm) -> int | None:
    """Return the first that fits, from the largest down by a tenth each time."""
    index = len(arm.configurations) - 1
    while not arm.fits(index):
        smaller = [i for i in range(index) if arm.batch(i) <= 0.9 * arm.batch(index)]
        if not smaller:
            return None
        index = max(smaller)
    return index


def double(arm: Arm) -> int | None:
    """Return the last that fits, doubling from the smallest."""
    last, index = None, 0
    while arm.fits(index):
        last = index
        following = arm.next_at_most(index, 2 * arm.batch(index))
        if following is None:
            break
        index = following
    return last


def bisect(arm: Arm) -> int | None:
    """Return the largest that fits, by doubling and then bisection."""
    low = double(arm)
    if low is None:
        return None
    high = min((i for i in arm.seen if not arm.fits(i)), default=len(arm.configurations))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if arm.fits(middle) else (low, middle)
    return low


def double_until_slower(arm: Arm) -> int | None:
    """Return the last before throughput drops, doubling from the smallest."""
    best, index = None, 0
    while arm.fits(index) and (best is None or arm.speed(index) > arm.speed(best)):
        best = index
        following = arm.next_at_most(index, 2 * arm.batch(index))
        if following is None:
            break
        index = following
    return best


def fill(arm: Arm) -> int | None:
    """Return what a line through a few memory readings puts nearest below 60 % of the card; not tried itself."""
    sizes = [i for i in range(len(arm.configurations)) if arm.batch(i) in FIT_SIZES]
    read = [i for i in sizes if arm.fits(i)]
    if len(read) < 2:
        return read[0] if read else None
    slope, start = np.polyfit([arm.batch(i) for i in read], [arm.used_bytes(i) for i in read], 1)
    largest = (FILL * arm.replay.case.card_gib * 2**30 - start) / slope
    return max((i for i in range(len(arm.configurations)) if arm.batch(i) <= largest), default=read[0])


def plateau(arm: Arm) -> int | None:
    """Return the smallest after which throughput grows by less than 5 %, bisecting below the largest that fits."""
    largest = bisect(arm)
    if largest is None:
        return None
    low, high = 0, largest
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if arm.speed(high) < (1 + PLATEAU) * arm.speed(middle) else (middle, high)
    return high


RULES: dict[str, Rule] = {
    "largest-x0.9": shrink,
    "largest-doubling": double,
    "largest-bisection": bisect,
    "doubling-until-slower": double_until_slower,
    "fill-60%": fill,
    "plateau-5%": plateau,
}


def follow(rule: Rule, replay: Replay) -> Configuration | None:
    """Follow a rule through the arms, in the file's order, until something fits."""
    arms: dict[object, list[Configuration]] = {}
    for configuration in replay.candidates:
        arms.setdefault(configuration.arm, []).append(configuration)
    for configurations in arms.values():
        arm = Arm(replay, sorted(configurations, key=lambda c: c.micro_batch))
        index = rule(arm)
        if index is not None:
            return arm.configurations[index]
    return None
