"""The rules of `classify`, one cause each: evidence and limits to a finding, or None where they do not hold."""

from __future__ import annotations

import re
import signal

from autobatch.isolation.evidence import Evidence
from autobatch.request import Limits
from autobatch.verdict import Confidence, Kind

Finding = tuple[Kind, Confidence]
CERTAIN, LIKELY = Confidence.CERTAIN, Confidence.LIKELY

_FULL_BYTES = 4 << 20
"""A file system with less than this free is full: a write of a batch or a checkpoint no longer fits."""
_IDLE_S = 0.5
_NEAR_SHARE = 0.8
"""A working set above this share of its limit, between two readings, is what may have reached it."""
_XID_OFF_THE_BUS = 79
_CUDA_MEMORY = re.compile(
    r"CUDA error: out of memory|cudaErrorMemoryAllocation|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED"
    r"|CUDA driver error: out of memory"
)
_TORCH_OUT_OF_MEMORY = ("torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError")
_CUDA_FAULT = re.compile(r"CUDA error:|CUDA driver error:|CUBLAS_STATUS_EXECUTION_FAILED|cudaErrorLaunchFailure")
_LOADER = re.compile(r"DataLoader worker \(pid\(?s?\)? ?[\d, ]+\) (is killed by signal|exited unexpectedly)")
_ASKED_TO_END = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_THREADS = re.compile(
    r"can't start new thread|Thread creation failed|Resource temporarily unavailable|pthread_create failed"
)
_CPU_ALLOCATION = re.compile(r"DefaultCPUAllocator: (can't|not enough)|std::bad_alloc|Cannot allocate memory")
_SHM = re.compile(r"unable to (allocate|resize|open) shared memory|torch_shm|/dev/shm|/torch_\d+_\d+")
_NO_SPACE = re.compile(r"No space left on device|database or disk is full|Errno 28|\(28\)|os error 28|quota exceeded")


def _said(evidence: Evidence, pattern: re.Pattern[str], *types: str) -> bool:
    """Tell whether an exception, of one of these types where given, says so."""
    return any(
        (not types or kind.rpartition(".")[2] in types) and pattern.search(text) for kind, text in evidence.exceptions
    )


def _raised(evidence: Evidence, *types: str) -> bool:
    return any(kind.rpartition(".")[2] in types for kind, _ in evidence.exceptions)


def _ended_badly(evidence: Evidence) -> bool:
    """Tell whether there is no outcome and the process did not end by itself in good order."""
    return evidence.outcome is None and evidence.returncode != 0


def gpu_lost(evidence: Evidence, _: Limits) -> Finding | None:
    """NVML no longer reaches the card, or the driver reported it off the bus."""
    if evidence.device.lost or _XID_OFF_THE_BUS in evidence.device.xids:
        return Kind.GPU_LOST, CERTAIN
    return None


def unsupervised(evidence: Evidence, _: Limits) -> Finding | None:
    """Find that its own parent was lost, with which it dies, whatever it was doing."""
    lost = evidence.parent_died and evidence.outcome is None and not evidence.moved("memory.oom_kill")
    return (Kind.NO_VERDICT, Confidence.UNDECIDED) if lost else None


def stopped_for_memory(evidence: Evidence, _: Limits) -> Finding | None:
    """Find that we ended it just before the host's limit, or before its neighbours reached the container's."""
    kinds = {"memory": Kind.WATCHDOG_MEMORY, "squeezed": Kind.HOST_OOM_ANCESTOR}
    if evidence.outcome is None and evidence.stopped in kinds:
        return kinds[evidence.stopped], CERTAIN
    return None


def host_out_of_memory(evidence: Evidence, limits: Limits) -> Finding | None:
    """Find a kernel kill inside the probe's cgroup, or, without one, somewhere while the probe died by SIGKILL."""
    if not evidence.has_cgroup:
        return _host_out_of_memory_unguarded(evidence)
    if not evidence.moved("memory.oom_kill"):
        return None
    own, confidence = _hit_own_limit(evidence)
    if own and _was_squeezed(evidence, limits):
        own, confidence = False, LIKELY
    if not own:
        return Kind.HOST_OOM_ANCESTOR, confidence
    return (Kind.LOADER_WORKER_KILLED if _said(evidence, _LOADER) else Kind.HOST_OOM), confidence


