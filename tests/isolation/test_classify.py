from __future__ import annotations

import json
import signal

import pytest

from autobatch.isolation.classify import classify
from autobatch.isolation.evidence import DeviceFacts, Evidence
from autobatch.request import Limits
from autobatch.verdict import Confidence, Kind, Verdict

GIB = 1 << 30
LIMITS = Limits(device_bytes=24 * GIB, host_bytes=10 * GIB)
CERTAIN, LIKELY, UNDECIDED = Confidence.CERTAIN, Confidence.LIKELY, Confidence.UNDECIDED
LOADER = ("RuntimeError", "DataLoader worker (pid 12) is killed by signal: Killed. ")
LOADER_GONE = ("RuntimeError", "DataLoader worker (pid(s) 12, 14) exited unexpectedly")
SHM = ("RuntimeError", "unable to allocate shared memory(shm) for file </torch_1_2_0>: No space left on device (28)")
FEEDER = f"Traceback (most recent call last):\n  ...\nRuntimeError: {SHM[1]}\nmultiprocessing/queues.py: ..."
BUS = ("RuntimeError", "DataLoader worker (pid 12) is killed by signal: Bus error. It is possible that ...")
AVX = "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."


def failed(*links, phase="worst_case"):
    """Return the outcome of a probe that raised this, then what was behind it."""
    (kind, message), *chain = links
    behind = [{"type": kind, "message": message} for kind, message in chain]
    error = {"type": kind, "message": message, "traceback": "Traceback ...", "chain": behind}
    return {"status": "error", "phase": phase, "measurements": {}, "error": error, "flags": {}}


def ran(flags=None, **measurements):
    return {"status": "ok", "phase": "typical", "measurements": {"loss": 1.0, **measurements}, "flags": flags or {}}


def on_card(**facts):
    return {"runs_on": "cuda:0", "device": DeviceFacts(**facts)}


V1 = {"has_cgroup": True, "cgroup_version": 1, "limit_bytes": 10 * GIB}
V2 = {"has_cgroup": True, "cgroup_version": 2, "limit_bytes": 10 * GIB}
KILLED = {"returncode": -9}
CUDA_OOM = failed(("torch.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB."))
V1_BOTH = {"memory.oom_kill": 1, "memory.max": 1, "ancestor.max": 1}

