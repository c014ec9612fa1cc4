"""What a trial says, and how it is kept in Optuna: written before `tell`, read back by samplers and later runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from autobatch import attributes
from autobatch.intervals import student_975
from autobatch.request import Limits
from autobatch.settings import MICRO_BATCH, WORKERS, Configuration, SearchSpace
from autobatch.verdict import Kind, Measurements, Verdict

GIB = 2**30
VERDICT_DATA = "verdict data"
"""User attribute that holds the whole verdict but its evidence, which the ledger keeps."""
UNKNOWN_OVERSHOOT = 1.0
"""Constraint of a trial that is not feasible, where nobody knows by how much."""
FEASIBLE = frozenset({Kind.OK, Kind.HOPELESS})
ENDING = frozenset({Kind.GPU_LOST, Kind.DISK_FULL})
"""Kinds after which no other configuration would run either."""
DEVICE_MEMORY = frozenset({Kind.CUDA_OOM_TRAIN, Kind.SPILL, Kind.NEARLY_OOM, Kind.OVER_LIMIT})
"""Kinds that say: the card is too small for this arm at this micro-batch."""
MENDABLE = ENDING | {
    Kind.USER_ERROR,
    Kind.TIMEOUT,
    Kind.KILLED,
    Kind.BROKEN_PIPE,
    Kind.NO_VERDICT,
    Kind.HOST_OOM_ANCESTOR,
}
"""Kinds whose cause a person may have mended since: another run of the search tries again."""
ACCIDENTS = ENDING | {
    Kind.TIMEOUT,
    Kind.KILLED,
    Kind.KILLED_IN_FLIGHT,
    Kind.DISTURBED,
    Kind.HOST_OOM_ANCESTOR,
}
"""Kinds that say nothing of the configuration itself."""
HOST_MEMORY = frozenset(
    {
        Kind.HOST_OOM,
        Kind.HOST_OVER_LIMIT,
        Kind.WATCHDOG_MEMORY,
        Kind.LOADER_WORKER_KILLED,
        Kind.CPU_ALLOCATION,
        Kind.SHM_FULL,
        Kind.THREADS_EXHAUSTED,
    },
)
"""Kinds that say: fewer DataLoader workers would do."""


@dataclass(frozen=True)
class Fact:
    """One finished trial: what was tried and what came of it."""

    number: int
    configuration: Configuration
    stage: str
    purpose: str
    verdict: Verdict

    @property
    def ok(self) -> bool:
        """Whether the configuration ran within the limits."""
        return self.verdict.ok

    @property
    def confirms(self) -> bool:
        """Whether it measured a finalist again, in a fresh process."""
        return self.stage == "confirm"

    @property
    def eval_to_blame(self) -> bool:
        """Whether evaluation, and not training, needed more device memory than it may have."""
        train, evaluation = (
            self.verdict.measurements.train_device_peak_used_bytes,
            self.verdict.measurements.eval_device_peak_used_bytes,
        )
        higher = train is not None and evaluation is not None and evaluation > train
        return self.verdict.kind is Kind.CUDA_OOM_EVAL or (self.verdict.kind in DEVICE_MEMORY and higher)

    @property
    def samples_per_s(self) -> float:
        """Measured throughput, of inference where that is what was measured; 0 where there is none."""
        measured = self.verdict.measurements
        found = measured.eval_samples_per_s if self.purpose == "inference" else measured.samples_per_s
        return (found or 0.0) if self.verdict.kind in FEASIBLE else 0.0

    @property
    def time_sd(self) -> float:
        """Relative standard error of its micro-step as it was measured; 0 where nothing was said of it."""
        measured = self.verdict.measurements
        timed = (measured.steps_timed or 0) * self.configuration.accumulation
        # a line through them takes two degrees of freedom
        return (measured.micro_step_rel_error or 0.0) / student_975(max(timed - 2, 1))

    @property
    def unhindered_per_s(self) -> float:
        """Throughput were there no wait for the loader, which is tuned by itself; 0 where there is none."""
        waits = self.verdict.measurements.loader_wait_fraction or 0.0
        return self.samples_per_s / (1 - waits) if waits < 1 else 0.0


def too_large(fact: Fact, space: SearchSpace, limits: Limits) -> bool:
    """Tell whether training at this micro-batch needs more device memory than there is.

    Where the host's memory is the device's, running out of it with the fewest workers says so, too.
    """
    if fact.verdict.kind in DEVICE_MEMORY:
        return True
    if fact.verdict.kind is Kind.THREADS_EXHAUSTED:
        return False
    workers = int(fact.configuration[WORKERS])
    fewest = min((int(choice) for choice in space.searched.get(WORKERS, ())), default=workers)
    return limits.host_is_device and fact.verdict.kind in HOST_MEMORY and workers <= fewest


def used_bytes(measurements: Measurements) -> int | None:
    """Return the device memory held against the limit: what the card reports, else the allocator's peak."""
    return measurements.device_peak_used_bytes or measurements.device_peak_reserved_bytes