def _hit_own_limit(evidence: Evidence) -> tuple[bool, Confidence]:
    """Tell whose limit it was. v2 counts `oom` at that limit; v1 knows which limits were reached."""
    if evidence.cgroup_version == 2:  # noqa: PLR2004 - v2
        return evidence.moved("memory.oom"), CERTAIN
    if not (evidence.moved("memory.max") and evidence.moved("ancestor.max")):
        return evidence.moved("memory.max"), CERTAIN
    return (evidence.host_peak_bytes or 0) > _NEAR_SHARE * (evidence.limit_bytes or 0), LIKELY


def _was_squeezed(evidence: Evidence, limits: Limits) -> bool:
    """Tell whether neighbours had left the probe less than a configuration may use."""
    if evidence.limit_bytes is None or limits.host_bytes is None:
        return False
    return evidence.limit_bytes < limits.host_fraction * limits.host_bytes


def _host_out_of_memory_unguarded(evidence: Evidence) -> Finding | None:
    """Without a cgroup of its own the counters are shared with neighbours: likely at best."""
    if not evidence.moved("ancestor.oom_kill", "vmstat.oom_kill"):
        return None
    if _said(evidence, _LOADER):
        return Kind.LOADER_WORKER_KILLED, LIKELY
    if evidence.outcome is None and evidence.signal == signal.SIGKILL and evidence.stopped is None:
        return Kind.HOST_OOM, LIKELY
    return None


def shared_memory_full(evidence: Evidence, _: Limits) -> Finding | None:
    """Shared memory was refused, or touching it raised SIGBUS, with /dev/shm full."""
    full = evidence.shm_free_bytes is not None and evidence.shm_free_bytes < _FULL_BYTES
    if _said(evidence, _SHM, "RuntimeError", "OSError") and _said(evidence, _NO_SPACE):
        return Kind.SHM_FULL, CERTAIN if full else LIKELY
    if full and _said(evidence, _NO_SPACE, "OSError") and not _disk_is_full(evidence):
        return Kind.SHM_FULL, LIKELY
    worker_bus_error = _said(evidence, _LOADER) and _said(evidence, re.compile("Bus error"))
    if full and (worker_bus_error or (evidence.outcome is None and evidence.signal == signal.SIGBUS)):
        return Kind.SHM_FULL, LIKELY
    return None


def starved_of_shared_memory(evidence: Evidence, _: Limits) -> Finding | None:
    """Find a training that waits for a batch which a worker could not hand over.

    A worker hands over in a thread: what is raised there is in the log alone, and ends nobody.
    """
    said = evidence.stopped in ("hang", "deadline") and says_shm_is_full(evidence.log_tail)
    if evidence.outcome is None and (said or evidence.stopped == "shm"):
        full = evidence.shm_free_bytes is not None and evidence.shm_free_bytes < _FULL_BYTES
        return Kind.SHM_FULL, CERTAIN if full else LIKELY
    return None


def says_shm_is_full(log: str) -> bool:
    """Tell whether a line of a log says that shared memory was refused for space."""
    return any(_SHM.search(line) and _NO_SPACE.search(line) for line in log.splitlines())


def _disk_is_full(evidence: Evidence) -> bool:
    return evidence.disk_free_bytes is not None and evidence.disk_free_bytes < _FULL_BYTES


def device_out_of_memory(evidence: Evidence, _: Limits) -> Finding | None:
    """Find the allocator's own exception, or an allocation failure that the driver or a library reports as text."""
    by_type = any(kind in _TORCH_OUT_OF_MEMORY for kind, _ in evidence.exceptions)
    by_text = _said(evidence, _CUDA_MEMORY, "RuntimeError", "AcceleratorError")
    if not evidence.runs_on.startswith("cuda") or not (by_type or by_text):
        return None
    if evidence.device.others_moved_in:
        return Kind.DISTURBED, LIKELY
    kind = Kind.CUDA_OOM_EVAL if _phase(evidence) == "eval" else Kind.CUDA_OOM_TRAIN
    return kind, CERTAIN if by_type else LIKELY


def _phase(evidence: Evidence) -> str:
    return str((evidence.outcome or {}).get("phase") or evidence.phase)


def device_poisoned(evidence: Evidence, _: Limits) -> Finding | None:
    """Find a kernel that failed for another reason than memory; the process can no longer use the device."""
    if not evidence.runs_on.startswith("cuda"):
        return None
    if _raised(evidence, "AcceleratorError"):
        return Kind.CUDA_POISONED, CERTAIN
    return (Kind.CUDA_POISONED, LIKELY) if _said(evidence, _CUDA_FAULT, "RuntimeError") else None


