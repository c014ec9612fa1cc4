"""All that a report says, gathered as plain data: the answer, its evidence, the failures, the machine, the trust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from autobatch import attributes, strict_json
from autobatch.review import trust, words
from autobatch.review.answer import answer_lines
from autobatch.review.database import Database
from autobatch.review.figure import Figure
from autobatch.review.figures import all_figures
from autobatch.review.records import Study, Trial
from autobatch.verdict import HINTS, Kind

BEST, NEWEST, FAILED = 100, 300, 100
"""Trials that a report looks at: the best, the newest and the newest failed, however many there are."""
EXAMPLES = 5
FINALISTS = 10


@dataclass(frozen=True)
class Failure:
    """One kind of failure: how often, what it means, and the newest trials with it."""

    kind: str
    count: int
    hint: str
    examples: tuple[Trial, ...]


@dataclass(frozen=True)
class Report:
    """A report, ready to be written in any form."""

    study: Study
    made: datetime
    answer: Mapping[str, Any]
    """The search's answer with workload and limits; without `chosen` while the search has not ended."""
    lines: tuple[str, ...]
    """The answer in words."""
    finalists: tuple[Trial, ...]
    failures: tuple[Failure, ...]
    verdicts: Mapping[str, int]
    figures: tuple[Figure, ...]
    trust: tuple[str, ...]
    trials: int
    """Trials that were looked at."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "study": self.study.name,
            "model": self.study.model,
            "made": self.made.isoformat(timespec="seconds"),
            "answer": dict(self.answer),
            "answer_in_words": list(self.lines),
            "best": [facts(trial) for trial in self.finalists],
            "failures": [{**vars(f), "examples": [facts(trial) for trial in f.examples]} for f in self.failures],
            "verdicts": dict(self.verdicts),
            "trust": list(self.trust),
            "machine": self.study.facts(attributes.MACHINE),
            "workload": self.study.workload,
            "space": self.study.space,
            "trials": {"all": self.study.trials, "looked_at": self.trials},
            "figures": [asdict(figure) for figure in self.figures],
        }

    def to_json(self) -> str:
        """Return the report as JSON text."""
        return strict_json.dumps(self.to_dict(), indent=2)


def facts(trial: Trial) -> dict[str, Any]:
    """Return a trial, JSON-ready."""
    return {
        "trial": trial.number,
        "verdict": trial.verdict,
        "settings": dict(trial.settings),
        "attributes": dict(trial.attributes),
    }


def gather(path: Path, name: str | None = None) -> Report:
    """Read a study and put its report together.

    Raises:
        DatabaseError: the database cannot be read.
        UsageError: there is no such study.

    """
    database = Database(path)
    study = database.study(name)
    best, failed = database.best_trials(study, BEST), list(database.trials(study, limit=FAILED, failed=True))
    newest = list(database.trials(study, limit=NEWEST))
    looked_at = sorted({t.number: t for t in (*best, *newest, *failed)}.values(), key=lambda trial: trial.number)
    verdicts = database.verdicts(study)
    answer = _answer(study, path)
    return Report(
        study=study,
        made=datetime.now().astimezone(),
        answer=answer,
        lines=tuple(answer_lines(answer) if answer.get("stopped") else _so_far(study, best)),
        finalists=tuple(trial for trial in best if trial.ok)[:FINALISTS],
        failures=tuple(_failures(verdicts, failed)),
        verdicts=verdicts,
        figures=tuple(all_figures(study, looked_at)),
        trust=tuple(trust.sentences(study, looked_at, answer)),
        trials=len(looked_at),
    )


def _answer(study: Study, path: Path) -> dict[str, Any]:
    limits = study.facts(attributes.LIMITS)
    beside = {"study": study.name, "workload": study.workload, "limits": limits, "database": str(path)}
    return {**beside, **study.facts(attributes.ANSWER)}


def _so_far(study: Study, best: Sequence[Trial]) -> list[str]:
    if not best:
        return ["The search has not ended, and nothing has run within the limits so far."]
    first = best[0]
    rate = words.number(first.samples_per_s)
    return [
        f"The search has not ended. Best so far: {words.configuration(first.settings)}",
        f"  {rate} samples/s in trial {first.number}, not confirmed",
        f"Go on with it: the same command again, or --study {study.name!r}.",
    ]


def _failures(verdicts: Mapping[str, int], failed: Sequence[Trial]) -> list[Failure]:
    kinds = {kind: count for kind, count in verdicts.items() if kind not in (Kind.OK, Kind.HOPELESS)}
    return [Failure(kind, count, _hint(kind), _examples(kind, failed)) for kind, count in kinds.items()]


def _hint(kind: str) -> str:
    return HINTS[Kind(kind)] if kind in set(Kind) else ""


def _examples(kind: str, failed: Sequence[Trial]) -> tuple[Trial, ...]:
    return tuple(trial for trial in failed if trial.verdict == kind)[:EXAMPLES]
