"""Faults injected on purpose, and what became of them.

A part is a module of this package with a function `run(folder, scale)`, which yields a `Line` for each kind of fault;
`folder` is scratch space, `scale` (1.0 for the published figures) multiplies the numbers of faults.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        fault: what was injected.
        injected: how often.
        right: how often the outcome was the right one.
        lost: acknowledged rows lost, orphans left, killers repeated, or false verdicts: must be 0.
        seconds: wall clock.
        notes: what the right outcome was, and figures of interest.

    """

    fault: str
    injected: int
    right: int
    lost: int
    seconds: float
    notes: str = ""


def scaled(number: int, scale: float) -> int:
    """Return a number of faults at a scale, at least one."""
    return max(1, round(number * scale))
