r"""A search's choice beside the exhaustive grid of the same space, the work shared out among all cards of one host.

    python -m benchmarks.grid --case kobart --case kobart:24GiB --split optim=adamw_torch_fused/adafactor \
        --fix dataloader_num_workers=4 --fix per_device_eval_batch_size=8 --seconds 560 --json FILE

Each case is searched once on one card; its grid is searched in parts, as `--split` has them. Cards take the searches
first, then the parts. Where search and grid chose different configurations, both are measured alternately by
short probes in fresh processes, and what the search's loses is held against 2 %. Seconds of a search: from the command
to the answer, imports and confirmation included. Seconds of the grid: the probes of all its parts, imports and a
confirmation once, as one command on one card would take that goes from part to part. What the time was too short for
is run with `--resume` and the file of before; a part that was cut off goes on where it was with its database of
`--databases`. With `--shared` the grid of a model's larger card takes over what ran on the smaller card before it, and
measures the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from autobatch.machine.gpus import list_gpus
from benchmarks import processes
from benchmarks.common import Deadline, Record
from benchmarks.gpu_cards import cores_of
from benchmarks.grid_pieces import HEADER, Piece, best_of, cases_of, line, ok, row_of, trials_of
from benchmarks.grid_rest import rest_of, shares_of
from benchmarks.live import OVERTIME_S

LEAST_S = 60.0
"""With less time left no piece of work is begun."""
END_S = 15.0
"""Held back, to read the databases and write down the table."""
LIST_S = 30.0


class Cards:
    """The cards of a host at work: each takes the next piece as soon as it is free."""

    def __init__(self, count: int, folder: Path, deadline: Deadline, keep: Callable[[], None]) -> None:
        self._cores = cores_of(count)
        self._folder, self._deadline, self._keep = folder, deadline, keep
        self._lock = threading.Lock()

    def run(self, work: Sequence[Callable[[str], None]]) -> None:
        """Call every piece of work with a device, each as soon as a card is free, as long as there is time."""
        waiting = list(work)
        with ThreadPoolExecutor(len(self._cores)) as pool:
            for done in [pool.submit(self._serve, card, waiting) for card in range(len(self._cores))]:
                done.result()

    def _serve(self, card: int, waiting: list[Callable[[str], None]]) -> None:
        os.sched_setaffinity(0, self._cores[card])  # of this thread, and of what it starts
        while self._deadline.allows(LEAST_S):
            with self._lock:
                if not waiting:
                    return
                call = waiting.pop(0)
            call(f"cuda:{card}")
            with self._lock:
                self._keep()

    def search(self, piece: Piece, least_s: float, device: str) -> None:
        """Run a piece, unless there is less time, and keep its answer and trials."""
        if not self._deadline.allows(least_s):
            return
        began, budget_s, database = time.monotonic(), self._deadline.left_s - OVERTIME_S, self._database(piece)
        where = ["--device", device, "--db", database, "--json", "--quiet", "--budget", f"{budget_s:.0f}s"]
        words = ["-m", "autobatch", "search", *piece.options, *where]
        if piece.is_rest:
            words = ["-m", "benchmarks.grid_rest", self._asked(piece, device, database, budget_s)]
        done = processes.run(words, budget_s + OVERTIME_S)
        piece.wall_s = time.monotonic() - began
        piece.answer = json.loads(done.output) if done.output.strip() else {"error": done.errors[-500:]}
        piece.answer.pop("database", None)  # a path of this machine
        asked = ["-m", "autobatch", "trials", "--json", "--limit", "0", "--db", database]
        piece.trials = json.loads(processes.run(asked, LIST_S).output or "[]")

    def _asked(self, piece: Piece, device: str, database: str, budget_s: float) -> str:
        job = {**piece.request, "device": device, "database": database, "budget_s": budget_s}
        file = self._folder / f"{piece.name}.json"
        file.write_text(json.dumps({"job": job, "settings": piece.settings}))
        return str(file)

    def compare(self, search: Piece, grid: Piece, rounds: int, device: str) -> dict[str, Any]:
        """Measure two choices side by side on one card."""
        asked = self._folder / f"{search.case}.json"
        job = {**search.request, "budget_s": self._deadline.left_s, "device": device}
        answers = {"grid": grid.chosen, "search": search.chosen}
        seconds = self._deadline.left_s
        asked.write_text(json.dumps({"job": job, "answers": answers, "rounds": rounds, "seconds": seconds}))
        done = processes.run(["-m", "benchmarks.side_by_side", str(asked)], seconds)
        return json.loads(done.output) if done.output.strip() else {"error": done.errors[-500:]}

    def _database(self, piece: Piece) -> str:
        name = f"{piece.name}.db"
        for left in () if piece.part else self._folder.glob(f"{name}*"):
            left.unlink()  # a search is timed as a whole
        return str(self._folder / name)


def command() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--case", action="append", required=True, help="MODEL or MODEL:CARD; repeatable")
    made.add_argument(
        "--split",
        action="append",
        required=True,
        metavar="KEY=V,V/V,V",
        help="searched, too; grid parts by /; repeatable",
    )
    made.add_argument("--fix", action="append", default=[], metavar="KEY=VALUE", help="as of search; repeatable")
    made.add_argument("--rounds", type=int, default=10, help="of the two choices side by side")
    made.add_argument("--seconds", type=float, required=True, help="for everything")
    made.add_argument("--part-seconds", type=float, default=LEAST_S, help="no part of a grid is begun with less left")
    made.add_argument("--resume", type=Path, metavar="FILE", help="of --json, from a run of the same cases before")
    made.add_argument("--shared", action="store_true", help="cases of a model share their grid, the smaller card first")
    made.add_argument("--rests", type=int, default=1, metavar="N", help="parts of a larger card's rest")
    made.add_argument("--databases", type=Path, metavar="DIR", help="where they are kept; without it they are not")
    made.add_argument("--json", type=Path)
    return made


@dataclass(frozen=True)
class Whole:
    """All cases of a run."""

    options: argparse.Namespace
    cases: list[list[Piece]]
    compared: dict[str, dict[str, Any]] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """Return what each case has come to."""
        return [row_of(c[0], c[1:], self.compared.get(c[0].case), self.smaller(c)) for c in self.cases]

    def smaller(self, case: Sequence[Piece]) -> list[Piece]:
        """Return the parts of the smaller card's grid that a case shares; none where it has its own."""
        same = (one[1:] for one in self.cases if one[0].model == case[0].model)
        return next(same) if case[-1].is_rest else []

    def figures(self) -> dict[str, Any]:
        """Return what is kept: the rows, and what they are made of."""
        pieces = [asdict(piece) for case in self.cases for piece in case]
        return {"rows": self.rows(), "pieces": pieces, "compared": self.compared}

    def take_up(self, figures: Mapping[str, Any]) -> None:
        """Take over what was complete before."""
        for piece in (piece for case in self.cases for piece in case):
            piece.take_up(figures["pieces"])
        self.compared.update(figures["compared"])

    def run(self, cards: Cards) -> None:
        """Search, then search the grids, then compare: what is not done yet."""
        searches = [partial(cards.search, case[0], LEAST_S) for case in self.cases if not case[0].complete]
        parts = [part for case in self.cases for part in case[1:] if not (part.complete or part.is_rest)]
        cards.run([*searches, *(partial(cards.search, part, self.options.part_seconds) for part in parts)])
        cards.run([partial(cards.search, rest, LEAST_S) for rest in self._rests()])
        ended = [case for case in self.cases if all(one.complete for one in case) and not self._is_compared(case[0])]
        cards.run([partial(self.compare, cards, search, best_of(grid)) for search, *grid in ended])

    def _rests(self) -> list[Piece]:
        """Return the rests to be searched whose smaller card's grid is complete, and tell each what it is."""
        cases = [case for case in self.cases if case[-1].is_rest]
        ready = [case for case in cases if all(part.complete for part in self.smaller(case))]
        for case in ready:
            rests = case[1:]
            shares = shares_of(rest_of(trials_of(self.smaller(case))), len(rests))
            for rest, share in zip(rests, shares, strict=True):
                rest.settings = rest.settings or share
        return [rest for _, *rests in ready for rest in rests if not rest.complete]

    def _is_compared(self, search: Piece) -> bool:
        return self.compared.get(search.case, {}).get("rel_difference") is not None

    def compare(self, cards: Cards, search: Piece, grid: Piece, device: str) -> None:
        """Compare the two choices of a case."""
        self.compared[search.case] = cards.compare(search, grid, self.options.rounds, device)


def main() -> int:
    """Search every case and its grid, and print the table; exit with 1 where one is not as it should be."""
    options = command().parse_args()
    gpus, record = list_gpus(), Record(options.json, "benchmarks.grid")
    if not gpus:
        print("There is no GPU here.\n  -> `autobatch doctor` says why none is seen.", file=sys.stderr)
        return 3
    processes.allow_interrupts()
    whole = Whole(options, cases_of(options))
    if options.resume:
        whole.take_up(json.loads(options.resume.read_text()))
    with TemporaryDirectory() as folder:
        place, deadline = options.databases or Path(folder), Deadline(options.seconds - END_S)
        place.mkdir(parents=True, exist_ok=True)
        whole.run(Cards(len(gpus), place, deadline, lambda: record.keep(**whole.figures())))
    rows = whole.rows()
    record.keep(**whole.figures())
    print(HEADER, *map(line, rows), sep="\n")
    return int(not all(map(ok, rows)))


if __name__ == "__main__":
    sys.exit(main())
