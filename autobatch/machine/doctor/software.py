"""What is installed, found out without importing any of it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from functools import cache
from pathlib import Path


def version(name: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def folder(module: str) -> Path | None:
    """Return the folder of an installed top-level package; None if it is not there, or is a single file."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) if places else None


@cache
def torch_cuda() -> tuple[int, int] | None:
    """Return the CUDA version that the installed torch is built for; None for a CPU build, and without torch."""
    place = folder("torch")
    if place is None:
        return None
    try:
        text = (place / "version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"^cuda\b[^=]*=\s*'(\d+)\.(\d+)", text, re.MULTILINE)
    return (int(match[1]), int(match[2])) if match else None
