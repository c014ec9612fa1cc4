"""What a probe came to: a kind, how sure of it, the evidence, one hint in words, and the measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

ENDED_BY = "ended_by"
"""Evidence of a probe that the search itself gave up: what it was interrupted by."""
_LONGEST_MESSAGE = 300


class Kind(StrEnum):
    """Outcome of a probe. Every failure of `HINTS` is one entry here and one there."""

    OK = "ok"
    CUDA_OOM_TRAIN = "cuda_oom_train"
    CUDA_OOM_EVAL = "cuda_oom_eval"
    CUDA_POISONED = "cuda_poisoned"
    HOST_OOM = "host_oom"
    HOST_OOM_ANCESTOR = "host_oom_ancestor"
    WATCHDOG_MEMORY = "watchdog_memory"
    LOADER_WORKER_KILLED = "loader_worker_killed"
    CPU_ALLOCATION = "cpu_allocation"
    THREADS_EXHAUSTED = "threads_exhausted"
    SHM_FULL = "shm_full"
    DISK_FULL = "disk_full"
    HANG = "hang"
    TIMEOUT = "timeout"
    BROKEN_PIPE = "broken_pipe"
    SPILL = "spill"
    NEARLY_OOM = "nearly_oom"
    OVER_LIMIT = "over_limit"
    HOST_OVER_LIMIT = "host_over_limit"
    NUMERICS = "numerics"
    GPU_LOST = "gpu_lost"
    KILLED = "killed"
    KILLED_IN_FLIGHT = "killed_in_flight"
    USER_ERROR = "user_error"
    HOPELESS = "hopeless"
    DISTURBED = "disturbed"
    NO_VERDICT = "no_verdict"


MEMORY_KINDS = frozenset(
    {
        Kind.CUDA_OOM_TRAIN,
        Kind.CUDA_OOM_EVAL,
        Kind.HOST_OOM,
        Kind.WATCHDOG_MEMORY,
        Kind.LOADER_WORKER_KILLED,
        Kind.CPU_ALLOCATION,
        Kind.SHM_FULL,
        Kind.SPILL,
        Kind.NEARLY_OOM,
        Kind.OVER_LIMIT,
        Kind.HOST_OVER_LIMIT,
    },
)
"""Kinds that say: this configuration needs more memory than it may have."""

HINTS: Mapping[Kind, str] = {
    Kind.OK: "It ran.",
    Kind.CUDA_OOM_TRAIN: "Training does not fit on the card: a smaller micro-batch or gradient checkpointing would.",
    Kind.CUDA_OOM_EVAL: "Evaluation does not fit beside the optimizer's state: a smaller eval batch would.",
    Kind.CUDA_POISONED: "A CUDA kernel failed (not for memory): run it with CUDA_LAUNCH_BLOCKING=1 to see which.",
    Kind.HOST_OOM: "The probe needed more host memory than its limit: fewer DataLoader workers would need less.",
    Kind.HOST_OOM_ANCESTOR: "The container ran out of memory, not the probe: free the neighbours' memory, then retry.",
    Kind.WATCHDOG_MEMORY: "Stopped just before the host's memory limit: fewer DataLoader workers would need less.",
    Kind.LOADER_WORKER_KILLED: "A DataLoader worker was killed for memory: use fewer workers.",
    Kind.CPU_ALLOCATION: "The host refused an allocation: lower the batch or the workers, or raise the limit.",
    Kind.THREADS_EXHAUSTED: "No more threads or processes may be made: raise the limit or use fewer workers.",
    Kind.SHM_FULL: "/dev/shm is full: give the container more (--shm-size) or use fewer workers.",  # noqa: S108 - a path in words
    Kind.DISK_FULL: "The disk is full: free some space and run the same command again.",
    Kind.HANG: "It gave no sign for too long: its log may say what it waits for; a step may need a larger budget.",
    Kind.TIMEOUT: "It was still working when its time was up: give it a larger budget.",
    Kind.BROKEN_PIPE: "The process at the other end of a pipe had gone: look at the probe's log for which.",
    Kind.SPILL: "The driver moved memory to the host instead of failing: stay below this micro-batch.",
    Kind.NEARLY_OOM: "It ran, but the allocator had to free and retry: too close to the limit for a long run.",
    Kind.OVER_LIMIT: "It ran, but above the share of the card's memory that keeps a long run safe.",
    Kind.HOST_OVER_LIMIT: "It ran, but above the host memory that keeps a long run safe: use fewer DataLoader workers.",
    Kind.NUMERICS: "The loss was not finite: use bf16 or fp32 (fp16 overflows in T5 and mT5).",
    Kind.GPU_LOST: "The GPU fell off the bus: check the host (dmesg, nvidia-smi) and restart it.",
    Kind.KILLED: "Somebody or something killed the probe; no memory counter moved.",
    Kind.KILLED_IN_FLIGHT: "The machine or container died while this ran; it is not tried again without your word.",
    Kind.USER_ERROR: "The training code itself failed: what it said is in the evidence (`autobatch show TRIAL`).",
    Kind.HOPELESS: "Ended early: beyond doubt slower than the best so far.",
    Kind.DISTURBED: "Another process began to use the card, or more of it, during the measurement: it is repeated.",
    Kind.NO_VERDICT: "The probe ended without a result, and the evidence does not decide why.",
}

FLAGS: Mapping[str, str] = {
    "fails_alone": "It fails also without autobatch.",
    "fails_under_test": "By itself it does not fail.",
    "worst_case_unknown": "How it makes its batches is unknown, and so is the longest: memory is that of those seen.",
    "shows_defaults": "The loop does not ask for every setting: of the others a default is shown, not the loop's own.",
}
"""What else may be known of how a person's own script ran, in words."""


