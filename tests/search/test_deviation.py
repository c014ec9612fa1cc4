"""Deviations from an arm's curve: what a measurement tells of a configuration's kin."""

import numpy as np
import pytest

from autobatch.search.deviation import Deviation, kin_of
from autobatch.search.posterior import AFFINE_MISFIT, AFFINE_NOISE
from autobatch.search.prior import KIN

FUSED, PAGED, OTHER = range(3)
DEVICE_BOUND = np.zeros(3)
CURVES = np.zeros((3, 1))


@pytest.fixture
def kin(space):
    same = space.at({"precision": "bf16"}, 8)
    return kin_of([same, same.replace({"optim": "paged_adamw_8bit"}), space.at({"precision": "bf16"}, 16)])


def deviation(kin, *measured):
    return Deviation(kin, DEVICE_BOUND, np.array(measured, dtype=int), np.full(len(measured), AFFINE_NOISE**2))


def test_the_optimizer_alone_makes_no_stranger(kin):
    assert kin[FUSED] == kin[PAGED] != kin[OTHER]


def test_a_measurement_moves_its_kin_nearly_as_far_and_no_other(kin):
    moved = deviation(kin, FUSED).corrected(CURVES, np.array([0.1]))[:, 0]
    trust = AFFINE_MISFIT**2 / (AFFINE_MISFIT**2 + AFFINE_NOISE**2)
    assert moved == pytest.approx([0.1 * trust, 0.1 * trust * KIN, 0.0])


def test_kin_differ_less_than_strangers_do(kin):
    before, after = deviation(kin).apart(FUSED), deviation(kin, FUSED).apart(FUSED)
    assert before == pytest.approx([0.0, 2 * (1 - KIN) * AFFINE_MISFIT**2, 2 * AFFINE_MISFIT**2])
    assert after[OTHER] < before[OTHER]
    assert after[PAGED] < 0.2 * after[OTHER]


def test_both_of_two_kin_that_were_measured_count(kin):
    alone = deviation(kin, FUSED).corrected(CURVES, np.array([0.1]))[FUSED, 0]
    both = deviation(kin, FUSED, PAGED).corrected(CURVES, np.array([0.1, 0.1]))
    assert both[FUSED, 0] == pytest.approx(both[PAGED, 0])
    assert both[FUSED, 0] > alone
