"""Another machine, emulated: a recorded surface whose launches and whose device take longer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from autobatch.settings import OPTIM, Scalar
from benchmarks.replay_surfaces import FLAT_WITHIN, Row, Surface


@dataclass(frozen=True)
class Slowness:
    """By which factor the launches and the device take longer than on the recorded machine."""

    launches: float = 1.0
    device: float = 1.0


def slowed(surface: Surface, slowness: Slowness) -> Surface:
    """Return the surface as that machine would show it; memory is the same."""
    steps: dict[tuple[Scalar, ...], dict[int, float]] = defaultdict(dict)
    for row in surface.rows:
        if row.micro_step_s:
            steps[_alike(row)][row.batch] = row.micro_step_s
    return replace(surface, rows=tuple(_row(row, steps[_alike(row)], slowness) for row in surface.rows))


def _alike(row: Row) -> tuple[Scalar, ...]:
    """Return what a micro-step depends on beside its size: the optimizer has no part in it."""
    return tuple(value for name, value in row.arm.items() if name != OPTIM)


def _row(row: Row, steps: Mapping[int, float], slowness: Slowness) -> Row:
    """Slow a row: launches bound the flat part and what an affine step starts with, the device each sample of it."""
    if not row.micro_step_s:
        return row
    floor_s, sample_s, start_s = _curve(steps)
    flat = row.micro_step_s <= FLAT_WITHIN * floor_s
    if not flat:
        start_s = max(row.micro_step_s - sample_s * row.batch, 0.0)
        sample_s = (row.micro_step_s - start_s) / row.batch
    launches_s = slowness.launches * (row.micro_step_s if flat else floor_s)
    step_s = max(launches_s, slowness.launches * start_s + slowness.device * sample_s * row.batch)
    first_s = (row.first_steps_s or 0.0) * step_s / row.micro_step_s
    return replace(row, micro_step_s=step_s, first_steps_s=first_s)


def _curve(steps: Mapping[int, float]) -> tuple[float, float, float]:
    """Return the floor, and slope and start of the affine part through the two largest batches."""
    floor_s, (*_, small, large) = min(steps.values()), (0, *sorted(steps))
    sample_s = max(steps[large] - steps.get(small, 0.0), 0.0) / (large - small)
    start_s = steps[large] - sample_s * large
    return (floor_s, sample_s, start_s) if start_s >= 0 else (floor_s, steps[large] / large, 0.0)
