"""Run a job: everything put together, one search from its request to its answer."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, cast

from autobatch import attributes
from autobatch.errors import MachineError
from autobatch.estimate import cards, memory
from autobatch.isolation.parent import PreloadedParent
from autobatch.isolation.runner import ENTRY, ProbeRunner
from autobatch.job.gate import CardGate, WorkClock
from autobatch.job.prepare import SMALLEST_BUDGET_S, Asked, Prepared, prepare, read
from autobatch.job.request import Job
from autobatch.machine.gpus import Device, Gpu, open_device
from autobatch.probe.script_command import ENTRY as SCRIPT_ENTRY
from autobatch.review.live import View
from autobatch.review.picture import Scene
from autobatch.review.standing import LedgerWatch, known_best
from autobatch.search.engine import Search
from autobatch.search.pace import pace_of
from autobatch.search.prior import PaceOf, Predict
from autobatch.search.seams import open_gate
from autobatch.settings import Configuration
from autobatch.store import open_storage
from autobatch.store.ledger import Ledger
from autobatch.store.lock import GpuLock
from autobatch.store.recovery import recover
from autobatch.workload.spec import Lengths, Workload

SCRIPT_SIGMA = 0.3
"""Relative error of a script's predicted memory: its shapes are known, but not what else it does with them."""


def run(
    job: Job,
    view: View,
    *,
    check: Callable[[], None] = open_gate,
    clock: WorkClock | None = None,
    known: Callable[[str], None] = lambda _: None,
    waits: Callable[[str], None] = lambda _: None,
    candidates: Sequence[Configuration] | None = None,
) -> dict[str, Any]:
    """Run the search that the job asks for, and return its answer, JSON-ready.

    Args:
        job: what was asked for.
        view: looks on.
        check: called before each probe and while waiting for the card; it may wait, or raise `StopSearch`.
        clock: counts the budget; it stands still while the search waits.
        known: told the study's name once it is known.
        waits: told what the search waits for, and nothing when it goes on.
        candidates: what alone is tried; the whole space unless given.

    Raises:
        AutobatchError: what cannot be done, in two lines; all that was measured is kept.

    """
    clock = clock or WorkClock()
    began = clock()
    asked = read(job)
    model = None if job.script else prepare(job, asked)  # what cannot be read leaves no database behind
    with Ledger.open(job.database) as ledger, _storage(job.database) as storage, contextlib.ExitStack() as stack:
        # an orphan of a killed search holds the card's lock until it is found and ended
        untold = recover(ledger, storage).untold
        lock = stack.enter_context(GpuLock(asked.identity))
        prepared = model or _looked_at(job, asked, view)
        known(prepared.study)
        for note in prepared.workload.notes:
            view.message(note)
        gpu = prepared.machine.gpu
        card = open_device(gpu.uuid) if gpu else None
        priors = shape_priors(prepared.workload, gpu)
        gate = CardGate(card, prepared.limits.device_bytes or 0, clock, view.message, check, waits)
        with _runner(job, prepared, card, lock) as runner, view:
            view.begin(_scene(job, prepared))
            search = Search(
                workload=prepared.workload,
                space=prepared.space,
                runner=runner,
                storage=storage,
                limits=prepared.limits,
                study_name=prepared.study,
                ledger=ledger,
                sampler_name=job.sampler,
                budget_s=max(SMALLEST_BUDGET_S, job.budget_s - (clock() - began)),
                seed=job.seed,
                observer=view,
                clock=clock,
                gate=when_ready(runner.parent, gate, view.message),
                threshold=job.threshold,
                predict=priors.predict,
                pace=priors.pace,
                pace_for=lambda workload: shape_priors(workload, gpu).pace,
                phase=job.phase,
                candidates=candidates,
                own=prepared.own,
                machine=prepared.machine.to_dict(),
                untold=untold,
            )
            result = search.run()
        held = ledger.held_back(prepared.study)
    return {
        **result.to_dict(),
        "held_back": [{"digest": one.digest, "configuration": one.to_dict()} for one in held],
        attributes.WORKLOAD: prepared.workload.to_dict(),
        attributes.LIMITS: asdict(prepared.limits),
        "database": job.database,
    }


def _looked_at(job: Job, asked: Asked, view: View) -> Prepared:
    view.message("looking at the script: it runs, with its own settings, up to its first training step")
    return prepare(job, asked)


def when_ready(parent: PreloadedParent, gate: Callable[[], None], say: Callable[[str], None]) -> Callable[[], None]:
    """Return a gate that is passed when probes can start at once: while libraries are imported, others may move in."""

    def pass_it() -> None:
        if not parent.facts:
            say("importing the libraries, once for all probes")
        parent.ensure()
        gate()

    return pass_it


def _scene(job: Job, prepared: Prepared) -> Scene:
    watch = LedgerWatch(Path(job.database), prepared.study)
    best = known_best(job.database, prepared.study)
    return Scene(prepared.workload.model.name, job.budget_s, prepared.limits, watch, best)


@contextlib.contextmanager
def _storage(database: str) -> Iterator[Any]:
    storage = open_storage(database)
    try:
        yield storage
    finally:
        storage.engine.dispose()


def _runner(job: Job, prepared: Prepared, card: Device | None, lock: GpuLock) -> ProbeRunner:
    return ProbeRunner(
        prepared.workload,
        device=prepared.device,
        limits=prepared.limits,
        work_dir=_probe_folder(Path(job.database), prepared.study),
        isolation=cast("Literal['fork', 'spawn']", job.isolation),
        seed=job.seed,
        gpu=card,
        keep_open=(lock.fileno(),),
        entry=SCRIPT_ENTRY if prepared.workload.script else ENTRY,
    )


def _probe_folder(database: Path, study: str) -> Path:
    """Make the folder of a study's probes, private: their logs and requests tell of the data."""
    above = Path(f"{database}.probes")
    # the name is a person's: it must not lead elsewhere
    folder = above / re.sub(r"[^\w.-]|^\.", "_", study)
    try:
        above.mkdir(mode=0o700, exist_ok=True)
        above.chmod(0o700)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        message = f"The folder {folder} for probes cannot be made: {error.strerror}."
        raise MachineError(message, "Free some space there, or allow writing.") from error
    return folder


@dataclass(frozen=True)
class _Need:
    """Predicted memory as the card reports it: context and libraries included."""

    bytes: float
    rel_sigma: float


@dataclass(frozen=True)
class _Priors:
    """What shapes say before the first probe; None where they say little: on the CPU, or of an unknown model."""

    predict: Predict | None = None
    pace: PaceOf | None = None


def shape_priors(workload: Workload, gpu: Gpu | None) -> _Priors:
    """Return the memory and time priors of a search on a card."""
    if gpu is None or not workload.model.config:
        return _Priors()

    def predict(configuration: Configuration) -> _Need:
        found = memory.predict(workload, configuration)
        sigma = found.rel_sigma if workload.script is None else max(found.rel_sigma, SCRIPT_SIGMA)
        return _Need(found.used_bytes, sigma)

    lengths = workload.lengths
    typical = Lengths((round(fmean(lengths.source)),), (round(fmean(lengths.target)),) if lengths.target else ())
    card = cards.of_device(gpu.name, gpu.total_bytes)
    return _Priors(predict, pace_of(replace(workload, lengths=typical), card))
