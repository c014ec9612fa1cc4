"""Provoke one case of the classification benchmark, and look at what the probe came to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autobatch.isolation import cgroup, proc
from autobatch.isolation.cgroup_memory import write
from autobatch.isolation.parent import PreloadedParent
from autobatch.isolation.runner import ProbeRunner
from autobatch.machine.gpus import open_device
from autobatch.request import Limits
from autobatch.settings import Configuration
from autobatch.workload.spec import Model, Workload
from benchmarks.faults.classification_cases import CASES, INSIDE_BYTES, Case

_WORKLOAD = Workload(Model("tiny", "", "causal"))


@dataclass
class Journal:
    """Stands for the ledger; lets a case act on the probe once it runs."""

    case: Case
    facts: dict[str, Any] = field(default_factory=dict)
    acted: bool = False

    def started(self, facts: Mapping[str, Any]) -> None:
        """Remember whom to act on."""
        self.facts = dict(facts)

    def sample(self, facts: Mapping[str, Any]) -> None:
        """Act at the first sample with a phase: the probe is then in its own code."""
        if self.case.hook is not None and not self.acted and facts["phase"]:
            self.acted = True
            self.case.hook(self.facts)

    def intent(self, reason: str) -> None:
        """Nothing is lost when this process dies."""


@dataclass(frozen=True)
class Result:
    """What one probe came to."""

    kind: str
    confidence: str
    left: int
    """Processes and cgroups that outlived it."""


def _entry(case: Case) -> str:
    module, _, function = case.entry.rpartition(":")
    return f"benchmarks.faults.classification_{module or 'entries'}:{function}"


@contextmanager
def both_parents(folder: Path) -> Iterator[list[PreloadedParent]]:
    """Yield a preloaded parent and a bare one, for all cases."""
    parents = [PreloadedParent(folder, bare=False), PreloadedParent(folder, bare=True)]
    try:
        yield parents
    finally:
        for parent in parents:
            parent.close()


def provoke(case: Case, folder: Path, number: int, parents: Sequence[PreloadedParent]) -> Result | None:
    """Run a case, by turns with each of the parents; return what the probe came to, or None where it cannot be run.

    A case that needs torch at hand is forked from the first.
    """
    if case.inside:
        return _provoke_inside(case, folder, number)
    takers = parents[:1] if case.needs_torch else parents
    return _provoke(case, folder, takers[number % len(takers)])


def _provoke(case: Case, folder: Path, parent: PreloadedParent) -> Result:
    options = {"limits": Limits(), **case.options}
    with ProbeRunner(
        _WORKLOAD,
        device="cuda:0" if case.cuda else "cpu",
        gpu=open_device(0) if case.cuda else None,
        work_dir=folder,
        parent=parent,
        entry=_entry(case),
        **options,
    ) as runner:
        journal = Journal(case)
        verdict = runner.run(Configuration(), case.plan, journal)
    left = [pid for pid in proc.marked(parent.mark) if pid != parent.pid]
    left_groups = [path for path in journal.facts["cgroups"] if Path(path).exists()]
    return Result(str(verdict.kind), str(verdict.confidence), len(left) + len(left_groups))


def _provoke_inside(case: Case, folder: Path, number: int) -> Result | None:
    """Run a case in a cgroup that stands for a container, made anew as its neighbour stays in it."""
    group = cgroup.create(f"faults-{folder.name}-{number}", INSIDE_BYTES)
    if group is None:
        return None
    _let_the_kernel_choose(group.memory.directory)
    place = str(folder / str(number))
    command = [sys.executable, "-m", "benchmarks.faults.classification", "--inside", case.fault, place]
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            group.add(process.pid)
            output, _ = process.communicate("go\n")
    finally:
        group.kill()
        group.remove()
    return Result(**json.loads(output))


def _let_the_kernel_choose(container: Path) -> None:
    """Undo `memory.oom.group`, which our own cgroups have: a container that has it dies whole."""
    if (container / "memory.oom.group").exists():
        write(container / "memory.oom.group", 0)


def inside(fault: str, folder: str) -> None:
    """Be the search in the container: one probe, its result to standard output."""
    sys.stdin.readline()
    case = next(case for case in CASES if case.fault == fault)
    parent = PreloadedParent(Path(folder), bare=True)
    try:
        print(json.dumps(asdict(_provoke(case, Path(folder), parent))))
    finally:
        parent.close()
