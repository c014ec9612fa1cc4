"""The parts of `benchmarks.gpu` side by side, on all cards of one host.

    python -m benchmarks.gpu_cards --out DIR --seconds 560 PART [PART ...]

The parts are shared out among the cards by what they want of time; each card runs its own one after another, as
`benchmarks.gpu` does, on a share of the cores that no other has. What they wrote and said is in DIR/cards.zip.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from autobatch.machine.gpus import list_gpus
from benchmarks import processes
from benchmarks.common import Deadline
from benchmarks.gpu_parts import PARTS, Part

START_S = 5.0
"""Of a run of parts, beside what it is given: its own start and end."""


def shared(parts: Mapping[str, Part], cards: int) -> list[list[str]]:
    """Share parts out among so many cards: the longest first, each to the card that has least to do."""
    lots: list[list[str]] = [[] for _ in range(cards)]
    for name in sorted(parts, key=lambda name: -parts[name].wanted_s):
        min(lots, key=lambda lot: sum(parts[one].wanted_s for one in lot)).append(name)
    return lots


def cores_of(cards: int) -> list[set[int]]:
    """Return the cores of each card: an equal share of those we may run on, the threads of a physical core together."""
    ours = sorted(os.sched_getaffinity(0), key=lambda core: (first_sibling(core), core))
    each = max(1, len(ours) // cards)
    return [set(ours[card * each : (card + 1) * each] or ours) for card in range(cards)]


def first_sibling(core: int, folder: Path = Path("/sys/devices/system/cpu")) -> int:
    """Return the first thread of the physical core that a logical one is a thread of; itself where nobody tells."""
    try:
        return int(re.split("[,-]", (folder / f"cpu{core}/topology/thread_siblings_list").read_text())[0])
    except (OSError, ValueError):
        return core


def start(card: str, cores: set[int], names: Sequence[str], out: Path, seconds: float) -> subprocess.Popen[str]:
    """Start the run of one card; its table goes to a file beside its figures."""
    out.mkdir(parents=True, exist_ok=True)
    words = ["-m", "benchmarks.gpu", "--out", str(out), "--seconds", f"{seconds:.0f}", *names]
    environment = {**processes.environment(), "CUDA_VISIBLE_DEVICES": card}
    with (out / "table.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
            preexec_fn=partial(os.sched_setaffinity, 0, cores),  # noqa: PLW1509 - no other thread runs here
        )


def run(names: Sequence[str], out: Path, deadline: Deadline) -> int:
    """Run parts on all cards; return how many of the cards' runs were not well."""
    cards = list_gpus()
    lots = shared({name: PARTS[name] for name in names}, len(cards))
    left_s = deadline.left_s - START_S
    running = [
        (out / f"card-{gpu.index}", start(gpu.uuid, cores, lot, out / f"card-{gpu.index}", left_s))
        for gpu, cores, lot in zip(cards, cores_of(len(cards)), lots, strict=True)
        if lot
    ]
    for _, process in running:
        processes.end_within(process, deadline.left_s)
    for folder, _ in running:
        print(f"== {folder.name}", (folder / "table.log").read_text(errors="replace")[-2500:], sep="\n")
    with TemporaryDirectory() as elsewhere:
        shutil.move(shutil.make_archive(str(Path(elsewhere, "cards")), "zip", out), out / "cards.zip")
    for folder, _ in running:
        shutil.rmtree(folder)
    return sum(process.returncode != 0 for _, process in running)


def command() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("parts", nargs="+", choices=list(PARTS), metavar="PART", help=", ".join(PARTS))
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--seconds", type=float, required=True, help="for all parts together")
    return made


def main() -> int:
    """Run the parts and print each card's table; exit with 1 where one was not well, 3 without a card."""
    options = command().parse_args()
    if not list_gpus():
        print("There is no GPU here.\n  -> `autobatch doctor` says why none is seen.", file=sys.stderr)
        return 3
    return int(run(options.parts, options.out.resolve(), Deadline(options.seconds)) > 0)


if __name__ == "__main__":
    sys.exit(main())
