"""The probe's process: runs one request from its folder, and leaves the outcome there whatever happens."""

from __future__ import annotations

import time
from pathlib import Path

from autobatch.probe.device import prepare_environment
from autobatch.probe.measure import flags, measurements, partial
from autobatch.probe.outcome import Progress, write_outcome
from autobatch.probe.session import Session, Stopwatch, open_session
from autobatch.probe.trainer import Observed
from autobatch.probe.training import make_trainer
from autobatch.request import ProbeRequest
from autobatch.verdict import Measurements

OK = 0
FAILED = 1


def main(folder: str) -> int:
    """Run `request.json` of a folder and write `outcome.json` there.

    Returns:
        0 if the probe ran to its end, 1 if it failed; the outcome says why.

    """
    path = Path(folder)
    progress, watch = Progress(path), Stopwatch()
    progress.enter("start")
    session = None
    try:
        request = ProbeRequest.from_json((path / "request.json").read_text(encoding="utf-8"))
        prepare_environment(request)
        session = open_session(request, progress, watch)
        trainer = train(session, progress, watch)
        found = measurements(session, watch.seconds)
        del trainer  # until here its DataLoader's workers live, and are measured
    except BaseException as error:  # noqa: BLE001 - whatever ends a probe is its outcome
        known = partial(session, watch.seconds) if session else Measurements(startup_s=watch.seconds)
        write_outcome(path, progress.phase, known, {}, error)
        return FAILED
    write_outcome(path, progress.phase, found, flags(session, found))
    return OK


def train(session: Session, progress: Progress, watch: Stopwatch) -> Observed:
    """Train, or evaluate alone, and return the Trainer; what fails is raised."""
    with watch.phase("trainer"):
        trainer = make_trainer(session)
    if session.request.plan.purpose == "inference":
        progress.enter("eval")
        session.meter.reset()
        trainer.evaluate()
        return trainer
    begun = time.perf_counter()
    trainer.train()
    if session.recorder.first_step_end is not None:
        watch.seconds["first_step"] = session.recorder.first_step_end - begun
    if session.conductor.finds_peak_again:
        progress.enter("worst_case")
        trainer.repeat_longest([session.material.samples[i] for i in session.material.order.longest])
    return trainer
