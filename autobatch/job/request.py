"""What a person asked for, as plain data: the queue keeps it, and the same search can be started from it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from autobatch.workload import profiles
from autobatch.workload.spec import Workload

FREE = 0
"""Effective batch of a search that may choose it."""


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


def as_asked(workload: Workload, job: Job) -> Workload:
    """Lay the job's profile over a workload, and over that the effective batch and epochs that it names outright.

    Raises:
        UsageError: there is no such profile.

    """
    own = workload.effective_batch
    if job.profile is not None:
        workload = profiles.apply(job.profile, workload, keep_batch=job.effective_batch is not None)
    if job.effective_batch is not None:
        workload = replace(workload, effective_batch=None if job.effective_batch == FREE else job.effective_batch)
    if workload.effective_batch != own:
        workload = replace(workload, recipe_batch=own)
    return workload if job.epochs is None else replace(workload, epochs=job.epochs)
