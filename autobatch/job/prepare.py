"""From a job to all that a search needs: workload, machine, limits, space and the study's name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from autobatch.errors import MachineError, UsageError
from autobatch.job import script
from autobatch.job.available import held, usable
from autobatch.job.request import Job, as_asked, check, check_name
from autobatch.job.space import Wishes, build_space, wishes
from autobatch.machine import fingerprint, processors
from autobatch.machine.fingerprint import Fingerprint
from autobatch.request import Limits
from autobatch.safe_files import read_yaml
from autobatch.search.first_stage import LATER, initial_settings
from autobatch.settings import (
    ACCUMULATION,
    ARM_KEYS,
    EVAL_BATCH,
    METHOD,
    MICRO_BATCH,
    QUANTIZATION,
    Configuration,
    Scalar,
    SearchSpace,
)
from autobatch.store.lock import identity_of
from autobatch.units import format_bytes
from autobatch.workload.data import with_data
from autobatch.workload.resolve import resolve
from autobatch.workload.spec import Workload

SMALLEST_BUDGET_S = 20.0
"""Starting the libraries alone takes 5 to 25 s; less than this has no room for a probe."""


@dataclass(frozen=True)
class Asked:
    """What a job says of itself, read and checked; nothing of it has run yet."""

    wish: Wishes
    machine: Fingerprint
    limits: Limits
    device: str

    @property
    def identity(self) -> str:
        """What a search locks: the GPU's UUID, or `cpu`."""
        return identity_of(self.machine.gpu)


@dataclass(frozen=True)
class Prepared:
    """All that a search needs."""

    workload: Workload
    machine: Fingerprint
    limits: Limits
    space: SearchSpace
    device: str
    study: str
    own: Configuration | None = None
    """The script's own settings, where they are in the space."""


def read(job: Job) -> Asked:
    """Read and check what can be told without running anything.

    Raises:
        UsageError: something that the job names does not exist or cannot be.
        MachineError: the device is not there.

    """
    _check_budget(job.budget_s)
    check(job)
    wish = _wish(job)
    device = _device(job.device)
    wish = usable(wish, fingerprint.precisions(device), processors.usable(), device)
    machine = fingerprint.read(device)
    return Asked(wish, machine, build_limits(job, machine), device)


def prepare(job: Job, asked: Asked) -> Prepared:
    """Read the model, or run the script up to its training: whoever calls that on a card holds its lock.

    Raises:
        UsageError: the model, the script or the data do not exist, cannot be read or cannot be, or give no name to
            a study.

    """
    settings: Mapping[str, Scalar] = {}
    if job.script:
        workload, wish, settings = script.build(job, asked.wish, asked.device)
    else:
        workload, wish = build_workload(job, asked.wish), asked.wish
    precisions, machine = fingerprint.precisions(asked.device), asked.machine
    space = build_space(workload, precisions, machine.cores, held(wish, machine), job.devices)
    study = job.study or study_name(workload, machine, asked.limits, space, job.phase)
    check_name(study)
    return Prepared(workload, machine, asked.limits, space, asked.device, study, own_of(settings, space))


def own_of(settings: Mapping[str, Scalar], space: SearchSpace) -> Configuration | None:
    """Return the configuration of the space that has these settings; None where none has, or several have."""
    told = {name: settings[name] for name in (MICRO_BATCH, ACCUMULATION, *ARM_KEYS) if name in settings}
    same = [one for one in space.grid() if all(one[name] == value for name, value in told.items())]
    later = _later_of(settings, space)
    return same[0].replace(later) if MICRO_BATCH in told and len(same) == 1 and later is not None else None


def _later_of(settings: Mapping[str, Scalar], space: SearchSpace) -> Mapping[str, Scalar] | None:
    """Return the settings of the loader and the eval batch; None where the space has not the loader's."""
    told = {name: settings[name] for name in LATER if name in settings}
    held = initial_settings(space)
    if told.get(EVAL_BATCH) not in space.searched.get(EVAL_BATCH, ()):
        told.pop(EVAL_BATCH, None)  # it changes nothing of the training
    possible = {name: space.searched.get(name, (space.fixed.get(name, value),)) for name, value in told.items()}
    return {**held, **told} if all(value in possible[name] for name, value in told.items()) else None


