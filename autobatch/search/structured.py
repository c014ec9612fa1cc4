"""The structured sampler: probes what is expected to gain most per second of probing, given the chance that it fits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autobatch import attributes
from autobatch.request import Limits
from autobatch.search.budget import CONFIRMATION_COST
from autobatch.search.facts import Fact
from autobatch.search.judge import Core, failed
from autobatch.search.outlook import Outlook
from autobatch.search.prior import GIB, PaceOf, Predict
from autobatch.search.samplers import CandidateSampler, Decision, core
from autobatch.settings import Configuration, SearchSpace

SURE = 0.9
"""A candidate with at least this chance to fit is tried at once; a riskier one is approached from below."""
HOPELESS = 0.05
"""A candidate with less chance to fit is not tried."""


class StructuredSampler(CandidateSampler):
    """Models memory and time per arm, sharing what arms share, and corrects itself by every measurement.

    Args:
        space: what varies.
        candidates: arm and micro-batch pairs to choose from.
        limits: the card.
        predict: memory prior from shapes; None for none.
        pace: time prior from shapes; None for none.
        earlier: what ran in other studies of the same model.
        threshold: done when no probe is expected to gain this share.
        seed: of the posterior samples.

    """

    def __init__(
        self,
        space: SearchSpace,
        candidates: Sequence[Configuration],
        limits: Limits,
        predict: Predict | None = None,
        pace: PaceOf | None = None,
        *,
        threshold: float = 0.01,
        earlier: Sequence[Fact] = (),
        seed: int = 0,
    ) -> None:
        super().__init__(space, candidates, seed)
        self._threshold = threshold
        self._informed = predict is not None or pace is not None or bool(earlier)
        self._outlook = Outlook(space, self._candidates, limits, predict=predict, pace=pace, earlier=earlier, seed=seed)

    def decide(self, facts: Sequence[Fact]) -> Decision:
        """Return the probe with the most expected gain per second; none when what is left is not worth it."""
        view = self._outlook
        view.learn(facts)
        possible = (view.chance_to_fit >= HOPELESS) & ~view.tried
        if view.incumbent is None and not possible.any():
            if view.tried.any() or not self._candidates:
                return Decision(None, "nothing is expected to fit")
            smallest = int(np.argmin(view.log_bytes))  # a prior alone refuses nobody
            why = self._why(smallest, None, smallest)
            return Decision(self._candidates[smallest], "nothing is expected to fit", None, why)
        left = view.gain_of_all(possible) if view.incumbent is not None else None
        if left is not None and (left < self._threshold or not possible.any()):
            return Decision(None, f"{left:.1%} are left to gain", left)
        wanted = int(np.argmax(np.where(possible, view.gain / view.seconds, -np.inf)))
        index = self._step_below(wanted)
        return Decision(self._candidates[index], "most expected gain per second", left, self._why(index, left, wanted))

    def scores(self, facts: Sequence[Fact]) -> Mapping[Core, float]:
        """Return the expected throughput of every configuration that ran and never failed."""
        self._outlook.learn(facts)
        unsafe = failed(facts, self._space)
        ran = {core(f.configuration) for f in facts if f.ok and f.samples_per_s} - unsafe
        scores = np.exp(self._outlook.mean)
        return {core(c): float(scores[i]) for i, c in enumerate(self._candidates) if core(c) in ran}

    def contender(self, facts: Sequence[Fact], best: Core, settled: frozenset[Core]) -> Core | None:  # noqa: ARG002 - the seam
        """Return the measured configuration whose confirmation is expected to gain most, if that is worth it."""
        scores = self.scores(facts)
        gains = self._outlook.gains_over(best)
        worth = {key: gains[key] for key in scores if key != best}
        rival = max(worth, key=lambda key: worth[key], default=None)
        return rival if rival is not None and worth[rival] >= CONFIRMATION_COST * self._threshold else None

    def needs_bytes(self, facts: Sequence[Fact]) -> tuple[Configuration, float]:
        """Return the candidate that is expected to need least device memory, and how much."""
        self._outlook.learn(facts)
        index = int(np.argmin(self._outlook.log_bytes))
        return self._candidates[index], math.exp(self._outlook.log_bytes[index])

    def _step_below(self, index: int) -> int:
        """Return a surer candidate of the same arm where this one is near the edge and its arm not yet measured."""
        view = self._outlook
        if view.chance_to_fit[index] >= SURE or view.arm_is_measured[index]:
            return index
        same = np.flatnonzero((view.arm == view.arm[index]) & (view.batch < view.batch[index]) & ~view.tried)
        sure = [i for i in same if view.chance_to_fit[i] >= SURE]
        if sure:
            return int(max(sure, key=lambda i: view.batch[i]))
        return int(max([index, *same], key=lambda i: view.chance_to_fit[i]))

    def _why(self, index: int, left: float | None, wanted: int) -> dict[str, Any]:
        view = self._outlook
        throughput, peak = math.exp(view.mean[index]), math.exp(view.log_bytes[index]) / GIB
        chance, gain = float(view.chance_to_fit[index]), float(view.gain[index])
        told = f"{throughput:.3g} samples/s expected in {peak:.1f} GiB, {chance:.0%} to fit"
        if not self._informed and not view.tried.any():
            told = f"nothing is known of this model here; a guess is {told}"
        end = f"expected gain {gain:.1%}"
        if index != wanted:
            end = f"on the way to micro-batch {view.batch[wanted]:.0f}, {view.chance_to_fit[wanted]:.0%} to fit"
        return {
            attributes.WHY: f"{told}; {end}" if view.incumbent is not None else f"first: {told}",
            attributes.PREDICTED_SAMPLES_PER_S: throughput,
            attributes.PREDICTED_PEAK_GIB: round(peak, 3),
            attributes.CHANCE_TO_FIT: round(chance, 4),
            **({} if left is None else {attributes.LEFT_TO_GAIN: round(100 * left, 1)}),
        }
