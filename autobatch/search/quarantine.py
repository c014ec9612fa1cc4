"""What must not be tried: what was running when the machine died, and whatever needs at least as much."""

from __future__ import annotations

from collections.abc import Sequence

from autobatch.search.prior import Predict
from autobatch.settings import Configuration


def allowed(
    candidates: Sequence[Configuration],
    quarantined: Sequence[Configuration],
    predict: Predict | None,
) -> tuple[Configuration, ...]:
    """Return the candidates that need less memory than every quarantined configuration."""
    return tuple(c for c in candidates if not any(_needs_as_much(c, bad, predict) for bad in quarantined))


def _needs_as_much(candidate: Configuration, bad: Configuration, predict: Predict | None) -> bool:
    if candidate.arm == bad.arm:
        return candidate.micro_batch >= bad.micro_batch
    return predict is not None and predict(candidate).bytes >= predict(bad).bytes
