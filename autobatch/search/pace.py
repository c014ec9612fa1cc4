"""The time prior of a workload on a card, from shapes alone."""

from __future__ import annotations

import math

from autobatch.estimate import compute, memory
from autobatch.estimate.cards import Card
from autobatch.estimate.memory import TRAINER, Loop
from autobatch.search.effects import effect
from autobatch.search.prior import FLOOR, SLOPE, Pace, PaceOf
from autobatch.settings import MICRO_BATCH, PRECISION, QUANTIZATION, Configuration
from autobatch.workload.spec import Workload

LARGE = 1024
"""A micro-batch at which the device is the bound."""
TYPICAL_TFLOPS = 150.0
"""Peak assumed of a card that is not in the catalogue, or that lacks the precision."""


def pace_of(workload: Workload, card: Card, loop: Loop = TRAINER) -> PaceOf:
    """Return the time prior of every arm.

    Raises:
        UsageError: on a call, where the model's architecture is not known.

    """
    nameless = Card(card.name, card.title, card.memory_bytes, {})
    source, target = memory.longest_tokens(workload)

    def counted(arm: Configuration) -> Pace:
        # launches do not depend on the micro-batch: one simulation, which is kept, tells both
        many = arm.replace({MICRO_BATCH: LARGE})
        floor = compute.predict_time(workload, many, nameless, loop=loop)
        if card.tflops.get(str(arm[PRECISION])):
            found = compute.predict_time(workload, many, card, loop=loop)
            return Pace(floor.seconds, found.seconds / LARGE, found.rel_sigma)
        flops = compute.flops_per_sample(workload, arm, source, target, recompute=True)
        return Pace(floor.seconds, flops / (TYPICAL_TFLOPS * 1e12), floor.rel_sigma)

    return lambda arm: _quantized(counted(arm), arm)


def _quantized(pace: Pace, arm: Configuration) -> Pace:
    """Slow a quantised arm by what dequantisation costs, which is not counted; what else it moves is."""
    if arm[QUANTIZATION] == "none":
        return pace
    mean = effect((QUANTIZATION, arm[QUANTIZATION])).mean
    return Pace(pace.floor_s * math.exp(mean[FLOOR]), pace.sample_s * math.exp(mean[SLOPE]), pace.rel_sigma)
