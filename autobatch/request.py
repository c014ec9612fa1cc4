"""What is asked of a probe, and the seam behind which a GPU, a CPU or a recorded surface stands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from autobatch.settings import Configuration
from autobatch.verdict import Verdict
from autobatch.workload.spec import Workload

Purpose = str
"""`probe`: worst case, then typical steps. `eval`: training state, then evaluation at the eval batch, timed.
`confirm`: as `probe`, longer, with accumulation in full and evaluation. `inference`: evaluation alone."""


@dataclass(frozen=True)
class Plan:
    """How one probe is to be run."""

    purpose: Purpose = "probe"
    max_seconds: float = 120.0
    """Deadline of the whole probe, from the request."""
    hopeless_samples_per_s: float | None = None
    """End early when it is beyond doubt slower than this."""
    precision_target: float = 0.02
    """Stop timing when the 95 % interval's half width is below this share of the median."""


@dataclass(frozen=True)
class Limits:
    """Memory that a probe may have."""

    device_bytes: int | None = None
    """Size of the card, real or emulated (`--gpu-memory`): the allocator is capped to it. None: the whole card."""
    device_fraction: float = 0.85
    """Share of `device_bytes` above which a configuration is not safe."""
    host_bytes: int | None = None
    """Tightest host limit: cgroup, `--host-memory`, or physical memory."""
    host_fraction: float = 0.80

    @property
    def host_is_device(self) -> bool:
        """Whether training runs on the CPU, where the host's memory is the card's."""
        return self.device_bytes is not None and self.device_bytes == self.host_bytes


@dataclass(frozen=True)
class ProbeRequest:
    """All that the child needs; written to `request.json` in `folder`."""

    workload: Workload
    configuration: Configuration
    plan: Plan
    limits: Limits
    device: str
    """`cuda:0`, ... or `cpu`."""
    folder: str
    """Scratch folder of this probe: request, progress, outcome and log lie in it."""
    seed: int = 0

    def to_json(self) -> str:
        """Return the request as JSON text."""
        data = {**asdict(self), "workload": self.workload.to_dict(), "configuration": self.configuration.to_dict()}
        return json.dumps(data)

    @classmethod
    def from_json(cls, text: str) -> ProbeRequest:
        """Read what `to_json` wrote."""
        data = json.loads(text)
        data["workload"] = Workload.from_dict(data["workload"])
        data["configuration"] = Configuration(data["configuration"])
        data["plan"] = Plan(**data["plan"])
        data["limits"] = Limits(**data["limits"])
        return cls(**data)


class Journal(Protocol):
    """Where a running probe is written down, by the ledger; every call is durable when it returns."""

    def started(self, facts: Mapping[str, Any]) -> None:
        """Record the process: pid, start_time_ticks, boot_id, cgroup, counters before."""

    def sample(self, facts: Mapping[str, Any]) -> None:
        """Record a memory sample: host_bytes, device_bytes, phase."""

    def intent(self, reason: str) -> None:
        """Record that we are about to kill the probe, and why."""


class NullJournal:
    """A journal that keeps nothing: for probes whose record nobody needs."""

    def started(self, facts: Mapping[str, Any]) -> None:
        """Forget the process."""

    def sample(self, facts: Mapping[str, Any]) -> None:
        """Forget the sample."""

    def intent(self, reason: str) -> None:
        """Forget the intent."""


class Runner(Protocol):
    """Runs a configuration and says what came of it. A live GPU, a CPU and a recorded surface are all this."""

    def run(self, configuration: Configuration, plan: Plan, journal: Journal) -> Verdict:
        """Run one probe to its end; a failure of the probe is a verdict, never an exception."""
