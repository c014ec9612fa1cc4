from __future__ import annotations

from pathlib import Path

import pytest

from autobatch.job.request import Job
from autobatch.store.database import Database
from autobatch.store.queue import Queue


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trials.db"


@pytest.fixture
def queue(path):
    database = Database(path)
    yield Queue(database)
    database.close()


@pytest.fixture
def submit(queue):
    def submit(device: str = "cpu", on_done: str | None = None, **options) -> int:
        job = Job(model="demo", budget_s=60.0, device=device, **options)
        first = None if device == "auto" else device
        return queue.submit(job.to_dict(), on_done, first)

    return submit