def training_bytes(measurements: Measurements) -> int | None:
    """Return the device memory of training alone, where it was told apart from evaluation's."""
    return measurements.train_device_peak_used_bytes or used_bytes(measurements)


def device_limit(limits: Limits) -> float | None:
    """Return the bytes of device memory that are safe; None where nobody knows the card."""
    return None if limits.device_bytes is None else limits.device_bytes * limits.device_fraction


def constraint(verdict: Verdict, limits: Limits) -> float:
    """Return the Optuna constraint: the overshoot of the device limit, > 0 for whatever is not feasible."""
    used, limit = used_bytes(verdict.measurements), device_limit(limits)
    overshoot = used / limit - 1 if used and limit else None
    if verdict.kind in FEASIBLE:
        return min(0.0, overshoot if overshoot is not None else 0.0)
    return overshoot if overshoot is not None and overshoot > 0 else UNKNOWN_OVERSHOOT


def write(trial: Trial, fact: Fact, limits: Limits) -> None:
    """Write attributes and constraint; it must come before `tell`, which closes the trial."""
    verdict, measured = fact.verdict, fact.verdict.measurements
    shown = {
        attributes.VERDICT: str(verdict.kind),
        attributes.HINT: verdict.hint,
        attributes.STAGE: fact.stage,
        attributes.DIGEST: fact.configuration.digest,
        attributes.STEP_S: measured.step_s,
        attributes.SAMPLES_PER_S: measured.samples_per_s,
        attributes.TOKENS_PER_S: measured.tokens_per_s,
        attributes.DEVICE_PEAK_GIB: _gib(used_bytes(measured)),
        attributes.HOST_PEAK_GIB: _gib(measured.host_peak_bytes),
        attributes.LOADER_WAIT_PERCENT: _percent(measured.loader_wait_fraction),
        attributes.PROBE_S: round(verdict.duration_s, 3),
        attributes.PURPOSE: fact.purpose,
        VERDICT_DATA: {k: v for k, v in verdict.to_dict().items() if k != "evidence"},
    }
    for name, value in shown.items():
        if value is not None:
            trial.set_user_attr(name, value)
    write_constraint(trial, constraint(verdict, limits))


def write_constraint(trial: Trial, found: float) -> None:
    """Write the constraint, before `tell`: > 0 where the trial is not feasible."""
    trial.set_constraint(attributes.CONSTRAINT, found)
    # optuna-dashboard reads Optuna's older form alone
    trial.storage.set_trial_system_attr(trial._trial_id, "constraints", [found])  # noqa: SLF001 - it has no public name


def write_why(trial: Trial, why: Mapping[str, Any]) -> None:
    """Write the reason for a trial, before it runs."""
    for name, value in why.items():
        trial.set_user_attr(name, value)


def _gib(number: int | None) -> float | None:
    return None if number is None else round(number / GIB, 3)


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)


def read(trial: FrozenTrial, space: SearchSpace) -> Fact | None:
    """Read a finished trial back; None where it measured nothing (another tool's, cut off, or a repeat's answer)."""
    data = trial.user_attrs.get(VERDICT_DATA)
    if trial.state is not TrialState.COMPLETE or data is None:
        return None
    if trial.user_attrs.get(attributes.REPEATS) is not None:
        return None
    return Fact(
        number=trial.number,
        configuration=from_parameters(trial.params, space),
        stage=str(trial.user_attrs.get(attributes.STAGE, "search")),
        purpose=str(trial.user_attrs.get(attributes.PURPOSE, "probe")),
        verdict=Verdict.from_dict(data),
    )


def read_all(study: optuna.Study, space: SearchSpace) -> list[Fact]:
    """Read every finished trial of a study, in order."""
    found = (read(trial, space) for trial in study.get_trials(deepcopy=False))
    return [fact for fact in found if fact is not None]


def from_parameters(parameters: Mapping[str, Any], space: SearchSpace) -> Configuration:
    """Return the configuration that a trial's parameters name."""
    values = {k: v for k, v in parameters.items() if k != MICRO_BATCH}
    return space.at(values, int(parameters.get(MICRO_BATCH, space.micro_batches[0])))
