"""What is chosen: a configuration as it was measured, never the figures of another."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autobatch.search.facts import Fact, used_bytes
from autobatch.search.judge import Core, latest
from autobatch.search.samplers import core
from autobatch.settings import EVAL_BATCH, Configuration, Scalar
from autobatch.verdict import Measurements

_TIMES, _RATES = ("step_s", "micro_step_s"), ("samples_per_s", "tokens_per_s", "mfu")


@dataclass(frozen=True)
class Choice:
    """A configuration with what was measured of it."""

    configuration: Configuration
    measurements: Measurements
    trial: int
    confirmed: bool
    """Whether the figures come from a confirmation in a fresh, longer probe."""
    flags: tuple[str, ...] = ()
    """What else is known of how it ran: names of `verdict.FLAGS`."""
    rates: tuple[float, ...] = ()
    """Training samples/s of every measurement of it, eval batch aside, each in a process of its own."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "configuration": self.configuration.to_dict(),
            "measurements": self.measurements.to_dict(),
            "trial": self.trial,
            "confirmed": self.confirmed,
            **({"flags": list(self.flags)} if self.flags else {}),
            **({"measured_samples_per_s": list(self.rates)} if self.rates else {}),
        }


def choose(facts: Sequence[Fact], key: Core, tuned: Mapping[str, Scalar]) -> Choice | None:
    """Return a configuration with its own figures: a confirmation's, else of the probe nearest to the tuned settings.

    Where it was confirmed several times, or probed without, its time is their mean: processes differ more than steps
    within one, and what was tried because it was fast once is slower the next time.

    Args:
        facts: all that was measured.
        key: arm and micro-batch.
        tuned: loader and eval settings wished for; those that were not measured with it are left out.

    """
    found = latest(facts, key)
    if found is None or found.purpose == "inference":
        return _of(found) if found is not None else None
    if found.confirms:
        confirmed = [fact for fact in facts if fact.ok and fact.confirms and fact.samples_per_s]
        return replace(_of(found), measurements=_mean(confirmed, found), rates=_rates(facts, found.configuration))
    own = [fact for fact in facts if fact.ok and fact.samples_per_s and core(fact.configuration) == key]
    wished = {name: value for name, value in tuned.items() if name != EVAL_BATCH}
    probe = max(own, key=lambda fact: (_has(fact, wished), fact.number))
    evaluated = [f for f in facts if f.ok and f.stage == "eval" and core(f.configuration) == key and _has(f, tuned)]
    choice = replace(_of(probe), measurements=_mean(own, probe), rates=_rates(facts, probe.configuration))
    return _evaluated(choice, evaluated[-1]) if evaluated else _no_larger(choice, tuned)


def _rates(facts: Sequence[Fact], configuration: Configuration) -> tuple[float, ...]:
    same = configuration.replace({EVAL_BATCH: 1})
    timed = (fact for fact in facts if fact.ok and fact.purpose != "inference" and fact.samples_per_s)
    return tuple(fact.samples_per_s for fact in timed if fact.configuration.replace({EVAL_BATCH: 1}) == same)


def _mean(facts: Sequence[Fact], last: Fact) -> Measurements:
    """Return the figures of the last of these that measured its configuration, its time that of a mean one."""
    seen = last.verdict.measurements
    own = [fact for fact in facts if fact.configuration == last.configuration]
    slower = statistics.fmean(last.samples_per_s / fact.samples_per_s for fact in own)
    factors = dict.fromkeys(_TIMES, slower) | dict.fromkeys(_RATES, 1 / slower)
    known = {name: (value, factor) for name, factor in factors.items() if (value := getattr(seen, name)) is not None}
    return replace(seen, **{name: value * factor for name, (value, factor) in known.items()})


def _of(fact: Fact) -> Choice:
    verdict = fact.verdict
    return Choice(fact.configuration, verdict.measurements, fact.number, fact.confirms, verdict.flags)


def _no_larger(choice: Choice, tuned: Mapping[str, Scalar]) -> Choice:
    """Return it with an eval batch no larger than the tuned one: a larger one may have failed since."""
    batch = min(int(choice.configuration[EVAL_BATCH]), int(tuned.get(EVAL_BATCH, choice.configuration[EVAL_BATCH])))
    return replace(choice, configuration=choice.configuration.replace({EVAL_BATCH: batch}))


def _has(fact: Fact, settings: Mapping[str, Scalar]) -> bool:
    return all(fact.configuration[name] == value for name, value in settings.items())


def _evaluated(choice: Choice, fact: Fact) -> Choice:
    """Add the eval batch, and what evaluation came to with it."""
    seen = fact.verdict.measurements
    peaks = [peak for peak in (used_bytes(choice.measurements), used_bytes(seen)) if peak]
    measured = replace(
        choice.measurements,
        eval_samples_per_s=seen.eval_samples_per_s,
        eval_device_peak_used_bytes=seen.eval_device_peak_used_bytes,
        device_peak_used_bytes=max(peaks, default=None),
    )
    batch = {EVAL_BATCH: fact.configuration[EVAL_BATCH]}
    return replace(choice, configuration=choice.configuration.replace(batch), measurements=measured)
