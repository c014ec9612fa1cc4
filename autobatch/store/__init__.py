"""The database: our ledger's tables beside Optuna's in one SQLite file, recovery, readers, and the lock on a GPU."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.storages import RDBStorage


def open_storage(path: str | os.PathLike[str]) -> RDBStorage:
    """Open Optuna's storage in the database `path`, made where nothing is expected there.

    Raises:
        DatabaseError: the database cannot be used, or Optuna's tables in it are of another version.

    """
    from autobatch.store import storage

    return storage.open_storage(path)
