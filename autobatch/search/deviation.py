"""How far each configuration's micro-step is from its arm's curve, as far as measurements of it and of its kin tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autobatch.search.posterior import Places, misfit
from autobatch.search.prior import KIN, Array
from autobatch.search.samplers import core
from autobatch.settings import OPTIM, Configuration


def kin_of(candidates: Sequence[Configuration]) -> Places:
    """Return a number for each candidate, the same for those that differ by their optimizer alone."""
    alike = [core(candidate.replace({OPTIM: ""})) for candidate in candidates]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(alike))}
    return np.array([numbers[key] for key in alike], dtype=np.int64)


class Deviation:
    """Deviations of all candidates, a Gaussian in the logarithm of the micro-step, given some that were measured.

    Args:
        kin: as of `kin_of`.
        flat: 1 where launches are the bound, 0 where the device is, by candidate.
        measured: places of the candidates that were measured.
        variance: of each one's measured micro-step, as a share squared.

    """

    def __init__(self, kin: Places, flat: Array, measured: Places, variance: Array) -> None:
        self._kin, self._sd = kin, misfit(flat)
        self._measured = measured
        self._told = self._with(measured)
        known = self._told[measured] + np.diag(variance)
        self._trust: Array = np.linalg.solve(known, self._told.T).T.astype(np.float64)
        self._variance: Array = self._sd**2 - (self._trust * self._told).sum(1)

    def corrected(self, curves: Array, micro_step: Array) -> Array:
        """Move candidates from their arms' curves towards what was measured.

        Args:
            curves: log micro-steps by the curves, (candidates, samples).
            micro_step: log micro-steps measured.

        """
        moved: Array = curves + self._trust @ (micro_step[:, None] - curves[self._measured])
        return moved

    def apart(self, best: int) -> Array:
        """Return the variance that is left of the difference between each candidate's deviation and the best's."""
        shared = self._with(np.array([best]))[:, 0] - self._trust @ self._told[best]
        left: Array = np.maximum(self._variance + self._variance[best] - 2 * shared, 0.0)
        return left

    def _with(self, places: Places) -> Array:
        """Return the covariance of all candidates with some, beforehand."""
        kin = self._kin[:, None] == self._kin[places]
        same = np.arange(len(self._sd))[:, None] == places
        covariance: Array = np.outer(self._sd, self._sd[places]) * (KIN * kin + (1 - KIN) * same)
        return covariance
