"""DeepSpeed: its JSON, whose micro-batch x accumulation x devices must be `train_batch_size`."""

from __future__ import annotations

from typing import Any

from autobatch.export.chosen import Chosen
from autobatch.export.targets import Target, unsaid
from autobatch.settings import ACCUMULATION, MICRO_BATCH, PRECISION

_USUAL_CLIPPING = 1.0
"""The Trainer's own `max_grad_norm`."""


def settings(chosen: Chosen) -> dict[str, Any]:
    """Return the batch and the precision; the optimizer stays the trainer's, as it was measured.

    DeepSpeed clips no gradient unless its own file says so; the Trainer checks that both agree.
    """
    values, precision = chosen.configuration, chosen.configuration[PRECISION]
    clipping = float(chosen.workload.recipe.get("max_grad_norm", _USUAL_CLIPPING) or 0.0)
    parts: dict[str, dict[str, Any]] = {
        MICRO_BATCH: {"train_micro_batch_size_per_gpu": values.micro_batch},
        ACCUMULATION: {
            "train_batch_size": chosen.effective_batch,
            "gradient_accumulation_steps": values.accumulation,
        },
        PRECISION: {"bf16": {"enabled": precision == "bf16"}, "fp16": {"enabled": precision == "fp16"}},
    }
    clips = chosen.workload.taken is None and not chosen.untrained
    return {
        **chosen.of_taken(parts),
        **({"gradient_clipping": clipping} if clips else {}),
        "zero_optimization": {"stage": 0},
    }


def elsewhere(chosen: Chosen) -> dict[str, Any]:
    """All but batch and precision are the trainer's own under DeepSpeed."""
    return unsaid(chosen, MICRO_BATCH, ACCUMULATION)


TARGET = Target("deepspeed", settings, syntax="json", elsewhere=elsewhere)
