"""Measurements and flags of a probe, from what was recorded."""

from __future__ import annotations

import math
import multiprocessing
import statistics
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from autobatch import settings as s
from autobatch.probe.conductor import Conductor
from autobatch.probe.device import Meter, Peak
from autobatch.probe.material import Material
from autobatch.probe.recorder import Recorder
from autobatch.probe.schedule import accumulation
from autobatch.probe.timing import starvation_s
from autobatch.request import ProbeRequest
from autobatch.verdict import Measurements

Figures = dict[str, float | int | None]


def worker_bytes() -> int | None:
    """Return the host memory that one DataLoader worker holds for itself (its private pages), the mean of those alive."""
    found = []
    for child in multiprocessing.active_children():
        with suppress(OSError):
            lines = Path(f"/proc/{child.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
            found.append(sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024)
    return round(statistics.fmean(found)) if found else None


def speed(request: ProbeRequest, recorder: Recorder, material: Material) -> Figures:
    """Return the figures of time: of a micro-step, an optimizer step, and what follows."""
    current = recorder.estimate()
    if current is None:
        return {}
    configuration = request.configuration
    whole = configuration.accumulation
    compute = whole * current.seconds + recorder.optimizer_step_s
    wait = waiting_s(request, recorder, material, compute)
    step = compute + wait
    samples_per_s = whole * configuration.micro_batch / step
    return {
        "micro_step_s": current.seconds,
        "micro_step_rel_error": current.rel_error,
        "optimizer_step_s": recorder.optimizer_step_s,
        "step_s": step,
        "samples_per_s": samples_per_s,
        "tokens_per_s": samples_per_s * material.tokens_per_sample,
        "steps_timed": len(recorder.waits),
        "loader_wait_fraction": wait / step,
    }


def waiting_s(request: ProbeRequest, recorder: Recorder, material: Material, compute_s: float) -> float:
    """Return the seconds of an optimizer step in which the device waits for the loader.

    Measured where the probe accumulated in full; else at least what the workers' speed must lead to.
    """
    configuration = request.configuration
    measured = recorder.wait_s * configuration.accumulation / accumulation(request)
    if accumulation(request) == configuration.accumulation:
        return measured
    workers, prefetch = int(configuration[s.WORKERS]), int(configuration[s.PREFETCH])
    batch_s = material.clock.batch_s or 0.0
    return max(measured, starvation_s(configuration.accumulation, workers, prefetch, batch_s, compute_s))


def memory(conductor: Conductor, last: Peak) -> Figures:
    """Return the figures of device memory: of training's worst case, of evaluation, and of all together."""
    peaks = [peak for peak in (conductor.train_peak, conductor.eval_peak, last) if peak is not None]
    train, evaluation = conductor.train_peak, conductor.eval_peak
    return {
        "device_peak_used_bytes": max(peak.used for peak in peaks),
        "device_peak_allocated_bytes": max((peak.allocated or 0 for peak in peaks)) or None,
        "device_peak_reserved_bytes": max((peak.reserved or 0 for peak in peaks)) or None,
        "device_context_bytes": last.context,
        "allocation_retries": last.retries,
        "train_device_peak_used_bytes": train.used if train else None,
        "eval_device_peak_used_bytes": evaluation.used if evaluation else None,
    }


def evaluation_speed(request: ProbeRequest, conductor: Conductor) -> Figures:
    """Return samples/s of the evaluation batches after the first, which is the longest and warms up."""
    ends = conductor.eval_batches
    if len(ends) <= 1:
        return {}
    size = int(request.configuration[s.EVAL_BATCH])
    return {"eval_samples_per_s": size * (len(ends) - 1) / (ends[-1] - ends[0])}


def power(request: ProbeRequest, conductor: Conductor, recorder: Recorder, meter: Meter) -> Figures:
    """Return energy and utilisation over the timed steps, where the card tells."""
    after, before = meter.energy_j(), conductor.energy_before_j
    samples = len(recorder.micro_steps) * request.configuration.micro_batch
    known = after is not None and before is not None and samples and recorder.timing_since is not None
    return {
        "energy_j_per_sample": (after - before) / samples if known else None,  # type: ignore[operator] # both known
        "gpu_utilization_fraction": statistics.fmean(conductor.utilizations) if conductor.utilizations else None,
    }


def flags(request: ProbeRequest, conductor: Conductor, meter: Meter, figures: Measurements) -> dict[str, bool]:
    """Return what the parent should know beside the figures."""
    used, reserved = figures.device_peak_used_bytes or 0, figures.device_peak_reserved_bytes or 0
    return {
        "nearly_oom": bool(figures.allocation_retries),
        "spill": reserved > meter.total_bytes,
        "hopeless": conductor.hopeless,
        "over_limit": used > request.limits.device_fraction * meter.total_bytes,
        "not_finite": figures.loss is not None and not math.isfinite(figures.loss),
    }


def measurements(
    request: ProbeRequest,
    conductor: Conductor,
    recorder: Recorder,
    material: Material,
    meter: Meter,
    startup_s: Mapping[str, float],
    loader_worker_bytes: int | None,
) -> Measurements:
    """Return all figures of a probe."""
    found: Figures = {
        **speed(request, recorder, material),
        **memory(conductor, meter.peak()),
        **evaluation_speed(request, conductor),
        **power(request, conductor, recorder, meter),
        "loader_batch_s": material.clock.batch_s,
        "loader_worker_bytes": loader_worker_bytes,
        "longest_source_tokens": material.longest[0],
        "longest_target_tokens": material.longest[1] or None,
        "loss": recorder.loss(),
    }
    return Measurements.from_dict({**found, "startup_s": dict(startup_s)})
