"""Small child mains for tests: each is an entry point that `ProbeRunner(entry=...)` names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from autobatch.probe.outcome import Progress, write_outcome
from autobatch.verdict import Measurements

OBSERVED = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "OMP_NUM_THREADS")


def succeed(folder: str) -> int:
    """Note what its process is like, and end well."""
    path = Path(folder)
    seen = {
        "environment": {name: os.environ.get(name) for name in OBSERVED},
        "leads_session": os.getsid(0) == os.getpid(),
        "oom_score_adj": int(Path("/proc/self/oom_score_adj").read_text()),
        "torch": "torch" in sys.modules,
    }
    (path / "seen.json").write_text(json.dumps(seen))
    os.write(1, b"said on standard output")
    write_outcome(path, "typical", Measurements(samples_per_s=8.0, loss=1.5), {})
    return 0


def fail(folder: str) -> int:
    """Fail in the user's code."""
    try:
        int("three labels")
    except ValueError as error:
        write_outcome(Path(folder), "build", Measurements(), {}, error)
    return 1


def scatter(folder: str) -> int:
    """Leave a worker and an escapee in a session of its own, and wait."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    subprocess.run(["setsid", "--fork", "sleep", "600"], check=True)
    Progress(Path(folder)).enter("build")
    time.sleep(600)
    return 0


def leave_workers(folder: str) -> int:
    """End well, with a worker and an escapee still running."""
    subprocess.Popen(["sleep", "600"])
    subprocess.run(["setsid", "--fork", "sleep", "600"], check=True)
    return succeed(folder)


def raise_before_outcome(_: str) -> int:
    """Let an exception out."""
    message = "nobody caught this"
    raise LookupError(message)


def exit_with_status(_: str) -> int:
    """End as sys.exit does."""
    sys.exit(3)


def show_descriptor(folder: str) -> int:
    """Tell whether the descriptor named in the environment is open."""
    os.fstat(int(os.environ["SHOWN_DESCRIPTOR"]))
    return succeed(folder)


def starve(folder: str) -> int:
    """Wait for a batch, as a training does whose worker found no room in /dev/shm for it."""
    Progress(Path(folder)).enter("typical")
    full = "unable to allocate shared memory(shm) for file </torch_1_2_0>: No space left on device (28)"
    os.write(2, f"RuntimeError: {full}\n".encode())
    time.sleep(600)
    return 0
