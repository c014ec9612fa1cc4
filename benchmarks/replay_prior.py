"""The shape prior of a recorded model: from its preset, where there is one of that name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from autobatch.errors import UsageError
from autobatch.estimate import cards, memory
from autobatch.search.pace import pace_of
from autobatch.search.prior import PaceOf, Predict
from autobatch.search.speed import PaceFor
from autobatch.settings import Configuration
from autobatch.workload import presets
from autobatch.workload.spec import Lengths, Lora, Model, Workload
from benchmarks.plan import RECORDED
from benchmarks.replay_surfaces import Surface


@dataclass(frozen=True)
class Expected:
    """A prediction as it is held against the card: context and libraries included."""

    bytes: float
    rel_sigma: float


@dataclass(frozen=True)
class Shapes:
    """The workload that was recorded, and what its shapes predict."""

    workload: Workload
    predict: Predict | None
    pace: PaceOf | None
    pace_for: PaceFor | None = None
    """The time prior of any workload on the recording card."""


def shapes_of(surface: Surface, effective_batch: int, *, with_prior: bool) -> Shapes:
    """Return the recorded workload; without a preset of that name there is no prior."""
    try:
        preset = presets.load(surface.model)
    except UsageError:
        model = Model(surface.model, surface.model, "seq2seq" if surface.target_length else "causal")
        return Shapes(Workload(model, effective_batch=effective_batch), None, None)
    workload = replace(preset, lora=_adapter(surface), lengths=_lengths(surface), effective_batch=effective_batch)
    if not with_prior:
        return Shapes(workload, None, None)
    predict = partial(_predict, workload)
    if not surface.card:
        return Shapes(workload, predict, None)
    pace_for = partial(pace_of, card=cards.find(surface.card), loop=RECORDED)
    return Shapes(workload, predict, pace_for(workload), pace_for)


def _predict(workload: Workload, configuration: Configuration) -> Expected:
    found = memory.predict(workload, configuration, loop=RECORDED)
    return Expected(found.used_bytes, found.rel_sigma)


def _adapter(surface: Surface) -> Lora:
    if surface.target_length is None:
        return Lora(r=16, alpha=32, dropout=0.05, target_modules="all-linear")
    return Lora(r=64, target_modules=("q", "k", "v", "o", "q_proj", "k_proj", "v_proj", "out_proj"))


def _lengths(surface: Surface) -> Lengths:
    target = (surface.target_length,) * 2 if surface.target_length else ()
    return Lengths((surface.source_length,) * 2, target)
