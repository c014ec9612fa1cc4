"""What each purpose of a probe does, and for how long."""

from __future__ import annotations

from autobatch.probe.conductor import WARM_UP_STEPS, Parts
from autobatch.probe.order import WORST_STEPS
from autobatch.probe.timing import Rule
from autobatch.request import Plan, ProbeRequest
from autobatch.settings import ALLOCATOR, EXPANDABLE, WORKERS

PROBE_ACCUMULATION = 2
"""Micro-steps in an optimizer step of a probe, at most: more repeat what two show. A confirmation has them all."""
DEADLINE_SHARE = 0.8
"""Share of a probe's time after which timing ends with what it has."""
TIMED_SECONDS = {"probe": (1.0, 2.0), "confirm": (15.0, 20.0)}
"""Shortest and longest timing, by purpose. A shared host is faster and slower by the second: a promise must have
seen both."""
TOLERANCE = 0.05
"""95 % interval of a micro-step, as a share of it, wider than which a confirmation goes on for longer ..."""
PATIENCE_S, PATIENCE_SHARE = 60.0, 0.6
"""... up to so many seconds, and this share of the probe's time."""
TIMED_MICRO_STEPS = {"probe": 96, "confirm": 4096}
"""Typical micro-steps at most."""
WARM_UP_MICRO_STEPS = 1
"""Typical micro-steps that are not timed."""
REPEATED_MICRO_STEPS = 128
"""The same where what has come is repeated, unless they take long: they are what has come."""

FEWEST_REPEATED = 3
"""Typical micro-batches, the quartiles of the cost, after which a short probe repeats: it has no time for more."""


def accumulation(request: ProbeRequest) -> int:
    """Return the micro-steps in one optimizer step of this probe."""
    whole = request.configuration.accumulation
    return whole if request.plan.purpose == "confirm" else min(whole, PROBE_ACCUMULATION)


def typical_steps(request: ProbeRequest) -> int:
    """Return the optimizer steps on typical micro-batches, warm-up included, at most."""
    most = TIMED_MICRO_STEPS.get(request.plan.purpose)
    return 0 if most is None else WARM_UP_STEPS + max(4, most // accumulation(request))


def most_steps(request: ProbeRequest) -> int:
    """Return the optimizer steps of the whole probe, at most."""
    return WORST_STEPS + typical_steps(request)


def evaluates(request: ProbeRequest) -> bool:
    """Tell whether this probe evaluates after the worst case."""
    return request.plan.purpose in ("eval", "confirm")


def repeats_soon(request: ProbeRequest) -> bool:
    """Tell whether this probe, too short to meet many lengths, repeats the first from the start."""
    return request.plan.purpose == "probe" and grows(request)


def parts(request: ProbeRequest, started: float) -> Parts:
    """Return the parts of this probe.

    Args:
        request: the probe.
        started: `time.monotonic()` when it began.

    """
    plan = request.plan
    # elsewhere memory grows with every new length, and what repeats would not show it
    repeats = plan.purpose == "confirm" and grows(request)
    return Parts(
        evaluates=evaluates(request),
        times=plan.purpose in TIMED_MICRO_STEPS,
        warm_up=REPEATED_MICRO_STEPS if repeats else WARM_UP_MICRO_STEPS,
        repeats=repeats,
        workers=int(request.configuration[WORKERS]),
        ends_longest=plan.purpose == "confirm" or (plan.purpose == "probe" and not grows(request)),
        rule=_rule(plan),
        deadline=started + DEADLINE_SHARE * plan.max_seconds,
        hopeless_micro_s=hopeless_micro_s(request),
        safe_share=request.limits.device_fraction if plan.purpose == "confirm" else None,
    )


def _rule(plan: Plan) -> Rule:
    shortest_s, longest_s = TIMED_SECONDS.get(plan.purpose, (0.0, 0.0))
    if plan.purpose != "confirm":
        return Rule(plan.precision_target, shortest_s, longest_s)
    patience_s = min(PATIENCE_S, PATIENCE_SHARE * plan.max_seconds)
    return Rule(plan.precision_target, shortest_s, longest_s, TOLERANCE, patience_s)


def grows(request: ProbeRequest) -> bool:
    """Tell whether the allocator's segments grow, so that many lengths leave it no gaps."""
    return request.device != "cpu" and request.configuration[ALLOCATOR] == EXPANDABLE


def hopeless_micro_s(request: ProbeRequest) -> float | None:
    """Return the seconds of a micro-step beyond which a configuration is slower than the threshold.

    The optimizer's step only makes it slower still.
    """
    threshold = request.plan.hopeless_samples_per_s
    return request.configuration.micro_batch / threshold if threshold else None