class Confidence(StrEnum):
    """How far the evidence goes."""

    CERTAIN = "certain"
    LIKELY = "likely"
    UNDECIDED = "undecided"


BUSY = 0.8
"""A card that computes for less of the time, the loader's share aside, waits for its host."""


@dataclass(frozen=True)
class Measurements:
    """Figures of one probe; None where it was not, or could not be, measured. Units are in the names."""

    micro_step_s: float | None = None
    """Forward and backward of one micro-batch, wall clock, median over typical batches."""
    micro_step_rel_error: float | None = None
    """Half width of the 95 % confidence interval of `micro_step_s`, relative to it."""
    optimizer_step_s: float | None = None
    step_s: float | None = None
    """One optimizer step: accumulation x micro-step + optimizer step, or measured whole when confirmed."""
    samples_per_s: float | None = None
    tokens_per_s: float | None = None
    """Real tokens, without padding."""
    mfu: float | None = None
    """Model FLOPs utilisation: a fraction of the device's peak in the precision used."""
    steps_timed: int | None = None
    device_peak_allocated_bytes: int | None = None
    device_peak_reserved_bytes: int | None = None
    device_peak_used_bytes: int | None = None
    """What the card reports for this process: reserved + context + libraries. The figure held against the limit."""
    device_context_bytes: int | None = None
    """Context and libraries: used minus reserved."""
    allocation_retries: int | None = None
    host_peak_bytes: int | None = None
    """Working set of the whole process tree, shared memory included."""
    loader_worker_bytes: int | None = None
    """Host memory that one DataLoader worker adds."""
    loader_batch_s: float | None = None
    """Time that one worker needs to make one micro-batch."""
    loader_wait_fraction: float | None = None
    """Share of the wall clock in which the device waited for the loader (starvation)."""
    gpu_utilization_fraction: float | None = None
    energy_j_per_sample: float | None = None
    eval_samples_per_s: float | None = None
    eval_device_peak_used_bytes: int | None = None
    train_device_peak_used_bytes: int | None = None
    longest_source_tokens: int | None = None
    longest_target_tokens: int | None = None
    loss: float | None = None
    startup_s: Mapping[str, float] = field(default_factory=dict)
    """Start-up cost by phase: fork, context, build, trainer, first_step."""

    @property
    def launch_bound(self) -> bool:
        """Whether the card, as far as it was looked at, waits for its host to launch kernels."""
        busy = self.gpu_utilization_fraction
        return busy is not None and busy + (self.loader_wait_fraction or 0.0) < BUSY

    def to_dict(self) -> dict[str, Any]:
        """Return the figures that are known, JSON-ready."""
        return {k: v for k, v in asdict(self).items() if v is not None and v != {}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measurements:
        """Read what `to_dict` wrote; names it does not know are left out."""
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in data.items() if k in known})


@dataclass(frozen=True)
class Verdict:
    """Outcome of one probe."""

    kind: Kind
    measurements: Measurements = field(default_factory=Measurements)
    confidence: Confidence = Confidence.CERTAIN
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """Facts that led to `kind`: counters, exit status, exception, traceback, limits. JSON-ready."""
    duration_s: float = 0.0
    """From the request to the end of the process tree."""
    flags: tuple[str, ...] = ()
    """Names of `FLAGS` that hold."""

    @property
    def ok(self) -> bool:
        """Whether the configuration ran and is within the limits."""
        return self.kind is Kind.OK

    @property
    def hint(self) -> str:
        """What it means and what would help, in words: the code's own where that failed, with the flags that hold."""
        said = (self._own_words or HINTS[self.kind], *(FLAGS[name] for name in self.flags if name in FLAGS))
        return " ".join(said)

    @property
    def _own_words(self) -> str:
        """What the code raised, in one line; empty where it is not the code that failed."""
        error = self.evidence.get("exception") or {}
        message = " ".join(str(error.get("message") or "").split())[:_LONGEST_MESSAGE]
        if self.kind is not Kind.USER_ERROR or not message:
            return ""
        if error.get("do"):  # an error of ours says itself what to do
            return f"{message} {error['do']}"
        return f"{HINTS[self.kind]} {str(error.get('type')).rpartition('.')[2]}: {message.rstrip('.')}."

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "kind": str(self.kind),
            "confidence": str(self.confidence),
            "evidence": dict(self.evidence),
            "duration_s": self.duration_s,
            **({"flags": list(self.flags)} if self.flags else {}),
            "measurements": self.measurements.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Verdict:
        """Read what `to_dict` wrote."""
        return cls(
            kind=Kind(data["kind"]),
            confidence=Confidence(data["confidence"]),
            evidence=data.get("evidence", {}),
            duration_s=float(data.get("duration_s", 0.0)),
            flags=tuple(data.get("flags", ())),
            measurements=Measurements.from_dict(data.get("measurements", {})),
        )
