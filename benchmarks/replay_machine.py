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
    """Slow a row by what bounds it, or by the other where that is the bound there."""
    if not row.micro_step_s:
        return row
    floor_s, sample_s = min(steps.values()), steps[max(steps)] / max(steps)
    flat = row.micro_step_s <= FLAT_WITHIN * floor_s
    launches_s = slowness.launches * (row.micro_step_s if flat else floor_s)
    device_s = slowness.device * (sample_s * row.batch if flat else row.micro_step_s)
    step_s = max(launches_s, device_s)
    first_s = (row.first_steps_s or 0.0) * step_s / row.micro_step_s
    return replace(row, micro_step_s=step_s, first_steps_s=first_s)
