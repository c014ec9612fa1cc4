"""accelerate: the file of `accelerate launch --config_file`, which rejects unknown keys and knows no batch."""

from __future__ import annotations

from typing import Any

from autobatch.export.chosen import Chosen
from autobatch.export.targets import MIXED, Target, unsaid
from autobatch.settings import COMPILE, PRECISION


def settings(chosen: Chosen) -> dict[str, Any]:
    """Return a whole launch configuration for one machine; `no` stays text, which YAML's own `no` is not."""
    precision = str(chosen.configuration[PRECISION])
    keys: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU" if chosen.devices > 1 else "NO",
        "num_machines": 1,
        "machine_rank": 0,
        "num_processes": chosen.devices,
        **chosen.of_taken({PRECISION: {"mixed_precision": precision if precision in MIXED else "no"}}),
        "use_cpu": chosen.device_kind == "cpu",
    }
    if chosen.taken.get(COMPILE):
        keys["dynamo_config"] = {"dynamo_backend": "INDUCTOR"}
    return keys


def elsewhere(chosen: Chosen) -> dict[str, Any]:
    """Batch, loader, optimizer and model are the script's own in accelerate."""
    return unsaid(chosen, COMPILE)


TARGET = Target("accelerate", settings, elsewhere=elsewhere)
