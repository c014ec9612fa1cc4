"""What a study chose: the facts that every export is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from autobatch.arguments import DEVICE, DeviceKind, environment, training_arguments
from autobatch.request import Limits
from autobatch.settings import (
    ALLOCATOR,
    ATTENTION,
    CUDNN_ATTENTION,
    METHOD,
    OF_THE_PROCESS,
    OF_TRAINING,
    QUANTIZATION,
    SETTINGS,
    Configuration,
    Scalar,
)
from autobatch.verdict import Measurements
from autobatch.workload.spec import Workload

_OLDEST_TRANSFORMERS = "5.2"
"""The oldest that autobatch works with: its names are understood by the newer ones too."""


@dataclass(frozen=True)
class Chosen:
    """The chosen configuration of a study, with what was measured and where."""

    study: str
    trial: int | None
    configuration: Configuration
    measurements: Measurements
    workload: Workload
    machine: Mapping[str, Any] = field(default_factory=dict)
    """Fingerprint of the machine it was measured on, JSON-ready; empty where it is not known."""
    limits: Limits = field(default_factory=Limits)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    devices: int = 1
    """Data-parallel devices of the full run."""

    @property
    def device(self) -> str:
        """The device it was measured on, `cuda:N` or `cpu`; `cuda:0` where that is not known."""
        return str(self.machine.get("device") or "cuda:0")

    @property
    def device_kind(self) -> DeviceKind:
        """Kind of that device."""
        return "cuda" if self.device.startswith("cuda") else "cpu"

    def training_arguments(self) -> dict[str, Any]:
        """Return the TrainingArguments, by the names of the transformers that is installed here."""
        wanted = (*self.taken, DEVICE) if self.workload.taken is None else self.taken
        return training_arguments(self.configuration, self.device_kind, _transformers_version(), wanted)

    @property
    def taken(self) -> dict[str, Scalar]:
        """The configuration, as far as it was measured and, of a person's own loop, what that asks for."""
        return {n: v for n, v in self.configuration.items() if n not in (*self.unasked, *self.untrained)}

    @property
    def unasked(self) -> tuple[str, ...]:
        """Settings that a person's own loop does not ask for, which no export holds."""
        names = self.workload.taken
        return () if names is None else tuple(n for n in self.configuration if n not in (*names, *OF_THE_PROCESS))

    @property
    def untrained(self) -> tuple[str, ...]:
        """Settings of training that a choice for inference has and never measured, which no export holds."""
        return OF_TRAINING if self.is_inference else ()

    def of_taken(self, parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Return a format's keys, given by the setting that they say, as far as that is taken."""
        return {key: value for name in parts if name in self.taken for key, value in parts[name].items()}

    @property
    def effective_batch(self) -> int:
        """Samples per optimizer step over all devices."""
        return self.configuration.micro_batch * self.configuration.accumulation * self.devices

    @property
    def is_inference(self) -> bool:
        """Whether it was chosen for evaluation alone: nothing was trained."""
        return not self.measurements.samples_per_s and bool(self.measurements.eval_samples_per_s)

    @property
    def model_settings(self) -> dict[str, Scalar]:
        """Settings of the model or the process, which no training argument holds, where not at their default.

        A person's own script makes its model itself, as it did when it was measured.
        """
        of_the_model = () if self.workload.script else (METHOD, QUANTIZATION, ATTENTION)
        names = (*of_the_model, ALLOCATOR, CUDNN_ATTENTION)
        return {n: self.configuration[n] for n in names if self.configuration[n] != SETTINGS[n].default}

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that the configuration needs; they count only before torch starts."""
        return {name: value for name, value in environment(self.configuration, self.device_kind).items() if value}


def _transformers_version() -> str:
    try:
        return version("transformers")
    except PackageNotFoundError:
        return _OLDEST_TRANSFORMERS