def threads_exhausted(evidence: Evidence, _: Limits) -> Finding | None:
    """Find a thread or process refused. The counter proves it; the text alone is also what RLIMIT_AS gives."""
    said = _said(evidence, _THREADS, "RuntimeError", "BlockingIOError", "OSError", "error")
    in_log = _ended_badly(evidence) and "Thread creation failed" in evidence.log_tail
    if not said and not in_log:
        return None
    if evidence.moved("pids.max", "ancestor.pids.max"):
        return Kind.THREADS_EXHAUSTED, CERTAIN
    return (Kind.CPU_ALLOCATION if evidence.address_space_limit_bytes else Kind.THREADS_EXHAUSTED), LIKELY


def cpu_allocation(evidence: Evidence, _: Limits) -> Finding | None:
    """Find an allocation that the host refused to the process itself, as under RLIMIT_AS or without overcommit."""
    said = _said(evidence, _CPU_ALLOCATION, "RuntimeError", "OSError") or _raised(evidence, "MemoryError")
    in_log = _ended_badly(evidence) and "std::bad_alloc" in evidence.log_tail
    if not said and not in_log:
        return None
    by_system = _said(evidence, re.compile(r"DefaultCPUAllocator|Errno 12"), "RuntimeError", "OSError")
    return Kind.CPU_ALLOCATION, CERTAIN if by_system or evidence.address_space_limit_bytes else LIKELY


def disk_full(evidence: Evidence, _: Limits) -> Finding | None:
    """Find a write refused for space; the file system's own figure makes it certain."""
    full = _disk_is_full(evidence)
    if _said(evidence, _NO_SPACE, "OSError", "OperationalError", "RuntimeError", "SafetensorError"):
        return Kind.DISK_FULL, CERTAIN if full or _raised(evidence, "OSError") else LIKELY
    if full and (_raised(evidence, "OperationalError") or (_ended_badly(evidence) and not evidence.exceptions)):
        return Kind.DISK_FULL, LIKELY
    return None


def broken_pipe(evidence: Evidence, _: Limits) -> Finding | None:
    """Find that the reader of a pipe had gone."""
    if _raised(evidence, "BrokenPipeError") or (evidence.outcome is None and evidence.signal == signal.SIGPIPE):
        return Kind.BROKEN_PIPE, CERTAIN
    return None


def interrupted(evidence: Evidence, _: Limits) -> Finding | None:
    """Find a SIGINT, of which Python makes an exception."""
    return (Kind.KILLED, LIKELY) if evidence.error.get("type") == "KeyboardInterrupt" else None


def user_error(evidence: Evidence, _: Limits) -> Finding | None:
    """Find an exception of the code's own; a worker that died without a counter moving is no such thing."""
    if not evidence.exceptions:
        return None
    if not _said(evidence, _LOADER):
        return Kind.USER_ERROR, CERTAIN
    told = _said(evidence, re.compile(r"killed by signal: (Killed|Terminated)"))
    if told or evidence.child_signals & set(_ASKED_TO_END):
        return Kind.KILLED, LIKELY
    return Kind.NO_VERDICT, Confidence.UNDECIDED


def stopped_for_time(evidence: Evidence, _: Limits) -> Finding | None:
    """We ended it: nothing moved, or its time was up."""
    if evidence.outcome is not None:
        return None
    if evidence.stopped == "hang":
        # silent but busy may also be one very long step
        return Kind.HANG, CERTAIN if evidence.idle_s > _IDLE_S else LIKELY
    return (Kind.TIMEOUT, CERTAIN) if evidence.stopped == "deadline" else None


def killed(evidence: Evidence, _: Limits) -> Finding | None:
    """Find a signal that only another sends, without a word of ours and with every counter still."""
    if evidence.outcome is not None or evidence.signal not in _ASKED_TO_END:
        return None
    return Kind.KILLED, CERTAIN if evidence.has_cgroup or evidence.signal != signal.SIGKILL else LIKELY


def crashed(evidence: Evidence, _: Limits) -> Finding | None:
    """Find, where there is no outcome, a traceback of Python or of a fault in native code in the log."""
    log = evidence.log_tail
    if evidence.outcome is None and ("Traceback (most recent call last)" in log or "Fatal Python error" in log):
        return Kind.USER_ERROR, LIKELY
    return None
