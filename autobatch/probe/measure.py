"""Measurements and flags of a probe, from what was recorded."""

from __future__ import annotations

import multiprocessing
import statistics
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from autobatch import settings as s
from autobatch.probe.conductor import Conductor
from autobatch.probe.device import Peak
from autobatch.probe.schedule import accumulation, grows
from autobatch.probe.session import Session
from autobatch.probe.timing import starvation_s
from autobatch.probe.utilization import mfu
from autobatch.verdict import Measurements

Figures = dict[str, float | int | None]
SAME_SHARE = 0.01
"""Peaks of allocated memory that differ by no more are of the same micro-batch."""


def worker_bytes() -> int | None:
    """Return the private host memory of one DataLoader worker: the mean of those alive, None without any."""
    found = []
    for child in multiprocessing.active_children():
        with suppress(OSError):
            lines = Path(f"/proc/{child.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
            found.append(sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024)
    return round(statistics.fmean(found)) if found else None


def speed(session: Session) -> Figures:
    """Return the figures of time: of a micro-step, an optimizer step, and what follows."""
    recorder, configuration = session.recorder, session.request.configuration
    current = recorder.estimate()
    if current is None:
        return {}
    whole = configuration.accumulation
    compute = whole * current.seconds + recorder.optimizer_step_s
    wait = waiting_s(session, compute)
    step = compute + wait
    samples_per_s = whole * configuration.micro_batch / step
    return {
        "micro_step_s": current.seconds,
        "micro_step_rel_error": current.rel_error,
        "optimizer_step_s": recorder.optimizer_step_s,
        "step_s": step,
        "samples_per_s": samples_per_s,
        "tokens_per_s": samples_per_s * session.material.tokens_per_sample,
        "mfu": mfu(configuration, recorder.expected_cost, current.seconds, session.meter.card),
        "steps_timed": len(recorder.waits),
        "loader_wait_fraction": wait / step,
    }


def waiting_s(session: Session, compute_s: float) -> float:
    """Return the seconds of an optimizer step in which the device waits for the loader.

    Measured where the probe timed whole steps; else at least what the workers' speed must lead to.
    """
    configuration, probed = session.request.configuration, accumulation(session.request)
    measured = session.recorder.wait_s * configuration.accumulation / probed
    if probed == configuration.accumulation and session.recorder.waits:
        return measured
    workers, prefetch = int(configuration[s.WORKERS]), int(configuration[s.PREFETCH])
    batch_s = session.material.clock.batch_s or 0.0
    return max(measured, starvation_s(configuration.accumulation, workers, prefetch, batch_s, compute_s))


def memory(conductor: Conductor, last: Peak, *, gives_back: bool) -> Figures:
    """Return the figures of device memory: of training, of evaluation, and of all together.

    Args:
        conductor: read the peaks of the worst case and of the evaluation.
        last: peak since then, of typical steps and what followed.
        gives_back: whether the allocator can give back gaps between blocks in use: its segments grow and shrink.

    """
    train, evaluation = conductor.train_peak, conductor.eval_peak
    after = last
    if train is not None and conductor.parts.times:
        train = after = training_peak(train, last, gives_back=gives_back)
    peaks = [peak for peak in (train, evaluation, after) if peak is not None]
    return {
        "device_peak_used_bytes": max(peak.used for peak in peaks),
        "device_peak_allocated_bytes": max(peak.allocated or 0 for peak in peaks) or None,
        "device_peak_reserved_bytes": max(peak.reserved or 0 for peak in peaks) or None,
        "device_context_bytes": last.context,
        "allocation_retries": last.retries,
        "train_device_peak_used_bytes": train.used if train else None,
        "eval_device_peak_used_bytes": evaluation.used if evaluation else None,
    }


def training_peak(worst: Peak, last: Peak, *, gives_back: bool) -> Peak:
    """Return the peak of training from that of the worst case and that of the steps after it.

    Where both allocated the same, they met the same longest micro-batch, and what one reserved beyond the other lies
    between its blocks: few trainings lay them out so, and an allocator that can gives it back before it fails. Else the
    higher.
    """
    if not gives_back or not _same_batch(worst, last):
        return max(worst, last, key=lambda peak: peak.used)
    lower = min(worst, last, key=lambda peak: peak.reserved or 0)
    # the context grows by what later kernels load
    grown = (last.context or 0) - (lower.context or 0)
    return replace(lower, used=lower.used + grown, context=last.context, retries=last.retries)


def _same_batch(worst: Peak, last: Peak) -> bool:
    if worst.allocated is None or last.allocated is None:
        return False
    return abs(worst.allocated - last.allocated) <= SAME_SHARE * worst.allocated


def evaluation_speed(session: Session) -> Figures:
    """Return samples/s of the evaluation batches after the first, which is the longest and warms up; of it if alone."""
    ends = session.conductor.eval_batches
    begun = session.recorder.evaluation_since
    if not ends or begun is None:
        return {}
    since, *timed = ends if len(ends) > 1 else [begun, *ends]
    size = int(session.request.configuration[s.EVAL_BATCH])
    return {"eval_samples_per_s": size * len(timed) / (timed[-1] - since)}


def power(session: Session) -> Figures:
    """Return energy and utilisation over the timed steps, where the card tells."""
    conductor = session.conductor
    samples = len(session.recorder.micro_steps) * session.request.configuration.micro_batch
    seen = conductor.utilizations
    return {
        "energy_j_per_sample": conductor.energy_j / samples if conductor.energy_j is not None and samples else None,
        "gpu_utilization_fraction": statistics.fmean(seen) if seen else None,
    }


def flags(session: Session, figures: Measurements) -> dict[str, bool]:
    """Return what the parent should know beside the figures."""
    used, reserved = figures.device_peak_used_bytes or 0, figures.device_peak_reserved_bytes or 0
    total = session.meter.total_bytes
    return {
        "nearly_oom": bool(figures.allocation_retries),
        "spill": reserved > total,
        "hopeless": session.conductor.hopeless,
        "over_limit": used > session.request.limits.device_fraction * total,
    }


def partial(session: Session, startup_s: Mapping[str, float]) -> Measurements:
    """Return what is known of a probe that failed, without asking a device that may be lost."""
    train = session.conductor.train_peak
    # what is lost raises again when it is asked whether it is done: what it is at still is left out
    settled = replace(session, recorder=replace(session.recorder, _running=deque()))
    figures: Figures = {**speed(settled), "train_device_peak_used_bytes": train.used if train else None}
    return Measurements.from_dict({**figures, "startup_s": dict(startup_s)})


def measurements(session: Session, startup_s: Mapping[str, float]) -> Measurements:
    """Return all figures of a probe whose training has ended, its workers still alive."""
    material = session.material
    found: Figures = {
        **speed(session),
        **memory(session.conductor, session.meter.peak(), gives_back=grows(session.request)),
        **evaluation_speed(session),
        **power(session),
        "loader_batch_s": material.clock.batch_s,
        "loader_worker_bytes": worker_bytes(),
        "longest_source_tokens": material.longest[0],
        "longest_target_tokens": material.longest[1] or None,
        "loss": session.recorder.loss(),
    }
    return Measurements.from_dict({**found, "startup_s": dict(startup_s)})
