"""What other studies in the same database measured of the same model: it sharpens the prior, and may prove wrong.

It is laid into the prior and not among the measurements, so that the first probes that contradict it widen it again.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)
"""What reading another tool's study, or an older version's, may raise."""


@dataclass(frozen=True)
class Study:
    """Another study in the same database: what it is of; its trials are read where they are wanted."""

    name: str
    workload: Workload
    same_device: bool
    storage: BaseStorage

    def facts(self) -> tuple[Fact, ...]:
        """Return what ran in it; without times where the device is another.

        Raises:
            KeyError, TypeError, ValueError: it is another tool's, or an older version's.

        """
        study = optuna.load_study(study_name=self.name, storage=self.storage)
        described = json.loads(study.user_attrs[attributes.SPACE])
        space = SearchSpace(
            described["fixed"],
            {name: tuple(choices) for name, choices in described["searched"].items()},
            described["effective_batch"],
            described["devices"],
        )
        return tuple(_ran(kept.read_all(study, space), timed=self.same_device))


@dataclass(frozen=True)
class Past:
    """Where a search finds what others measured: their database, its own study's name there, and what it is of."""

    storage: BaseStorage
    own: str
    workload: Workload
    machine: Mapping[str, Any] | None


def studies(past: Past) -> Iterator[Study]:
    """Yield the newest other studies that can be read, oldest first."""
    others = [study for study in past.storage.get_all_studies() if study.study_name != past.own]
    for frozen in others[-LARGEST_STUDIES:]:
        attrs = past.storage.get_study_user_attrs(frozen._study_id)  # noqa: SLF001 - the storage asks by it
        with contextlib.suppress(*UNREADABLE):
            workload = Workload.from_dict(json.loads(attrs[attributes.WORKLOAD]))
            where = _device(json.loads(attrs.get(attributes.MACHINE, "null")))
            yield Study(frozen.study_name, workload, where == _device(past.machine), past.storage)


def read(past: Past) -> tuple[Fact, ...]:
    """Return what ran in other studies of this model, data lengths and adapter; without times where the GPU is another.

    A study that cannot be read (another tool's, an older version's) is left out.
    """
    found: list[Fact] = []
    for study in studies(past):
        if alike(study.workload, past.workload):
            with contextlib.suppress(*UNREADABLE):
                found += study.facts()
    return tuple(found)


def alike(one: Workload, other: Workload) -> bool:
    """Tell whether figures of the one are those of the other."""
    return (one.model, one.lengths, one.lora) == (other.model, other.lengths, other.lora)


def _device(machine: Mapping[str, Any] | None) -> object:
    """Return what computed: the GPU's name, else the processor's; equal to nothing where it is not known."""
    known = machine or {}
    index = str(known.get("device", "")).removeprefix("cuda:")
    gpu = next((gpu["name"] for gpu in known.get("gpus", ()) if str(gpu.get("index")) == index), None)
    return gpu or known.get("processor") or object()


def _ran(facts: Sequence[Fact], *, timed: bool) -> Iterator[Fact]:
    for fact in facts:
        if fact.ok and fact.stage in {"search", "compare", "confirm"} and fact.purpose != "inference":
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
    posterior.update(observations(arms, known))
    mean = posterior.samples @ posterior.weights
    spread = (posterior.samples - mean[:, :, None]) * np.sqrt(posterior.weights)
    doubt = np.full(FIGURES, TIME_SD)
    doubt[[FIXED, PER_SAMPLE]] = MEMORY_SD
    # half of the doubt is common to all arms
    own = (doubt**2)[:, None, None] * (0.5 + 0.5 * np.eye(len(arms)))
    return Prior(mean, spread @ spread.swapaxes(1, 2) + own)


def observations(arms: Sequence[tuple[Scalar, ...]], facts: Sequence[Fact]) -> Observations:
    """Return the facts as rows of measurements of those arms."""
    figures = [fact.verdict.measurements for fact in facts]
    return Observations(
        arm=np.array([arms.index(fact.configuration.arm) for fact in facts]),
        batch=np.array([float(fact.configuration.micro_batch) for fact in facts]),
        memory=_logs([training_bytes(m) for m in figures]),
        at_least=np.full(len(facts), math.nan),
        micro_step=_logs([m.micro_step_s for m in figures]),
        optimizer=_logs([m.optimizer_step_s for m in figures]),
        repeats=np.ones(len(facts)),
        error=np.array([fact.time_sd for fact in facts]),
    )


def _logs(values: Sequence[float | None]) -> Array:
    return np.array([math.log(value) if value else math.nan for value in values])
