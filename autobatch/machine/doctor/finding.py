"""What an examination of the machine says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing found, and what to do about it."""

    area: str
    level: Level
    what: str
    do: str = ""
    """Empty where nothing is to be done."""

    def to_dict(self) -> dict[str, str]:
        """Return a JSON-ready form."""
        return {name: str(value) for name, value in asdict(self).items()}
