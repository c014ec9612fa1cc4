"""How many tokens a model can take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autobatch.workload.spec import Model

_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_RELATIVE = frozenset({"t5", "mt5", "umt5", "byt5", "longt5", "switch_transformers"})
"""Model types whose positions are relative; `n_positions` in their configuration limits nothing."""


def limit(config: Mapping[str, Any]) -> int | None:
    """Return the most tokens a model of this configuration takes, or None where nothing limits it."""
    if config.get("model_type") in _RELATIVE:
        return None
    values = (config.get(key) for key in _KEYS)
    return next((value for value in values if isinstance(value, int) and value > 0), None)


def clamp(model: Model, source: int, target: int | None) -> tuple[int, int | None, tuple[str, ...]]:
    """Return source and target lengths that the model can take, and a sentence for each that had to be cut."""
    most = limit(model.config)
    if most is None:
        return source, target, ()
    cut = [(name, value) for name, value in (("source", source), ("target", target)) if value and value > most]
    notes = tuple(
        f"{model.name} takes {most} tokens: the {name} length asked for, {value}, is cut to that."
        for name, value in cut
    )
    return min(source, most), min(target, most) if target else target, notes
