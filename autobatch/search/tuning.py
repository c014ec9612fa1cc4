"""The second stage: DataLoader workers and the eval batch of the best configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autobatch.search.budget import Budget
from autobatch.search.desk import Desk
from autobatch.search.evaluation import EvalStage
from autobatch.search.facts import Fact
from autobatch.search.judge import Core, latest
from autobatch.search.loader import LoaderStage, faster_value
from autobatch.search.seams import Observer
from autobatch.settings import EVAL_BATCH, PIN_MEMORY, PREFETCH, WORKERS, Scalar
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
    for name in (PREFETCH, PIN_MEMORY):
        measured = _with(desk, fact, tuned)
        if name in desk.space.searched and (measured.configuration[WORKERS] or name != PREFETCH):
            tuned |= {name: faster_value(desk, budget, measured, name)}
    if EVAL_BATCH in desk.space.searched:
        observer.stage("eval")
        stage = EvalStage(desk, budget, workload=workload)
        chosen = stage.run(fact.configuration.replace(tuned), carried=fact.samples_per_s)
        size = chosen.configuration[EVAL_BATCH] if chosen else stage.untried_below(fact.configuration)
        tuned |= {} if size is None else {EVAL_BATCH: size}
    return tuned


def no_larger(tuned: Mapping[str, Scalar], lowered: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
    """Return the settings with none larger than what had to be lowered before."""
    held = {name: value for name, value in lowered.items() if int(value) <= int(tuned.get(name, value))}
    return {**tuned, **held}


def _with(desk: Desk, fact: Fact, tuned: Mapping[str, Scalar]) -> Fact:
    """Return the last fact of a configuration with the settings found so far; the given one where there is none."""
    configuration = fact.configuration.replace(tuned)
    return next((one for one in reversed(desk.facts) if one.ok and one.configuration == configuration), fact)
