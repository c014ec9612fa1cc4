"""accelerate: the file of `accelerate launch --config_file`, which rejects unknown keys and knows no batch."""

from __future__ import annotations

from typing import Any

from autobatch.export.chosen import Chosen
from autobatch.export.targets import Target
from autobatch.settings import COMPILE, PRECISION, SETTINGS

_KNOWN_HERE = frozenset({PRECISION, COMPILE})


def settings(chosen: Chosen) -> dict[str, Any]:
    """Return a whole launch configuration for one machine; `no` stays text, which YAML's own `no` is not."""
    precision = str(chosen.configuration[PRECISION])
    keys: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU" if chosen.devices > 1 else "NO",
        "num_machines": 1,
        "machine_rank": 0,
        "num_processes": chosen.devices,
        "mixed_precision": precision if precision in {"bf16", "fp16"} else "no",
        "use_cpu": chosen.device_kind == "cpu",
    }
    if chosen.configuration[COMPILE]:
        keys["dynamo_config"] = {"dynamo_backend": "INDUCTOR"}
    return keys


def elsewhere(chosen: Chosen) -> dict[str, Any]:
    """Batch, loader, optimizer and model are the script's own in accelerate."""
    return {name: value for name, value in chosen.configuration.items() if name in SETTINGS and name not in _KNOWN_HERE}


TARGET = Target("accelerate", settings, elsewhere=elsewhere)
