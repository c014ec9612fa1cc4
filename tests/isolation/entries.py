"""Small child mains for tests: each is an entry point that `ProbeRunner(entry=...)` names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def _write(folder: str, name: str, data: dict) -> None:
    path = Path(folder, name)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(data))
    temporary.replace(path)


def succeed(folder: str) -> int:
    _write(folder, "progress.json", {"phase": "typical", "time": time.time()})
    environment = {k: os.environ.get(k) for k in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "OMP_NUM_THREADS")}
    loaded = "torch" in sys.modules
    _write(folder, "seen.json", {"environment": environment, "torch": loaded, "sid": os.getsid(0), "pid": os.getpid()})
    measurements = {"samples_per_s": 8.0, "loss": 1.5}
    _write(folder, "outcome.json", {"status": "ok", "phase": "typical", "measurements": measurements, "flags": {}})
    return 0


def sleep(folder: str) -> int:
    """Leave a worker, and an escapee in a session of its own that ignores its parent's end."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    subprocess.Popen(["setsid", "--fork", "sleep", "600"])
    _write(folder, "progress.json", {"phase": "build", "time": time.time()})
    time.sleep(600)
    return 0