TABLE = [
    # host memory
    (V2 | KILLED | {"counters": {"memory.oom_kill": 3, "memory.oom": 1, "memory.max": 9}}, Kind.HOST_OOM, CERTAIN),
    (V2 | KILLED | {"counters": {"memory.oom_kill": 1, "ancestor.oom": 1}}, Kind.HOST_OOM_ANCESTOR, CERTAIN),
    (V2 | KILLED | {"counters": {"memory.oom_kill": 1, "memory.max": 40}}, Kind.HOST_OOM_ANCESTOR, CERTAIN),
    (V1 | KILLED | {"counters": {"memory.oom_kill": 1, "memory.max": 1}}, Kind.HOST_OOM, CERTAIN),
    (V1 | KILLED | {"counters": {"memory.oom_kill": 1, "vmstat.oom_kill": 1}}, Kind.HOST_OOM_ANCESTOR, CERTAIN),
    (V1 | KILLED | {"counters": V1_BOTH, "host_peak_bytes": 9 * GIB}, Kind.HOST_OOM, LIKELY),
    (V1 | KILLED | {"counters": V1_BOTH, "host_peak_bytes": 3 * GIB}, Kind.HOST_OOM_ANCESTOR, LIKELY),
    (
        V1 | KILLED | {"counters": {"memory.oom_kill": 1, "memory.max": 1}, "limit_bytes": 7 * GIB},
        Kind.HOST_OOM_ANCESTOR,
        LIKELY,
    ),
    (V1 | {"outcome": ran(), "counters": {"memory.oom_kill": 1, "memory.max": 1}}, Kind.HOST_OOM, CERTAIN),
    (KILLED | {"counters": {"ancestor.oom_kill": 1}}, Kind.HOST_OOM, LIKELY),
    (KILLED | {"counters": {"vmstat.oom_kill": 2}}, Kind.HOST_OOM, LIKELY),
    (V1 | KILLED | {"counters": {"vmstat.oom_kill": 2}}, Kind.KILLED, CERTAIN),
    (V1 | KILLED | {"counters": {"memory.max": 1}}, Kind.KILLED, CERTAIN),
    (KILLED | {"stopped": "memory"}, Kind.WATCHDOG_MEMORY, CERTAIN),
    (V2 | KILLED | {"stopped": "squeezed"}, Kind.HOST_OOM_ANCESTOR, CERTAIN),
    # DataLoader workers
    (
        V1 | {"outcome": failed(LOADER), "counters": {"memory.oom_kill": 1, "memory.max": 1}},
        Kind.LOADER_WORKER_KILLED,
        CERTAIN,
    ),
    (
        V1 | {"outcome": failed(LOADER_GONE, LOADER), "counters": {"memory.oom_kill": 1, "memory.max": 1}},
        Kind.LOADER_WORKER_KILLED,
        CERTAIN,
    ),
    ({"outcome": failed(LOADER), "counters": {"vmstat.oom_kill": 1}}, Kind.LOADER_WORKER_KILLED, LIKELY),
    (V1 | {"outcome": failed(LOADER)}, Kind.KILLED, LIKELY),
    (V1 | {"outcome": failed(LOADER_GONE)}, Kind.NO_VERDICT, UNDECIDED),
    (V1 | {"outcome": failed(LOADER_GONE), "child_signals": frozenset({9})}, Kind.KILLED, LIKELY),
    # the card
    (on_card() | {"outcome": CUDA_OOM}, Kind.CUDA_OOM_TRAIN, CERTAIN),
    (on_card() | {"outcome": CUDA_OOM | {"phase": "eval"}}, Kind.CUDA_OOM_EVAL, CERTAIN),
    (
        on_card() | {"outcome": failed(("RuntimeError", "x"), ("torch.OutOfMemoryError", "y"))},
        Kind.CUDA_OOM_TRAIN,
        CERTAIN,
    ),
    (on_card() | {"outcome": failed(("RuntimeError", "CUDA error: out of memory"))}, Kind.CUDA_OOM_TRAIN, LIKELY),
    (on_card() | {"outcome": failed(("RuntimeError", "CUBLAS_STATUS_ALLOC_FAILED"))}, Kind.CUDA_OOM_TRAIN, LIKELY),
    (on_card(others_moved_in=True) | {"outcome": CUDA_OOM}, Kind.DISTURBED, LIKELY),
    (
        on_card() | {"outcome": failed(("torch.AcceleratorError", "CUDA error: an illegal memory access"))},
        Kind.CUDA_POISONED,
        CERTAIN,
    ),
    (
        on_card() | {"outcome": failed(("RuntimeError", "CUDA error: device-side assert triggered"))},
        Kind.CUDA_POISONED,
        LIKELY,
    ),
    (
        on_card(lost="GPU is lost") | {"outcome": failed(("RuntimeError", "CUDA error: unknown"))},
        Kind.GPU_LOST,
        CERTAIN,
    ),
    (on_card(xids=(31, 79)) | KILLED, Kind.GPU_LOST, CERTAIN),
    (on_card(xids=(31,)) | {"outcome": CUDA_OOM}, Kind.CUDA_OOM_TRAIN, CERTAIN),
    # text alone proves nothing
    ({"outcome": CUDA_OOM}, Kind.USER_ERROR, CERTAIN),
    (on_card() | {"outcome": failed(("ValueError", "CUDA out of memory"))}, Kind.USER_ERROR, CERTAIN),
    (on_card() | {"outcome": failed(("mine.OutOfMemoryError", "boo"))}, Kind.USER_ERROR, CERTAIN),
    ({"outcome": failed(("RuntimeError", "Killed: oom_kill 137"))}, Kind.USER_ERROR, CERTAIN),
    ({"returncode": 137, "log_tail": "Killed\nout of memory"}, Kind.NO_VERDICT, UNDECIDED),
    # refusals
    ({"outcome": failed(("RuntimeError", AVX))}, Kind.CPU_ALLOCATION, CERTAIN),
    ({"outcome": failed(("MemoryError", ""))}, Kind.CPU_ALLOCATION, LIKELY),
    ({"outcome": failed(("MemoryError", "")), "address_space_limit_bytes": GIB}, Kind.CPU_ALLOCATION, CERTAIN),
    ({"outcome": failed(("OSError", "[Errno 12] Cannot allocate memory"))}, Kind.CPU_ALLOCATION, CERTAIN),
    (
        {"returncode": -6, "log_tail": "terminate called after throwing an instance of 'std::bad_alloc'"},
        Kind.CPU_ALLOCATION,
        LIKELY,
    ),
    (
        {"outcome": failed(("RuntimeError", "can't start new thread")), "counters": {"pids.max": 1}},
        Kind.THREADS_EXHAUSTED,
        CERTAIN,
    ),
    (
        {
            "outcome": failed(("BlockingIOError", "[Errno 11] Resource temporarily unavailable")),
            "counters": {"ancestor.pids.max": 1},
        },
        Kind.THREADS_EXHAUSTED,
        CERTAIN,
    ),
    ({"outcome": failed(("RuntimeError", "can't start new thread"))}, Kind.THREADS_EXHAUSTED, LIKELY),
    (
        {"outcome": failed(("RuntimeError", "can't start new thread")), "address_space_limit_bytes": GIB},
        Kind.CPU_ALLOCATION,
        LIKELY,
    ),
    (
        {
            "returncode": 1,
            "log_tail": "libgomp: Thread creation failed: Resource temporarily unavailable",
            "counters": {"pids.max": 1},
        },
        Kind.THREADS_EXHAUSTED,
        CERTAIN,
    ),
    ({"outcome": failed(SHM), "shm_free_bytes": 0}, Kind.SHM_FULL, CERTAIN),
    ({"outcome": failed(SHM)}, Kind.SHM_FULL, LIKELY),
    (
        {
            "outcome": failed(("OSError", "[Errno 28] No space left on device")),
            "shm_free_bytes": 0,
            "disk_free_bytes": GIB,
        },
        Kind.SHM_FULL,
        LIKELY,
    ),
    ({"outcome": failed(BUS), "shm_free_bytes": 0}, Kind.SHM_FULL, LIKELY),
    (KILLED | {"stopped": "hang", "idle_s": 60.0, "log_tail": FEEDER, "shm_free_bytes": 0}, Kind.SHM_FULL, CERTAIN),
    (KILLED | {"stopped": "deadline", "log_tail": FEEDER, "shm_free_bytes": GIB}, Kind.SHM_FULL, LIKELY),
    (KILLED | {"stopped": "shm", "log_tail": "what came after it", "shm_free_bytes": 0}, Kind.SHM_FULL, CERTAIN),
    (KILLED | {"stopped": "deadline", "log_tail": FEEDER, "outcome": ran()}, Kind.OK, CERTAIN),
    (KILLED | {"stopped": "hang", "idle_s": 60.0, "log_tail": "/dev/shm\nErrno 28"}, Kind.HANG, CERTAIN),
    ({"returncode": -7, "shm_free_bytes": 4096}, Kind.SHM_FULL, LIKELY),
    ({"returncode": -7, "shm_free_bytes": GIB}, Kind.NO_VERDICT, UNDECIDED),
    ({"outcome": failed(("OSError", "[Errno 28] No space left on device: '/x'"))}, Kind.DISK_FULL, CERTAIN),
    ({"outcome": failed(("OSError", "[Errno 122] Disk quota exceeded"))}, Kind.DISK_FULL, CERTAIN),
    ({"outcome": failed(("sqlite3.OperationalError", "database or disk is full"))}, Kind.DISK_FULL, LIKELY),
    ({"outcome": failed(("sqlite3.OperationalError", "disk I/O error")), "disk_free_bytes": 0}, Kind.DISK_FULL, LIKELY),
    (
        {"outcome": failed(("sqlite3.OperationalError", "disk I/O error")), "disk_free_bytes": GIB},
        Kind.USER_ERROR,
        CERTAIN,
    ),
    # silence and signals
    (KILLED | {"stopped": "hang", "idle_s": 60.0}, Kind.HANG, CERTAIN),
    (KILLED | {"stopped": "hang", "idle_s": 0.0}, Kind.HANG, LIKELY),
    (KILLED | {"stopped": "deadline"}, Kind.TIMEOUT, CERTAIN),
    (KILLED | {"stopped": "deadline", "outcome": ran()}, Kind.OK, CERTAIN),
    (KILLED, Kind.KILLED, LIKELY),
    (V2 | KILLED, Kind.KILLED, CERTAIN),
    ({"returncode": -signal.SIGTERM}, Kind.KILLED, CERTAIN),
    ({"outcome": failed(("KeyboardInterrupt", ""))}, Kind.KILLED, LIKELY),
    ({"outcome": failed(("KeyboardInterrupt", ""), ("KeyError", "'labels'"))}, Kind.KILLED, LIKELY),
    ({"outcome": failed(("KeyError", "'labels'"), ("KeyboardInterrupt", ""))}, Kind.USER_ERROR, CERTAIN),
    (KILLED | {"parent_died": True}, Kind.NO_VERDICT, UNDECIDED),
    ({"returncode": None, "parent_died": True}, Kind.NO_VERDICT, UNDECIDED),
    ({"outcome": failed(("BrokenPipeError", "[Errno 32] Broken pipe"))}, Kind.BROKEN_PIPE, CERTAIN),
    ({"returncode": -signal.SIGPIPE}, Kind.BROKEN_PIPE, CERTAIN),
    ({"returncode": -signal.SIGSEGV, "log_tail": "Fatal Python error: Segmentation fault"}, Kind.USER_ERROR, LIKELY),
    ({"returncode": 1, "log_tail": "Traceback (most recent call last):\nKeyError"}, Kind.USER_ERROR, LIKELY),
    ({"returncode": -signal.SIGSEGV}, Kind.NO_VERDICT, UNDECIDED),
    ({"returncode": 0}, Kind.NO_VERDICT, UNDECIDED),
    ({"outcome": failed(("KeyError", "'labels'"))}, Kind.USER_ERROR, CERTAIN),
    # what ran
    ({"outcome": ran()}, Kind.OK, CERTAIN),
    ({"outcome": ran(loss=float("nan"))}, Kind.NUMERICS, CERTAIN),
    ({"outcome": ran(loss=float("inf"))}, Kind.NUMERICS, CERTAIN),
    ({"outcome": ran({"spill": True})}, Kind.SPILL, LIKELY),
    ({"outcome": ran(allocation_retries=1)}, Kind.NEARLY_OOM, CERTAIN),
    ({"outcome": ran({"nearly_oom": True})}, Kind.NEARLY_OOM, CERTAIN),
    ({"outcome": ran({"hopeless": True})}, Kind.HOPELESS, CERTAIN),
    ({"outcome": ran({"over_limit": True})}, Kind.OVER_LIMIT, CERTAIN),
    ({"outcome": ran(device_peak_used_bytes=int(20.5 * GIB))}, Kind.OVER_LIMIT, CERTAIN),
    ({"outcome": ran(device_peak_used_bytes=int(20.3 * GIB))}, Kind.OK, CERTAIN),
    ({"outcome": ran(eval_device_peak_used_bytes=int(20.5 * GIB))}, Kind.OVER_LIMIT, CERTAIN),
    ({"outcome": ran(), "host_peak_bytes": int(8.1 * GIB)}, Kind.HOST_OVER_LIMIT, CERTAIN),
    ({"outcome": ran(host_peak_bytes=int(8.1 * GIB))}, Kind.HOST_OVER_LIMIT, CERTAIN),
    ({"outcome": ran({"over_limit": True}), "host_peak_bytes": int(8.1 * GIB)}, Kind.OVER_LIMIT, CERTAIN),
    ({"outcome": ran(), "host_peak_bytes": int(7.9 * GIB)}, Kind.OK, CERTAIN),
    (on_card(others_moved_in=True) | {"outcome": ran()}, Kind.DISTURBED, CERTAIN),
]


