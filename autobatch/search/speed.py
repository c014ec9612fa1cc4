"""How fast this host and this device are against what shapes say, as studies of other models showed it.

The time prior errs for two reasons: a model's own, and the machine's, which every model meets. A study of another model
shows the sum of both, so only the share that is expected to be the machine's moves the prior, and it stays the wider
the more surprising the study was: the first probe may prove it wrong.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autobatch.search import earlier, prior
from autobatch.search.earlier import TIME_SD, Past, Study
from autobatch.search.facts import Fact
from autobatch.search.posterior import Posterior
from autobatch.search.prior import FLOOR, HOST_SD, SLOPE, Array, Pace, PaceOf
from autobatch.settings import MICRO_BATCH
from autobatch.workload.spec import Workload

PaceFor = Callable[[Workload], PaceOf | None]
"""Makes the time prior of any workload on this machine; None where there is none."""
LARGEST_MODELS = 6
"""Only the newest are learned from: the machine's share is known well enough by then."""
LARGEST_SHIFT = math.log(2)
"""So far at most do studies move the prior: beyond, something else may have slowed them, and a probe is surer."""


@dataclass(frozen=True)
class Speed:
    """By how much micro-steps are longer than shapes say: logarithms of the launches' share and of the device's."""

    mean: Array
    variance: Array

    def of(self, pace: PaceOf) -> PaceOf:
        """Return the time prior of this machine."""
        floor, slope = np.exp(self.mean)
        host_sd, device_sd = np.sqrt(self.variance)

        def here(pace: Pace) -> Pace:
            return Pace(pace.floor_s * floor, pace.sample_s * slope, pace.rel_sigma, host_sd, device_sd)

        return lambda arm: here(pace(arm))


UNKNOWN = Speed(np.zeros(2), np.full(2, HOST_SD**2))


def corrected(pace: PaceOf | None, pace_for: PaceFor | None, past: Past) -> PaceOf | None:
    """Return the time prior after what other models' studies on this device tell of it."""
    if pace is None or pace_for is None:
        return pace
    return learned(_others(past), pace_for).of(pace)


def learned(studies: Sequence[Study], pace_for: PaceFor) -> Speed:
    """Return what these studies tell of the machine; one that cannot be understood is left out."""
    speed = UNKNOWN
    for study in studies:
        with contextlib.suppress(Exception):  # nothing in an old study is worth a search
            pace = pace_for(study.workload)
            timed = [fact for fact in study.facts() if 0 < (fact.verdict.measurements.micro_step_s or 0) < math.inf]
            if pace and timed:
                speed = after(speed, pace, timed)
    # another day, other versions: however many studies agree
    return speed if speed is UNKNOWN else replace(speed, variance=speed.variance + TIME_SD**2)


def _others(past: Past) -> list[Study]:
    """Return the newest study of every other model, oldest first: a model errs in all its studies alike."""
    newest: dict[str, Study] = {}
    for study in earlier.studies(past):
        # a script does what its shapes do not tell
        if study.same_device and not study.workload.script and not earlier.alike(study.workload, past.workload):
            newest.pop(study.workload.model.name, None)
            newest[study.workload.model.name] = study
    return list(newest.values())[-LARGEST_MODELS:]


def after(before: Speed, pace: PaceOf, facts: Sequence[Fact]) -> Speed:
    """Return what is known of the machine after the timed facts of one model, whose time prior `pace` is."""
    arms = list(dict.fromkeys(fact.configuration.arm for fact in facts))
    plain = {fact.configuration.arm: fact.configuration.replace({MICRO_BATCH: 1}) for fact in facts}
    expected = prior.build([plain[arm] for arm in arms], (1, 2), None, before.of(pace))
    posterior = Posterior(expected, seed=0)
    posterior.update(earlier.observations(arms, facts))
    lessons = [
        _lesson(float(variance), expected.covariance[figure], moved, posterior.weights)
        for figure, variance in zip((FLOOR, SLOPE), before.variance, strict=True)
        for moved in [posterior.samples[figure] - expected.mean[figure][:, None]]
    ]
    shift, variance = np.array(lessons).T
    mean = np.clip(before.mean + shift, -LARGEST_SHIFT, LARGEST_SHIFT)
    return Speed(mean, np.minimum(variance, UNKNOWN.variance))


def _lesson(common: float, covariance: Array, moved: Array, weights: Array) -> tuple[float, float]:
    """Return by how much what all arms have in common moved, and the variance that is left of it.

    Args:
        common: its variance beforehand.
        covariance: of the arms' figures beforehand, (arms, arms).
        moved: how far the measurements moved them, (arms, samples).
        weights: of the samples.

    """
    pull = np.linalg.solve(covariance, np.full(len(covariance), common))
    told = pull @ moved
    shift = float(told @ weights)
    explained = common * float(pull.sum())
    surprise = shift**2 / explained
    left = common - explained + float((told - shift) ** 2 @ weights)
    return shift, left * max(1.0, surprise)
