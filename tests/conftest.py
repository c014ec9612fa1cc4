from __future__ import annotations

import itertools

import pytest

from autobatch.store import lock

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _own_locks(monkeypatch, tmp_path_factory):
    """Keep the locks of a test's searches, and of the processes it starts, apart from those of the machine."""
    monkeypatch.setenv(lock.FOLDER_VARIABLE, str(tmp_path_factory.getbasetemp() / f"locks-{next(_numbers)}"))
