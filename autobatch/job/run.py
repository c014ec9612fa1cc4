"""Run a job: everything put together, one search from its request to its answer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from autobatch import attributes
from autobatch.estimate import memory
from autobatch.isolation.runner import ProbeRunner
from autobatch.job.gate import CardGate, WorkClock
from autobatch.job.prepare import Prepared, prepare
from autobatch.job.request import Job
from autobatch.machine.gpus import Device, open_device
from autobatch.review.live import View
from autobatch.review.picture import Scene
from autobatch.search.engine import Search
from autobatch.search.prior import Predict
from autobatch.search.seams import open_gate
from autobatch.store import open_storage
from autobatch.store.ledger import Ledger
from autobatch.store.lock import GpuLock
from autobatch.store.recovery import recover
from autobatch.workload.spec import Workload


def run(
    job: Job,
    view: View,
    *,
    check: Callable[[], None] = open_gate,
    clock: WorkClock | None = None,
    known: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Run the search that the job asks for, and return its answer, JSON-ready.

    Args:
        job: what was asked for.
        view: looks on.
        check: called before each probe and while waiting for the card; it may wait, or raise `StopSearch`.
        clock: counts the budget; it stands still while the search waits.
        known: told the study's name once it is known.

    Raises:
        AutobatchError: what cannot be done, in two lines; all that was measured is kept.

    """
    prepared = prepare(job)
    known(prepared.study)
    clock = clock or WorkClock()
    for note in prepared.workload.notes:
        view.message(note)
    with Ledger.open(job.database) as ledger, _storage(job.database) as storage:
        # an orphan of a killed search holds the card's lock until it is found and ended
        recover(ledger, storage)
        gpu = prepared.machine.gpu
        card = open_device(gpu.uuid) if gpu else None
        gate = CardGate(card, prepared.limits.device_bytes or 0, clock, view.message, check)
        with GpuLock(prepared.identity), _runner(job, prepared, card) as runner, view:
            view.begin(Scene(prepared.workload.model.name, job.budget_s, prepared.limits))
            search = Search(
                workload=prepared.workload,
                space=prepared.space,
                runner=runner,
                storage=storage,
                limits=prepared.limits,
                study_name=prepared.study,
                ledger=ledger,
                sampler_name=job.sampler,
                budget_s=job.budget_s,
                seed=job.seed,
                observer=view,
                clock=clock,
                gate=gate,
                threshold=job.threshold,
                predict=shape_prior(prepared.workload, prepared.device),
                phase=job.phase,
                machine=prepared.machine.to_dict(),
            )
            result = search.run()
    return {
        **result.to_dict(),
        attributes.WORKLOAD: prepared.workload.to_dict(),
        attributes.LIMITS: asdict(prepared.limits),
        "database": job.database,
    }


@contextlib.contextmanager
def _storage(database: str) -> Iterator[Any]:
    storage = open_storage(database)
    try:
        yield storage
    finally:
        storage.engine.dispose()


def _runner(job: Job, prepared: Prepared, card: Device | None) -> ProbeRunner:
    return ProbeRunner(
        prepared.workload,
        device=prepared.device,
        limits=prepared.limits,
        work_dir=Path(f"{job.database}.probes") / prepared.study,
        isolation=cast("Literal['fork', 'spawn']", job.isolation),
        seed=job.seed,
        gpu=card,
    )


def shape_prior(workload: Workload, device: str) -> Predict | None:
    """Return the memory prior of a search, or None where shapes say little: on the CPU, or for an unknown model."""
    if device == "cpu" or not workload.model.config:
        return None

    return partial(memory.predict, workload)
