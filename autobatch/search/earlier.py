"""What other studies in the same database measured of the same model: it sharpens the prior, and may prove wrong.

It is laid into the prior and not among the measurements, so that the first probes that contradict it widen it again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
from optuna.storages import BaseStorage

from autobatch import attributes
from autobatch.search import facts as kept
from autobatch.search.facts import Fact, training_bytes
from autobatch.search.posterior import Observations, Posterior
from autobatch.search.prior import FIGURES, FIXED, PER_SAMPLE, Array, Prior
from autobatch.settings import Scalar, SearchSpace
from autobatch.workload.spec import Workload

MEMORY_SD, TIME_SD = 0.03, 0.1
"""How far figures of another study may be off for no known reason: other versions, another day."""
LARGEST_STUDIES = 20
"""Only the newest are read."""


def read(storage: BaseStorage, own: str, workload: Workload, machine: Mapping[str, Any] | None) -> tuple[Fact, ...]:
    """Return what ran in other studies of this model, data lengths and adapter; without times where the GPU is another.

    A study that cannot be read (another tool's, an older version's) is left out.
    """
    found: list[Fact] = []
    others = [study for study in storage.get_all_studies() if study.study_name != own]
    for frozen in others[-LARGEST_STUDIES:]:
        attrs = storage.get_study_user_attrs(frozen._study_id)  # noqa: SLF001 - the storage asks by it
        if _alike(attrs, workload):
            study = optuna.load_study(study_name=frozen.study_name, storage=storage)
            same = _device(json.loads(attrs.get(attributes.MACHINE, "null"))) == _device(machine)
            found += _ran(study, timed=same)
    return tuple(found)


def _alike(attrs: Mapping[str, Any], workload: Workload) -> bool:
    try:
        other = Workload.from_dict(json.loads(attrs[attributes.WORKLOAD]))
    except (KeyError, TypeError, ValueError):
        return False
    return (other.model, other.lengths, other.lora) == (workload.model, workload.lengths, workload.lora)


def _device(machine: Mapping[str, Any] | None) -> object:
    """Return what computed: the GPU's name, else the processor's; equal to nothing where it is not known."""
    known = machine or {}
    index = str(known.get("device", "")).removeprefix("cuda:")
    gpu = next((gpu["name"] for gpu in known.get("gpus", ()) if str(gpu.get("index")) == index), None)
    return gpu or known.get("processor") or object()


def _ran(study: optuna.Study, *, timed: bool) -> Iterator[Fact]:
    described = json.loads(study.user_attrs.get(attributes.SPACE, "{}"))
    try:
        space = SearchSpace(
            described["fixed"],
            {name: tuple(choices) for name, choices in described["searched"].items()},
            described["effective_batch"],
            described["devices"],
        )
        facts = kept.read_all(study, space)
    except (KeyError, TypeError, ValueError):
        return
    for fact in facts:
        if fact.ok and fact.stage in {"search", "confirm"} and fact.purpose != "inference":
            measured = fact.verdict.measurements
            untimed = replace(measured, micro_step_s=None, optimizer_step_s=None)
            verdict = replace(fact.verdict, measurements=measured if timed else untimed)
            yield replace(fact, verdict=verdict)


def learned(prior: Prior, arms: Sequence[tuple[Scalar, ...]], facts: Sequence[Fact], seed: int) -> Prior:
    """Return the prior after those facts, as wide as another study may be off."""
    known = [fact for fact in facts if fact.configuration.arm in arms]
    if not known:
        return prior
    posterior = Posterior(prior, seed)
    posterior.update(_observations(arms, known))
    mean = posterior.samples @ posterior.weights
    spread = (posterior.samples - mean[:, :, None]) * np.sqrt(posterior.weights)
    doubt = np.full(FIGURES, TIME_SD)
    doubt[[FIXED, PER_SAMPLE]] = MEMORY_SD
    # half of the doubt is common to all arms
    own = (doubt**2)[:, None, None] * (0.5 + 0.5 * np.eye(len(arms)))
    return Prior(mean, spread @ spread.swapaxes(1, 2) + own)


def _observations(arms: Sequence[tuple[Scalar, ...]], facts: Sequence[Fact]) -> Observations:
    figures = [fact.verdict.measurements for fact in facts]
    return Observations(
        arm=np.array([arms.index(fact.configuration.arm) for fact in facts]),
        batch=np.array([float(fact.configuration.micro_batch) for fact in facts]),
        memory=_logs([training_bytes(m) for m in figures]),
        at_least=np.full(len(facts), math.nan),
        micro_step=_logs([m.micro_step_s for m in figures]),
        optimizer=_logs([m.optimizer_step_s for m in figures]),
        repeats=np.ones(len(facts)),
    )


def _logs(values: Sequence[float | None]) -> Array:
    return np.array([math.log(value) if value else math.nan for value in values])
