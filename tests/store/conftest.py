from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autobatch.settings import Configuration
from autobatch.store.journal import Entry
from autobatch.store.ledger import Ledger

STUDY = "kobart"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "trials.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger.open(path) as ledger:
        yield ledger


@pytest.fixture
def begin() -> Callable[..., Entry]:
    def begin(ledger: Ledger, number: int = 0, micro_batch: int = 4) -> Entry:
        configuration = Configuration(per_device_train_batch_size=micro_batch)
        return ledger.begin(STUDY, number, configuration, "probe", "search")

    return begin


@pytest.fixture
def killed() -> Callable[[Callable[[], object]], int]:
    """Run something in a process that is then killed as it stands; return its pid."""

    def killed(act: Callable[[], object]) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                act()
                os.kill(os.getpid(), signal.SIGKILL)
            finally:
                os._exit(7)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), "it failed before it was killed"
        return pid

    return killed
