"""A job put together."""

from types import SimpleNamespace

import pytest

from autobatch.job import script
from autobatch.job.request import Job
from autobatch.job.run import run, when_ready
from autobatch.review.live import View
from autobatch.store.lock import GpuLock, InUseError


class Parent(SimpleNamespace):
    """A process to fork from, which is ready once it was waited for."""

    def ensure(self):
        self.told.append("ready")
        self.facts = {"ready": 1}


def test_the_card_is_looked_at_once_probes_can_start():
    told = []
    gate = when_ready(Parent(facts={}, told=told), lambda: told.append("free"), told.append)

    gate()
    gate()

    assert told == ["importing the libraries, once for all probes", "ready", "free", "ready", "free"]


def test_a_script_does_not_run_on_a_card_that_is_in_use(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(script, "look", lambda *_: ran.append(1))
    job = Job("train.py", 60.0, device="cpu", script=("python", "train.py"), database=str(tmp_path / "trials.db"))

    with GpuLock("cpu"), pytest.raises(InUseError, match="cpu is in use by"):
        run(job, View())
    assert ran == []
