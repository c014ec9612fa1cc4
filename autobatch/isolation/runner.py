"""Runs probes in processes of their own: nothing of one is left when `run` returns."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from autobatch.arguments import environment
from autobatch.errors import MachineError
from autobatch.isolation import cgroup
from autobatch.isolation.classify import classify
from autobatch.isolation.device import DeviceWatch
from autobatch.isolation.parent import PreloadedParent
from autobatch.isolation.supervise import Guards, Probe
from autobatch.isolation.watchdog import headroom_bytes
from autobatch.machine.gpus import Device
from autobatch.request import Journal, Limits, Plan, ProbeRequest
from autobatch.settings import Configuration
from autobatch.verdict import Verdict
from autobatch.workload.spec import Workload

ENTRY = "autobatch.probe.child:main"
_MARGIN_BYTES = 64 << 20
_MARGIN_SHARE = 0.02
"""Of the headroom; it stays for ourselves, so that the probe's limit is reached before the container's."""
_LEAST_BYTES = 16 << 20
"""Of a cgroup: less would not hold the process's own page tables."""
_LEAST_SECONDS = 1.0
"""Of a probe, however long its parent took to import."""
_OOM_SCORE_ADJ = 1000
"""The kernel takes the probe before anything else it might take."""


class ProbeRunner:
    """A `request.Runner` over real processes; a context manager.

    Args:
        workload: what is trained.
        device: `cuda:0`, ... or `cpu`.
        limits: memory that a probe may have.
        work_dir: each probe gets a folder of its own here; it stays, as its log is part of the evidence.
        isolation: `fork` from a preloaded parent, or `spawn`: a cold start each time.
        seed: of the probe's random numbers.
        entry: `module:function` that the probe runs with its folder.
        gpu: the card, for readings from outside.
        use_cgroup: whether a probe gets a cgroup of its own where that is possible.
        pids_max: processes and threads that a probe may have.
        hang_s: an idle probe without a heartbeat for this long hangs.
        keep_open: descriptors that probes inherit, such as a lock that must outlive us.
        parent: the process to fork from, where several runners share one; `isolation` and `keep_open` are then its own.

    """

    def __init__(
        self,
        workload: Workload,
        *,
        device: str,
        limits: Limits,
        work_dir: Path | str,
        isolation: Literal["fork", "spawn"] = "fork",
        seed: int = 0,
        entry: str = ENTRY,
        gpu: Device | None = None,
        use_cgroup: bool = True,
        pids_max: int | None = None,
        hang_s: float = 60.0,
        keep_open: tuple[int, ...] = (),
        parent: PreloadedParent | None = None,
    ) -> None:
        self._workload = workload
        self._device = device
        self._limits = limits
        self._work_dir = Path(work_dir).resolve()
        self._work_dir.mkdir(parents=True, exist_ok=True)
        self._isolation = isolation
        self._seed = seed
        self._entry = entry
        self._gpu = gpu
        self._use_cgroup = use_cgroup
        self._pids_max = pids_max
        self._hang_s = hang_s
        self._token = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._numbers = itertools.count(1)
        self._owns_parent = parent is None
        self.parent = parent or PreloadedParent(
            self._work_dir,
            bare=isolation == "spawn",
            modules=(entry.partition(":")[0], *_model_modules(workload)),
            keep_open=keep_open,
        )
        """The process that probes are forked from."""

    def __enter__(self) -> Self:
        if self._owns_parent:
            self.parent.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the preloaded parent, unless it is shared, and whatever is left of any probe."""
        if self._owns_parent:
            self.parent.close()
        cgroup.restore()

    def run(self, configuration: Configuration, plan: Plan, journal: Journal) -> Verdict:
        """Run one probe to its end; a failure of the probe is a verdict, never an exception.

        Raises:
            MachineError: no process can be started at all, or its folder cannot be written.

        """
        requested = time.monotonic()
        self.parent.ensure()
        waited = time.monotonic() - requested
        plan = replace(plan, max_seconds=max(_LEAST_SECONDS, plan.max_seconds - waited))
        folder = self._write_request(configuration, plan)
        order = self._order(configuration, folder)
        with self._guards(folder.name) as guards:
            evidence = Probe(self.parent, folder, guards).run(order, plan, journal)
        verdict = classify(evidence, self._limits, time.monotonic() - requested)
        return _with_startup(verdict, folder, requested, self._isolation)

    def _write_request(self, configuration: Configuration, plan: Plan) -> Path:
        folder = self._work_dir / f"{self._token}-{next(self._numbers):04d}"
        request = ProbeRequest(self._workload, configuration, plan, self._limits, self._device, str(folder), self._seed)
        try:
            folder.mkdir()
            (folder / "request.json").write_text(request.to_json())
        except OSError as error:
            what = f"The folder {folder} of a probe cannot be written: {error.strerror}."
            raise MachineError(what, "Free some space there, or allow writing.") from error
        return folder

    @contextmanager
    def _guards(self, name: str) -> Iterator[Guards]:
        limit, shared = self._host_limit_bytes(), self.parent.inherited_bytes
        confined = max(_LEAST_BYTES, limit - shared)
        group = cgroup.create(cgroup.PREFIX + name, confined, self._pids_max) if self._use_cgroup else None
        try:
            device = DeviceWatch(self._gpu) if self._gpu is not None else None
            yield Guards(group, limit, self._device, device, self._hang_s, self.parent.mark)
        finally:
            if group is not None:
                group.kill()
                group.remove()

    def _host_limit_bytes(self) -> int:
        """Return the least of what may be had and what is there, what its parent already holds for it included."""
        room = headroom_bytes()
        room += self.parent.inherited_bytes - max(_MARGIN_BYTES, int(_MARGIN_SHARE * room))
        return room if self._limits.host_bytes is None else min(room, self._limits.host_bytes)

    def _order(self, configuration: Configuration, folder: Path) -> dict[str, Any]:
        return {
            "folder": str(folder),
            "entry": self._entry,
            "environment": environment(configuration, "cpu" if self._device == "cpu" else "cuda"),
            "oom_score_adj": _OOM_SCORE_ADJ,
        }


def _model_modules(workload: Workload) -> tuple[str, ...]:
    """Return the module of the model's architecture, which transformers would import at the first build."""
    kind = str(workload.model.config.get("model_type", "")).replace("-", "_")
    return (f"transformers.models.{kind}.modeling_{kind}",) if kind.isidentifier() else ()


def _with_startup(verdict: Verdict, folder: Path, requested: float, isolation: str) -> Verdict:
    """Add what it took to get a process and its imports, which the child cannot know."""
    try:
        entered = json.loads((folder / "entered.json").read_text())
        process = float(entered["process"])
        phases = {isolation: process - requested, "imports": float(entered["imports"]) - process}
    except (OSError, ValueError, KeyError):
        return verdict
    phases |= verdict.measurements.startup_s
    return replace(verdict, measurements=replace(verdict.measurements, startup_s=phases))
