"""Run every part of the fault benchmark, or those named: `python -m benchmarks.faults [PART ...]`."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import benchmarks.faults
from benchmarks.faults import Line

_LIBRARIES = ("torch", "transformers", "optuna", "sqlalchemy", "pyyaml")
_HEADER = f"{'fault':<58} {'injected':>9} {'right':>9} {'lost':>5} {'time':>8}"


def parts() -> dict[str, ModuleType]:
    """Return the parts, by name."""
    names = [module.name for module in pkgutil.iter_modules(benchmarks.faults.__path__) if module.name != "__main__"]
    modules = {name: importlib.import_module(f"benchmarks.faults.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "run")}


def machine() -> dict[str, Any]:
    """Return what the figures were taken on."""
    return {
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in _LIBRARIES},
    }


def run(chosen: list[str], scale: float) -> Iterator[tuple[str, Line]]:
    """Run parts one after the other, each in a scratch folder of its own."""
    available = parts()
    for name in chosen or sorted(available):
        part: Callable[[Path, float], Iterator[Line]] = available[name].run
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            for line in part(Path(folder), scale):
                yield name, line


def main() -> int:
    """Print the table; exit with 1 where an outcome was not right."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("part", nargs="*", help="parts to run; all unless named: " + ", ".join(sorted(parts())))
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the numbers of faults (default: 1)")
    parser.add_argument("--json", type=Path, help="write the lines here")
    options = parser.parse_args()
    print(_HEADER)
    lines = []
    for part, line in run(options.part, options.scale):
        lines.append({"part": part, **asdict(line)})
        print(
            f"{line.fault:<58} {line.injected:>9,} {line.right:>9,} {line.lost:>5} {line.seconds:>6.0f} s", flush=True
        )
    report = {"command": sys.argv[1:], "date": time.strftime("%Y-%m-%d"), "machine": machine(), "lines": lines}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return int(any(line["right"] != line["injected"] or line["lost"] for line in lines))


if __name__ == "__main__":
    sys.exit(main())