def _check_budget(budget_s: float) -> None:
    if budget_s < SMALLEST_BUDGET_S:
        message = f"A budget of {budget_s:.0f} s is too small for one probe."
        raise UsageError(message, f"Give at least {SMALLEST_BUDGET_S:.0f} s; some minutes are usual: --budget 10m.")


def _wish(job: Job) -> Wishes:
    content = read_yaml(Path(job.space)) if job.space else None
    if content is not None and not isinstance(content, dict):
        message = f"{job.space} is no map of settings."
        raise UsageError(message, "Write fix: {KEY: VALUE} and search: {KEY: [VALUE, VALUE]}.")
    return wishes(job.fix, job.search, content)


def build_workload(job: Job, wish: Wishes) -> Workload:
    """Return the workload of the job: the model's own, with what the job says of data, batch, epochs and method.

    Raises:
        UsageError: the model or the data cannot be read.

    """
    if not job.model:
        message = "There is neither a model nor a script to train."
        raise UsageError(message, "Name a model, --model NAME, or a script: autobatch search -- python train.py ARGS")
    workload = resolve(job.model, trust_remote_code=job.trust_remote_code)
    changes: dict[str, object] = {}
    if METHOD in wish.fix or QUANTIZATION in wish.fix:
        changes["method"] = wish.fix.get(METHOD, workload.method)
        changes["quantization"] = wish.fix.get(QUANTIZATION, workload.quantization)
    workload = replace(workload, **changes)  # type: ignore[arg-type]  # each value is its field's
    if job.data:
        workload = with_data(workload, job.data, job.text_column, job.summary_column)
    return as_asked(workload, job)


def _device(asked: str) -> str:
    if asked == "cpu":
        return "cpu"
    from autobatch.machine.gpus import list_gpus

    found = list_gpus()
    if asked == "auto":
        return "cuda:0" if found else "cpu"
    index = asked.removeprefix("cuda").removeprefix(":") or "0"
    if not asked.startswith("cuda") or not index.isdecimal():
        message = f"There is no device {asked!r}."
        raise UsageError(message, "Give auto, cpu, cuda or cuda:N.")
    if int(index) >= len(found):
        message = f"There is no GPU {index} here: {len(found)} found."
        raise MachineError(message, "Run `autobatch doctor` to see why, or use --device cpu.")
    return f"cuda:{index}"


def build_limits(job: Job, machine: Fingerprint) -> Limits:
    """Return the limits: the machine's own, or tighter ones that the job asks for. On the CPU the host is the card.

    Raises:
        UsageError: the job asks for more memory than there is.

    """
    host = _tighter("--host-memory", job.host_memory_bytes, machine.host_limit_bytes)
    if machine.gpu is None:
        if job.gpu_memory_bytes:
            host = _tighter("--gpu-memory", job.gpu_memory_bytes, host)
        fraction = min(job.limit_gpu, job.limit_host)
        return Limits(device_bytes=host, device_fraction=fraction, host_bytes=host, host_fraction=job.limit_host)
    card = _tighter("--gpu-memory", job.gpu_memory_bytes, machine.gpu.total_bytes)
    return Limits(card, job.limit_gpu, host, job.limit_host)


def _tighter(option: str, asked: int | None, there: int) -> int:
    if asked and asked > there * 1.05:  # a card sold as 80 GB reports a little less than 80 GiB
        message = f"{option} {format_bytes(asked)} is more than the {format_bytes(there)} of this machine."
        raise UsageError(message, "Leave the option out, or give a smaller size; `autobatch plan` is for other cards.")
    return min(asked or there, there)


def study_name(
    workload: Workload, machine: Fingerprint, limits: Limits, space: SearchSpace, phase: str = "train"
) -> str:
    """Name the study so that the same request, and no other, goes on with it."""
    parts = [workload.digest, str(limits), str(space), machine.gpu.name if machine.gpu else "cpu"]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:6]
    place = f"{round((limits.device_bytes or 0) / 2**30)}GiB" if machine.gpu else "cpu"
    model = workload.model.name if phase == "train" else f"{workload.model.name}-{phase}"
    return f"{model}-{place}-{digest}"
