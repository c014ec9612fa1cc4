"""Where nothing fits: what would make it fit, in words."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.samplers import BaseSampler

from autobatch.request import Limits
from autobatch.search.facts import DEVICE_MEMORY, GIB, Fact, device_limit
from autobatch.search.structured import StructuredSampler
from autobatch.settings import CHECKPOINTING, METHOD, PRECISION, QUANTIZATION, Configuration
from autobatch.verdict import Kind


def what_would_fit(facts: Sequence[Fact], sampler: BaseSampler, limits: Limits) -> str:
    """Return the smallest need against the card, or the first failure's hint where its memory is not the reason."""
    of_card = DEVICE_MEMORY | {Kind.CUDA_OOM_EVAL}
    other = next((fact.verdict.hint for fact in facts if not fact.ok and fact.verdict.kind not in of_card), None)
    limit = device_limit(limits)
    if not isinstance(sampler, StructuredSampler) or limit is None:
        return other or "Give it more device memory, a smaller effective batch's micro-batch, or a smaller model."
    configuration, needs = sampler.needs_bytes(facts)
    if other and (needs <= limit or all(fact.verdict.kind not in of_card for fact in facts)):
        return other
    return (
        f"The smallest need is about {needs / GIB:.1f} GiB ({_named(configuration)}); {limit / GIB:.1f} GiB are safe "
        f"on this card. It takes a larger card, shorter samples, or --search quantization --search method."
    )


def _named(configuration: Configuration) -> str:
    parts = [str(configuration[METHOD]), str(configuration[QUANTIZATION]), str(configuration[PRECISION])]
    shown = [part for part in parts if part != "none"]
    if configuration[CHECKPOINTING]:
        shown.append("gradient checkpointing")
    return ", ".join([*shown, f"micro-batch {configuration.micro_batch}"])
