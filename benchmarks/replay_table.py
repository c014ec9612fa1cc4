"""The replay's figures as a Markdown table: `python -m benchmarks.replay_table FILE.json`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HEAD = (
    "| strategy | regret, mean | p90 | probes, mean | p90 | seconds of the grid's | OOM probes | unsafe | seeds |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def _all(rows: Sequence[dict[str, Any]], name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([value for row in rows for value in row[name]], dtype=float)


def line(strategy: str, rows: Sequence[dict[str, Any]]) -> str:
    """Return a strategy's row over all cases and seeds."""
    regret, probes, seconds = (_all(rows, name) for name in ("regret", "probes", "probe_seconds"))
    grid = sum(row["grid_probe_seconds"] * len(row["regret"]) for row in rows)
    cells = [
        strategy,
        f"{regret.mean():.2%}",
        f"{np.percentile(regret, 90):.1%}",
        f"{probes.mean():.1f}",
        f"{np.percentile(probes, 90):.0f}",
        f"{seconds.sum() / grid:.1%}",
        f"{_all(rows, 'oom_probes').mean():.1f}",
        f"{int(_all(rows, 'unsafe').sum())}",
        f"{len(rows[0]['regret'])}",
    ]
    return f"| {' | '.join(cells)} |"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table, strategies in the file's order."""
    strategies = dict.fromkeys(row["strategy"] for row in rows)
    return "\n".join([HEAD, *(line(s, [row for row in rows if row["strategy"] == s]) for s in strategies)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="what benchmarks.replay --json wrote")
    print(table(json.loads(parser.parse_args(arguments).file.read_text())["rows"]))


if __name__ == "__main__":
    main()
