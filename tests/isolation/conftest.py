from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from autobatch.isolation.parent import PreloadedParent
from autobatch.isolation.runner import ProbeRunner
from autobatch.request import Limits
from autobatch.workload.spec import Model, Workload


class Recorder:
    """A journal in memory."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.samples: list[dict[str, Any]] = []
        self.intents: list[str] = []

    def started(self, facts):
        self.facts = dict(facts)

    def sample(self, facts):
        self.samples.append(dict(facts))

    def intent(self, reason):
        self.intents.append(reason)


@pytest.fixture
def journal():
    return Recorder()


@pytest.fixture(scope="module", autouse=True)
def entries_are_importable():
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *([before] if before else [])])
    yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def bare_parent(tmp_path_factory):
    """A parent whose children start cold, shared by a module's tests."""
    parent = PreloadedParent(tmp_path_factory.mktemp("parent"), bare=True)
    yield parent
    parent.close()


@pytest.fixture
def make_runner(tmp_path, bare_parent):
    """Return a function that makes a runner of one of `entries`."""
    runners = []

    def make(entry, **options):
        options = {"limits": Limits(), "parent": bare_parent, **options}
        workload = Workload(Model("tiny", "", "causal"))
        runner = ProbeRunner(workload, device="cpu", work_dir=tmp_path / "probes", entry=f"entries:{entry}", **options)
        runners.append(runner)
        return runner

    yield make
    for runner in runners:
        runner.close()
