"""Lengths that come for the first time."""

import numpy as np
import pytest

from autobatch.probe.newness import first_seen, new_lengths

PADDED = np.array([[10, 5], [12, 5], [10, 6], [10, 5], [13, 7]])


def test_every_length_is_new_once():
    assert first_seen(PADDED).sum(axis=1).tolist() == [2, 1, 1, 0, 2]


def test_no_target_is_no_length():
    assert first_seen(np.array([[10, 0], [10, 0], [11, 0]])).tolist() == [[True, False], [False, False], [True, False]]


@pytest.mark.parametrize(("micro_steps", "share"), [(1, 2.0), (0.4, 2.0), (4, 1.0), (5, 1.2), (600, 0.01)])
def test_the_longer_a_training_the_fewer_are_new(micro_steps, share):
    assert new_lengths(PADDED, micro_steps) == pytest.approx(share)
