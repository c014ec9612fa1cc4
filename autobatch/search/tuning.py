"""The second stage: DataLoader workers and the eval batch of the best configuration."""

from __future__ import annotations

from collections.abc import Mapping

from autobatch.search.budget import Budget
from autobatch.search.desk import Desk
from autobatch.search.judge import Core, latest
from autobatch.search.seams import Observer
from autobatch.settings import Scalar


def tune(desk: Desk, best: Core | None, budget: Budget, observer: Observer) -> Mapping[str, Scalar]:
    """Return the loader and eval settings that suit the best configuration; empty where there is none."""
    fact = latest(desk.facts, best) if best is not None else None
    if fact is None or not budget.left_s:
        return {}
    observer.stage("loader")
    return {}
