"""Confidence intervals of a few measurements."""

from __future__ import annotations

_NORMAL_975 = 1.959964
_FEW_DEGREES_975 = {1: 12.706, 2: 4.303}


def student_975(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t: from 3 degrees on a Cornish-Fisher expansion, within 0.8 %."""
    z, n = _NORMAL_975, max(freedom, 1)
    if n in _FEW_DEGREES_975:
        return _FEW_DEGREES_975[n]
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / n + second / n**2 + third / n**3
