"""Verdicts on probes that are killed, starved and broken: `python -m benchmarks.faults.classification [--count 30]`.

Each case runs forked from the preloaded parent and cold, half and half, unless it needs torch at hand.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autobatch.isolation import cgroup, proc
from autobatch.isolation.cgroup_memory import write
from autobatch.isolation.parent import PreloadedParent
from autobatch.isolation.runner import ProbeRunner
from autobatch.machine.gpus import list_gpus, open_device
from autobatch.request import Limits
from autobatch.settings import Configuration
from autobatch.workload.spec import Model, Workload
from benchmarks.faults import Line, scaled
from benchmarks.faults.classification_cases import CASES, INSIDE_BYTES, OUT_OF_MEMORY, Case

COUNT = 30
"""Of each kind, in the published figures."""
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


def run(folder: Path, scale: float) -> Iterator[Line]:
    """Yield a line for each case that this machine can provoke."""
    with both_parents(folder) as parents:
        for case in possible():
            yield measure(case, folder / case.entry, scaled(COUNT, scale), parents)


def measure(case: Case, folder: Path, count: int, parents: Sequence[PreloadedParent]) -> Line:
    """Run a case so many times; return its line of the table, its row of the confusion matrix in the notes."""
    began = time.monotonic()
    results = provoke(case, folder, count, parents)
    return _line(case, results, time.monotonic() - began)


def possible() -> list[Case]:
    """Return the cases for this machine: those of the card need one."""
    has_card = bool(list_gpus())
    return [case for case in CASES if has_card or not case.cuda]


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


def provoke(case: Case, folder: Path, count: int, parents: Sequence[PreloadedParent]) -> list[Result]:
    """Run a case so many times, shared among the parents, and return what each probe came to.

    A case that needs torch at hand is forked from the first.
    """
    if case.inside:
        return _provoke_inside(case, folder, count)
    takers = parents[:1] if case.needs_torch else parents
    return [_provoke(case, folder, takers[index % len(takers)]) for index in range(count)]


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


def _provoke_inside(case: Case, folder: Path, count: int) -> list[Result]:
    """Run a case in a cgroup that stands for a container, one for each probe, as its neighbour stays there."""
    results = []
    for index in range(count):
        group = cgroup.create(f"faults-{folder.name}-{index}", INSIDE_BYTES)
        if group is None:
            break
        _let_the_kernel_choose(group.memory.directory)
        command = [
            sys.executable,
            "-m",
            "benchmarks.faults.classification",
            "--inside",
            case.fault,
            str(folder / str(index)),
        ]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            group.add(process.pid)
            output, _ = process.communicate("go\n")
        group.kill()
        group.remove()
        results.append(Result(**json.loads(output)))
    return results


def _let_the_kernel_choose(container: Path) -> None:
    """Undo `memory.oom.group`, which our own cgroups have: a container that has it dies whole."""
    if (container / "memory.oom.group").exists():
        write(container / "memory.oom.group", 0)


def _inside(fault: str, folder: str) -> None:
    """Be the search in the container: one probe, its result to standard output."""
    sys.stdin.readline()
    case = next(case for case in CASES if case.fault == fault)
    parent = PreloadedParent(Path(folder), bare=True)
    try:
        print(json.dumps(asdict(_provoke(case, Path(folder), parent))))
    finally:
        parent.close()


def _line(case: Case, results: list[Result], seconds: float) -> Line:
    right = {str(kind) for kind in case.right}
    false_oom = sum(result.kind in OUT_OF_MEMORY and result.kind not in right for result in results)
    counts = Counter(f"{result.kind} ({result.confidence})" for result in results)
    return Line(
        fault=case.fault,
        injected=len(results),
        right=sum(result.kind in right for result in results),
        lost=sum(result.left for result in results) + false_oom,
        seconds=seconds,
        notes=", ".join(f"{count} {kind}" for kind, count in counts.most_common()),
    )


def main() -> int:
    """Print a line for each case with its row of the confusion matrix."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults.classification", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="faults of each kind (default: 30)")
    parser.add_argument("--case", default="", help="only cases whose name has this in it")
    parser.add_argument("--cold", action="store_true", help="only cold starts, and cases that need no torch")
    parser.add_argument("--json", type=Path, help="write the lines here")
    parser.add_argument("--inside", nargs=2, metavar=("CASE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        _inside(*options.inside)
        return 0
    lines = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, both_parents(Path(folder)) as parents:
        for case in (case for case in possible() if options.case in case.fault):
            if options.cold and case.needs_torch:
                continue
            line = measure(case, Path(folder) / case.entry, options.count, parents[options.cold :])
            lines.append(asdict(line))
            print(f"{line.fault:<50} {line.right:>4}/{line.injected:<4} lost {line.lost}  {line.notes}", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"lines": lines}, indent=1) + "\n")
    return int(any(line["right"] != line["injected"] or line["lost"] for line in lines))


if __name__ == "__main__":
    sys.exit(main())
