"""Environment variables, one a setting: `set -a; . best.env; set +a` before a loop of one's own."""

from __future__ import annotations

from typing import Any

from autobatch.export.chosen import Chosen
from autobatch.export.targets import Target

PREFIX = "AUTOBATCH_"


def variable(setting: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + setting.upper()


def text(value: object) -> str:
    """Return a value as a shell and a script read it: truth as 1 and 0."""
    return str(int(value)) if isinstance(value, bool) else str(value)


def settings(chosen: Chosen) -> dict[str, Any]:
    """Return every setting that is taken, and what the allocator needs, as text."""
    values = {variable(name): text(value) for name, value in chosen.taken.items()}
    return {**values, **chosen.environment}


def elsewhere(_: Chosen) -> dict[str, Any]:
    """Everything is in the file."""
    return {}


TARGET = Target("env", settings, syntax="env", elsewhere=elsewhere)
