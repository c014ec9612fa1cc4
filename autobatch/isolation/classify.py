"""From evidence to a verdict. Each rule names one cause and what proves it; the first that holds decides.

The exit status alone proves nothing, and neither does a text that speaks of memory: a host out-of-memory verdict needs
a kernel counter that moved, one of the card needs the exception's type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from autobatch.isolation import rules
from autobatch.isolation.evidence import Evidence
from autobatch.request import Limits
from autobatch.verdict import FLAGS, Confidence, Kind, Measurements, Verdict

Finding = tuple[Kind, Confidence]
Rule = Callable[[Evidence, Limits], Finding | None]

RULES: tuple[Rule, ...] = (
    rules.gpu_lost,
    rules.unsupervised,
    rules.stopped_for_memory,
    rules.host_out_of_memory,
    rules.shared_memory_full,
    rules.starved_of_shared_memory,
    rules.device_out_of_memory,
    rules.device_poisoned,
    rules.threads_exhausted,
    rules.cpu_allocation,
    rules.disk_full,
    rules.broken_pipe,
    rules.interrupted,
    rules.user_error,
    rules.stopped_for_time,
    rules.killed,
    rules.crashed,
)
"""In order: what the kernel or the driver counted comes before what a program said of itself."""


def classify(evidence: Evidence, limits: Limits, duration_s: float) -> Verdict:
    """Return the verdict that the evidence proves, or NO_VERDICT with all of it where it proves none."""
    measurements = _measurements(evidence)
    finding = next((found for rule in RULES if (found := rule(evidence, limits)) is not None), None)
    if finding is None and (evidence.outcome or {}).get("status") == "ok":
        finding = _judge(measurements, evidence, limits)
    kind, confidence = finding or (Kind.NO_VERDICT, Confidence.UNDECIDED)
    return Verdict(kind, measurements, confidence, evidence.to_dict(), duration_s, _flags(evidence))


def _flags(evidence: Evidence) -> tuple[str, ...]:
    """Return what a script's probe said beside its figures, by the names of `verdict.FLAGS`."""
    said: Mapping[str, Any] = (evidence.outcome or {}).get("flags", {})
    names = [name for name in FLAGS if said.get(name) is True]
    return (*names, "fails_under_test") if said.get("fails_alone") is False else tuple(names)


def _measurements(evidence: Evidence) -> Measurements:
    """Join the child's own figures with what was seen from outside."""
    found = Measurements.from_dict((evidence.outcome or {}).get("measurements", {}))
    host = max((b for b in (found.host_peak_bytes, evidence.host_peak_bytes) if b is not None), default=None)
    device = found.device_peak_used_bytes
    if device is None and (evidence.outcome or {}).get("status") == "ok":
        device = evidence.device.peak_used_bytes  # of one that broke off it may be from before it began to allocate
    return replace(found, host_peak_bytes=host, device_peak_used_bytes=device)


def _judge(found: Measurements, evidence: Evidence, limits: Limits) -> Finding:
    """Hold a probe that ran against what a long run would forgive."""
    flags: Mapping[str, Any] = (evidence.outcome or {}).get("flags", {})
    tests = (
        (Kind.DISTURBED, evidence.device.others_moved_in),
        (Kind.NUMERICS, found.loss is not None and not math.isfinite(found.loss)),
        (Kind.SPILL, flags.get("spill")),
        (Kind.NEARLY_OOM, flags.get("nearly_oom") or (found.allocation_retries or 0) > 0),
        (Kind.OVER_LIMIT, flags.get("over_limit") or _is_over_card(found, evidence, limits)),
        (Kind.HOST_OVER_LIMIT, _is_over_host(found, limits)),
        (Kind.HOPELESS, flags.get("hopeless")),
    )
    kind = next((kind for kind, holds in tests if holds), Kind.OK)
    return kind, Confidence.LIKELY if kind is Kind.SPILL else Confidence.CERTAIN


def _is_over_card(found: Measurements, evidence: Evidence, limits: Limits) -> bool:
    """Tell whether the card's peak is above the share that keeps a long run safe."""
    card = limits.device_bytes or evidence.device.total_bytes
    device = max(found.device_peak_used_bytes or 0, found.eval_device_peak_used_bytes or 0)
    return card is not None and device > limits.device_fraction * card


def _is_over_host(found: Measurements, limits: Limits) -> bool:
    """Tell whether the host's peak is."""
    return limits.host_bytes is not None and (found.host_peak_bytes or 0) > limits.host_fraction * limits.host_bytes
