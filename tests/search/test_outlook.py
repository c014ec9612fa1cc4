import math

import pytest

from autobatch.request import Limits
from autobatch.search.facts import Fact
from autobatch.search.outlook import Outlook
from autobatch.verdict import Kind, Measurements, Verdict

GIB = 2**30


@pytest.mark.parametrize("kind", [Kind.CUDA_OOM_TRAIN, Kind.TIMEOUT, Kind.HANG, Kind.HOST_OOM])
@pytest.mark.parametrize("seen_gib", [0.0002, 3.0])
def test_what_a_probe_had_taken_when_it_broke_off_is_no_need(space, kind, seen_gib):
    """From outside such a probe may have been seen before it began to allocate."""

    def needs(measured):
        outlook = Outlook(space, space.grid(), Limits(24 * GIB, 0.85, 60 * GIB))
        tried = space.at({"precision": "bf16", "gradient_checkpointing": False}, 24)
        outlook.learn([Fact(0, tried, "search", "probe", Verdict(kind, measured))])
        return outlook.log_bytes

    assert needs(Measurements(device_peak_used_bytes=round(seen_gib * GIB))) == pytest.approx(needs(Measurements()))


def test_a_probe_over_the_limit_tells_its_need(space):
    outlook = Outlook(space, space.grid(), Limits(24 * GIB, 0.85, 60 * GIB))
    tried = space.at({"precision": "bf16", "gradient_checkpointing": False}, 24)
    verdict = Verdict(Kind.OVER_LIMIT, Measurements(device_peak_used_bytes=23 * GIB))
    outlook.learn([Fact(0, tried, "search", "probe", verdict)])
    assert math.exp(outlook.log_bytes[space.grid().index(tried)]) / GIB == pytest.approx(23.0, rel=0.05)
