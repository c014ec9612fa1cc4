"""How often a probe is looked at."""

import pytest

from autobatch.isolation.watch import group_poll_s

GIB = 1 << 30


@pytest.mark.parametrize(
    ("room", "cores", "seconds"),
    [
        (0, 2, 0.05),
        (GIB // 8, 2, 0.05),
        (GIB, 2, 0.087),
        (20 * GIB, 2, 0.25),
        (20 * GIB, 64, 0.066),
        (400 * GIB, 64, 0.25),
    ],
)
def test_the_less_room_there_is_the_sooner_it_is_looked_at_again(room, cores, seconds):
    assert group_poll_s(room, cores) == pytest.approx(seconds, abs=0.002)
