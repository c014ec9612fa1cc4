"""What a person asked for, as plain data: the queue keeps it, and the same search can be started from it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from autobatch.errors import UsageError
from autobatch.workload import profiles
from autobatch.workload.check import check_batch
from autobatch.workload.spec import Workload

FREE = 0
"""Effective batch of a search that may choose it."""
LONGEST_NAME = 200
"""Bytes of a study's name: folders are called by it, and may have 255."""


@dataclass(frozen=True)
class Job:
    """One search as it was asked for."""

    model: str
    """Preset, hub id or local folder; where a script trains its own, the script's name."""
    budget_s: float
    database: str = "trials.db"
    study: str | None = None
    """Name of the study; None: made from the model, the device and the request."""
    data: str | None = None
    text_column: str | None = None
    summary_column: str | None = None
    effective_batch: int | None = None
    """Samples per optimizer step; None: the preset's; `FREE`: not held."""
    epochs: float | None = None
    profile: str | None = None
    """A working profile: how much data, which effective batch. What is asked for outright goes before it."""
    fix: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    space: str | None = None
    """Path of a space file."""
    device: str = "auto"
    devices: int = 1
    gpu_memory_bytes: int | None = None
    host_memory_bytes: int | None = None
    limit_gpu: float = 0.85
    limit_host: float = 0.80
    sampler: str = "structured"
    seed: int = 0
    isolation: str = "fork"
    phase: str = "train"
    """`train`, or `inference` for the inference batch alone."""
    threshold: float = 0.01
    """The search ends when the best remaining gain is expected to be below this share."""
    trust_remote_code: bool = False
    folder: str = ""
    """Where it was asked for: relative paths count from here. Empty: where the process is."""
    script: tuple[str, ...] = field(default=())
    """The user's own command line; empty: the model is trained by the built-in probe."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Job:
        """Read what `to_dict` wrote."""
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known}
        return cls(**values)


def check(job: Job) -> None:
    """Check what a request says by itself, before anything is read or started.

    Raises:
        UsageError: the study's name cannot be one, or columns are named of no data.

    """
    check_name(job.study or "")
    for name in ("text_column", "summary_column"):
        if getattr(job, name) is not None and job.data is None and not job.script:
            what = f"--{name.replace('_', '-')} names a column of --data, which is not given."
            raise UsageError(what, "Give --data FILE, or leave the column out.")


def check_name(study: str) -> None:
    """Check the name of a study, given or made of the model's.

    Raises:
        UsageError: it cannot be one.

    """
    if not study.isprintable() or len(study.encode(errors="replace")) > LONGEST_NAME:
        what = f"{study[:40]!r}... is no name of a study: it is longer than {LONGEST_NAME} bytes, or cannot be printed."
        raise UsageError(what, "Give the search a shorter, plain one: --study NAME.")


def as_asked(workload: Workload, job: Job) -> Workload:
    """Lay the job's profile over a workload, and over that the effective batch and epochs that it names outright.

    Raises:
        UsageError: there is no such profile, or the effective batch is larger than the training samples.

    """
    own = workload.effective_batch
    if job.profile is not None:
        named = job.effective_batch is not None
        workload = profiles.apply(job.profile, workload, keep_batch=named, keep_samples=bool(job.script))
    if job.effective_batch is not None:
        workload = replace(workload, effective_batch=None if job.effective_batch == FREE else job.effective_batch)
    if workload.effective_batch != own:
        workload = replace(workload, recipe_batch=own)
    check_batch(workload)
    return workload if job.epochs is None else replace(workload, epochs=job.epochs)
