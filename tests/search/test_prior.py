"""What is believed of arms before any probe."""

import numpy as np
import pytest

from autobatch.search.prior import FIXED, KIN, PER_SAMPLE, build
from autobatch.settings import Configuration

GIB = 2**30
PLAIN, EIGHT_BIT, HALF, WIDE = range(4)
ARMS = [
    Configuration({"precision": precision, "optim": optim})
    for precision, optim in (
        ("bf16", "adamw_torch_fused"),
        ("bf16", "adamw_8bit"),
        ("fp16", "adamw_torch_fused"),
        ("tf32", "adamw_torch_fused"),
    )
]


class Need:
    rel_sigma = 0.1

    def __init__(self, configuration):
        self.bytes = (4 + 0.5 * configuration.micro_batch) * GIB


@pytest.fixture
def correlation():
    covariance = build(ARMS, (1, 16), Need).covariance
    sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    return covariance / (sd[:, :, None] * sd[:, None, :])


@pytest.mark.parametrize(
    ("figure", "other", "alike"),
    [
        (PER_SAMPLE, EIGHT_BIT, True),
        (PER_SAMPLE, HALF, True),
        (PER_SAMPLE, WIDE, False),
        (FIXED, EIGHT_BIT, False),
        (FIXED, HALF, True),
        (FIXED, WIDE, False),
    ],
)
def test_arms_share_what_a_setting_between_them_has_no_part_in(correlation, figure, other, alike):
    assert (correlation[figure, PLAIN, other] > KIN) == alike
    assert correlation[figure, PLAIN, other] < 1
