"""What else of a recipe changes when the effective batch does: said, and never done.

Rules: linear scaling of the learning rate for SGD (Goyal et al., 2017), by the square root for Adam and its kin
(Malladi et al., 2022); Adafactor with relative steps sets its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from autobatch.workload.spec import Workload

_UNCHANGED = "None of this was changed for you."


def remarks(workload: Workload, before: int | None, after: int, optimizer: str) -> tuple[str, ...]:
    """Return sentences on the steps, the warm-up and the learning rate; none where the effective batch is the same.

    Args:
        workload: gives samples, epochs and recipe.
        before: effective batch that the recipe was made for; None where nobody knows.
        after: effective batch that was chosen.
        optimizer: as transformers' `optim`.

    """
    if before == after:
        return ()
    steps = steps_per_epoch(workload.train_samples, after)
    if before is None:
        return (
            f"The effective batch {after} was free to choose: {steps:,} steps an epoch.",
            "Warm-up, evaluation and saving that count steps cover another share of the training than before.",
            f"The learning rate goes with {_rule(optimizer)} of new over old effective batch.",
            _UNCHANGED,
        )
    old = steps_per_epoch(workload.train_samples, before)
    found = [f"The effective batch is {after} in place of {before}: {steps:,} steps an epoch in place of {old:,}."]
    found += _warm_up(workload.recipe, old, steps)
    found += _learning_rate(workload.recipe, after / before, optimizer)
    return (*found, _UNCHANGED)


def steps_per_epoch(samples: int, effective_batch: int) -> int:
    """Return the optimizer steps of an epoch, the last one perhaps short."""
    return math.ceil(samples / effective_batch)


def _warm_up(recipe: Mapping[str, Any], old: int, new: int) -> list[str]:
    steps = recipe.get("warmup_steps")
    if not steps or not isinstance(steps, int | float):
        return []
    if steps < 1:  # transformers 5 takes a share of all steps
        return [f"warmup_steps={steps} is a share of all steps and stays as it is."]
    said = f"warmup_steps={steps:g} covers another share of the training"
    return [f"{said}: {max(1, round(steps * new / old))} would cover the same."]


def _learning_rate(recipe: Mapping[str, Any], ratio: float, optimizer: str) -> list[str]:
    rate = recipe.get("learning_rate")
    if not isinstance(rate, int | float):
        return []
    if optimizer == "adafactor":
        return [f"learning_rate={rate:g}: Adafactor scales its steps by itself; try it as it is first."]
    rule, factor = ("linear", ratio) if "sgd" in optimizer else ("square-root", math.sqrt(ratio))
    return [f"learning_rate={rate:g}: the {rule} rule for {optimizer} gives {rate * factor:.3g}."]


def _rule(optimizer: str) -> str:
    return "the ratio" if "sgd" in optimizer else "the square root of the ratio"
