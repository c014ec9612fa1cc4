"""The second stage: DataLoader workers and the eval batch of the best configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autobatch.search.budget import Budget
from autobatch.search.desk import Desk
from autobatch.search.evaluation import EvalStage
from autobatch.search.judge import Core, latest
from autobatch.search.loader import LoaderStage
from autobatch.search.seams import Observer
from autobatch.settings import EVAL_BATCH, WORKERS, Scalar
from autobatch.workload.spec import Workload


def tune(desk: Desk, best: Core | None, budget: Budget, observer: Observer, workload: Workload) -> Mapping[str, Scalar]:
    """Return the loader and eval settings that suit the best configuration; empty where there is none."""
    fact = latest(desk.facts, best) if best is not None else None
    if fact is None:
        return {}
    tuned: dict[str, Any] = {}
    if WORKERS in desk.space.searched:
        observer.stage("loader")
        workers = LoaderStage(desk, budget).run(fact)
        tuned |= {} if workers is None else {WORKERS: workers}
    if EVAL_BATCH in desk.space.searched:
        observer.stage("eval")
        stage = EvalStage(desk, budget, workload=workload)
        chosen = stage.run(fact.configuration.replace(tuned), carried=fact.samples_per_s)
        tuned |= {} if chosen is None else {EVAL_BATCH: chosen.configuration[EVAL_BATCH]}
    return tuned