@pytest.mark.parametrize(("facts", "kind", "confidence"), TABLE, ids=range(len(TABLE)))
def test_the_evidence_decides(facts, kind, confidence):
    verdict = classify(Evidence(**facts), LIMITS, 1.0)
    assert (verdict.kind, verdict.confidence) == (kind, confidence)
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))).kind == kind


def test_a_verdict_keeps_the_measurements_of_what_ran_over_its_limit():
    facts = {"outcome": ran(samples_per_s=3.0, device_peak_used_bytes=23 * GIB), "host_peak_bytes": 5 * GIB}
    measurements = classify(Evidence(**facts), LIMITS, 1.0).measurements
    assert measurements.samples_per_s == 3.0
    assert measurements.host_peak_bytes == 5 * GIB


def test_the_cards_peak_from_outside_fills_in_for_the_childs():
    outside = on_card(peak_used_bytes=9 * GIB, total_bytes=24 * GIB)
    assert classify(Evidence(outcome=ran(), **outside), LIMITS, 1.0).measurements.device_peak_used_bytes == 9 * GIB
    told = ran(device_peak_used_bytes=8 * GIB)
    assert classify(Evidence(outcome=told, **outside), LIMITS, 1.0).measurements.device_peak_used_bytes == 8 * GIB


def test_what_one_that_broke_off_held_when_last_seen_is_no_peak():
    outside = on_card(peak_used_bytes=9 * GIB, total_bytes=24 * GIB)
    for outcome in (CUDA_OOM, None):
        assert classify(Evidence(outcome=outcome, **outside), LIMITS, 1.0).measurements.device_peak_used_bytes is None


def test_the_whole_card_is_the_limit_where_none_is_given():
    facts = on_card(peak_used_bytes=21 * GIB, total_bytes=24 * GIB) | {"outcome": ran()}
    assert classify(Evidence(**facts), Limits(), 1.0).kind == Kind.OVER_LIMIT


def test_a_traceback_is_kept_whole():
    outcome = failed(("KeyError", "'labels'"))
    outcome["error"]["traceback"] = "line\n" * 5000
    verdict = classify(Evidence(outcome=outcome), LIMITS, 1.0)
    assert verdict.evidence["exception"]["traceback"] == "line\n" * 5000


@pytest.mark.parametrize(
    ("said", "flags"),
    [
        ({"fails_alone": True}, ("fails_alone",)),
        ({"fails_alone": False}, ("fails_under_test",)),
        ({"worst_case_unknown": True, "spill": False}, ("worst_case_unknown",)),
        ({"worst_case_unknown": False}, ()),
    ],
)
def test_what_a_script_told_of_itself_is_kept(said, flags):
    assert classify(Evidence(outcome=ran(said)), LIMITS, 1.0).flags == flags
