"""Where nothing fits: what would make it fit, in words."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.samplers import BaseSampler

from autobatch.request import Limits
from autobatch.search.facts import FEASIBLE, GIB, Fact, device_limit, too_large
from autobatch.search.observing import WHOLE
from autobatch.search.structured import StructuredSampler
from autobatch.settings import CHECKPOINTING, EVAL_BATCH, METHOD, PRECISION, QUANTIZATION, Configuration, SearchSpace
from autobatch.units import format_bytes
from autobatch.verdict import Kind

_NOTHING = "Nothing was measured to its end: the same command again goes on with this study."
_MORE = "Give it more memory of the {place}, a smaller effective batch's micro-batch, or a smaller model."
_BESIDE = frozenset({Kind.LOADER_WORKER_KILLED, Kind.SHM_FULL, Kind.THREADS_EXHAUSTED})
"""Kinds that say what is short beside the training: they tell nothing of the memory that it needs."""


def what_would_fit(facts: Sequence[Fact], sampler: BaseSampler, space: SearchSpace, limits: Limits) -> str:
    """Return the smallest need against the limit, or the first failure's hint where memory is not the reason."""
    if not facts:
        return "Nothing was measured: the same command again goes on with this study."
    measured = [fact for fact in facts if fact.verdict.kind not in _BESIDE]
    short = [fact for fact in measured if too_large(fact, space, limits) or fact.verdict.kind is Kind.CUDA_OOM_EVAL]
    failed = [fact for fact in facts if fact.verdict.kind not in FEASIBLE]
    other = next((fact.verdict.hint for fact in failed if fact not in short), None)
    limit = device_limit(limits)
    evaluation = _of_evaluation([fact for fact in facts if fact.eval_to_blame], limit)
    if not isinstance(sampler, StructuredSampler) or limit is None:
        return evaluation or other or _MORE.format(place=_place(limits))
    configuration, needs = sampler.needs_bytes(measured)
    if not short or needs <= limit:
        return evaluation or other or _NOTHING
    place = _place(limits)
    whole = any(fact.verdict.kind in WHOLE for fact in measured)
    known = "is about" if whole else "was not measured; a guess is"
    return (
        f"The smallest need {known} {needs / GIB:.1f} GiB ({_named(configuration)}); {limit / GIB:.1f} GiB are safe "
        f"on this {place}. It takes a larger {place}, shorter samples, or --search quantization --search method."
    )


def _of_evaluation(too_large: Sequence[Fact], limit: float | None) -> str:
    if not too_large:
        return ""
    fact = min(too_large, key=lambda fact: int(fact.configuration[EVAL_BATCH]))
    peak, size = fact.verdict.measurements.eval_device_peak_used_bytes, int(fact.configuration[EVAL_BATCH])
    needs = "does not fit"
    if peak and limit and peak > limit:
        needs = f"needs {format_bytes(peak)} where {format_bytes(round(limit))} are safe"
    do = f"--fix or --search a smaller {EVAL_BATCH}" if size > 1 else "It takes a larger card or shorter samples"
    return f"Training fits, but evaluation {needs}, at {EVAL_BATCH} {size}. {do}."


def _place(limits: Limits) -> str:
    return "host" if limits.host_is_device else "card"


def _named(configuration: Configuration) -> str:
    parts = [str(configuration[METHOD]), str(configuration[QUANTIZATION]), str(configuration[PRECISION])]
    shown = [part for part in parts if part != "none"]
    if configuration[CHECKPOINTING]:
        shown.append("gradient checkpointing")
    return ", ".join([*shown, f"micro-batch {configuration.micro_batch}"])
