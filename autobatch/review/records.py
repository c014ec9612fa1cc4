"""Studies and trials as they stand in Optuna's tables, read by plain SQL: quick, and with no import of Optuna."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from autobatch import attributes
from autobatch.settings import ACCUMULATION, MICRO_BATCH, SETTINGS, Scalar
from autobatch.units import GIB
from autobatch.verdict import HINTS, Kind

_CARD = frozenset({Kind.CUDA_OOM_TRAIN, Kind.CUDA_OOM_EVAL, Kind.SPILL, Kind.NEARLY_OOM, Kind.OVER_LIMIT})
_FEASIBLE = frozenset({Kind.OK, Kind.HOPELESS})


@dataclass(frozen=True)
class Trial:
    """One trial: what was tried, why, and what came of it."""

    number: int
    state: str
    """Optuna's: RUNNING, COMPLETE, PRUNED, FAIL or WAITING."""
    start_s: float | None
    """Unix time."""
    end_s: float | None
    value: float | None
    """Samples/s; 0 where it is not feasible."""
    settings: Mapping[str, Scalar]
    attributes: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """Kind of the verdict, or the trial's state while it has none."""
        return str(self.attributes.get(attributes.VERDICT) or self.state.lower())

    @property
    def ok(self) -> bool:
        """Whether it ran and is within the limits."""
        return self.verdict == Kind.OK

    @property
    def failed(self) -> bool:
        """Whether it came to nothing: neither ran nor was left for being slow, nor is still at work."""
        return self.state == "FAIL" or (self.state == "COMPLETE" and self.verdict not in _FEASIBLE)

    @property
    def too_large_for_card(self) -> bool:
        """Whether it needed more memory of the card than it may have."""
        return self.verdict in _CARD

    @property
    def hint(self) -> str:
        """What the verdict means and what would help."""
        known = HINTS.get(Kind(self.verdict), "") if self.verdict in set(Kind) else ""
        return str(self.attributes.get(attributes.HINT) or known)

    @property
    def micro_batch(self) -> int | None:
        """Samples in one forward and backward pass."""
        value = self.settings.get(MICRO_BATCH)
        return None if value is None else int(value)

    @property
    def samples_per_s(self) -> float | None:
        """Measured throughput, also of a trial that is not feasible."""
        return self.figure(attributes.SAMPLES_PER_S) or self.value or None

    def figure(self, name: str) -> float | None:
        """Return a numeric attribute, or None."""
        value = self.attributes.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


@dataclass(frozen=True)
class Study:
    """One search, without its trials."""

    name: str
    identity: int
    trials: int
    by_state: Mapping[str, int] = field(default_factory=dict)
    best_samples_per_s: float | None = None
    start_s: float | None = None
    end_s: float | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def workload(self) -> dict[str, Any]:
        """The workload, as `Workload.to_dict` wrote it; empty where it is not known."""
        return self.facts(attributes.WORKLOAD)

    @cached_property
    def space(self) -> dict[str, Any]:
        """The space that was searched: `fixed`, `searched`, `effective_batch`, `devices`."""
        return self.facts(attributes.SPACE)

    @property
    def model(self) -> str:
        """Name of the model, or `-`."""
        model = self.workload.get("model") or {}
        return str(model.get("name") or "-") if isinstance(model, dict) else str(model)

    def facts(self, name: str) -> dict[str, Any]:
        """Return one of the study's JSON attributes as a dictionary; empty where it has none."""
        value = self.attributes.get(name)
        value = _decode(value) if isinstance(value, str) else value
        return value if isinstance(value, dict) else {}

    @cached_property
    def device_limit_gib(self) -> float | None:
        """Size of the card, real or emulated."""
        size = self.facts(attributes.LIMITS).get("device_bytes")
        return size / GIB if size else None

    @cached_property
    def safe_limit_gib(self) -> float | None:
        """Memory of the card that a safe configuration stays below."""
        fraction = self.facts(attributes.LIMITS).get("device_fraction", 1.0)
        return None if self.device_limit_gib is None else self.device_limit_gib * fraction

    @cached_property
    def safe_host_gib(self) -> float | None:
        """Host memory that a safe configuration stays below."""
        limits = self.facts(attributes.LIMITS)
        size = limits.get("host_bytes")
        return size * limits.get("host_fraction", 1.0) / GIB if size else None

    def complete(self, parameters: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return a trial's parameters with what is fixed, and with the accumulation that follows."""
        settings = {**(self.space.get("fixed") or {}), **parameters}
        effective = self.space.get("effective_batch")
        if MICRO_BATCH in parameters and effective and ACCUMULATION not in parameters:
            micro_step = int(parameters[MICRO_BATCH]) * int(self.space.get("devices") or 1)
            settings[ACCUMULATION] = max(1, int(effective) // micro_step)
        return {name: settings[name] for name in (*SETTINGS, *settings) if name in settings}


def unix_time(text: str | None) -> float | None:
    """Read a date of Optuna's tables (local time without a zone) as Unix time."""
    return datetime.fromisoformat(text).timestamp() if text else None


def _decode(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None
