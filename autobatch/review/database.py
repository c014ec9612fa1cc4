"""Reads Optuna's tables of a database, read-only and in bounded pieces, so that 100,000 trials answer at once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from autobatch import attributes
from autobatch.errors import DatabaseError, UsageError
from autobatch.review.records import Study, Trial, unix_time
from autobatch.settings import Scalar
from autobatch.store import schema
from autobatch.store.read import opened
from autobatch.verdict import Kind

CHUNK = 500
"""Trials read at a time."""
_LARGEST = 2**63 - 1
"""Number that SQLite can be asked for: no trial has a larger one."""
_TABLES = {"studies", "trials", "trial_params", "trial_values", "trial_user_attributes"}

_STUDIES = """
SELECT s.study_id, s.study_name, t.state, COUNT(t.trial_id), MIN(t.datetime_start),
       MAX(COALESCE(t.datetime_complete, t.datetime_start))
FROM studies s LEFT JOIN trials t ON t.study_id = s.study_id GROUP BY s.study_id, t.state
"""
_BEST = """
SELECT t.study_id, MAX(v.value) FROM trial_values v JOIN trials t ON t.trial_id = v.trial_id
WHERE t.state = 'COMPLETE' AND v.value > 0 GROUP BY t.study_id
"""
_VERDICT = "(SELECT value_json FROM trial_user_attributes a WHERE a.trial_id = t.trial_id AND a.key = ?)"
_FAILED = f"(t.state = 'FAIL' OR (t.state = 'COMPLETE' AND COALESCE({_VERDICT}, ?) NOT IN (?, ?)))"


class Database:
    """A database of studies, for reading.

    Raises:
        DatabaseError: from every method, where there is no such file, no database, or another program's.

    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def studies(self) -> list[Study]:
        """Return every study, the one worked on last first."""
        with opened(self.path) as connection:
            if not _has_studies(connection, self.path):
                return []
            rows = connection.execute(_STUDIES).fetchall()
            best = dict(connection.execute(_BEST).fetchall())
            facts = _study_attributes(connection)
        gathered: dict[int, list[Sequence[Any]]] = {}
        for row in rows:
            gathered.setdefault(row[0], []).append(row)
        studies = [_study(rows, best.get(identity), facts.get(identity, {})) for identity, rows in gathered.items()]
        return sorted(studies, key=lambda study: (study.end_s or 0.0, study.identity), reverse=True)

    def study(self, name: str | None = None) -> Study:
        """Return a study by name, or the one worked on last.

        Raises:
            UsageError: there is no such study, or none at all.

        """
        studies = self.studies()
        for study in studies:
            if name in (None, study.name):
                return study
        if not studies:
            message = f"{self.path} holds no study."
            raise UsageError(message, "Run `autobatch search` first.")
        message = f"There is no study {name!r} in {self.path}."
        raise UsageError(message, "`autobatch studies` lists them; the last is " + repr(studies[0].name) + ".")

    def trials(self, study: Study, *, limit: int | None = None, failed: bool = False) -> Iterator[Trial]:
        """Yield trials, the newest first."""
        condition, values = _failed() if failed else ("1", ())
        text = f"SELECT t.trial_id FROM trials t WHERE t.study_id = ? AND {condition} ORDER BY t.number DESC LIMIT ?"  # noqa: S608 - constants only
        with opened(self.path) as connection:
            found = connection.execute(text, (study.identity, *values, -1 if limit is None else min(limit, _LARGEST)))
            while identities := [row[0] for row in found.fetchmany(CHUNK)]:
                yield from _load(connection, study, identities)

    def best_trials(self, study: Study, limit: int) -> list[Trial]:
        """Return the feasible trials of most throughput, the best first."""
        text = """SELECT t.trial_id FROM trials t JOIN trial_values v ON v.trial_id = t.trial_id
            WHERE t.study_id = ? AND t.state = 'COMPLETE' AND v.value > 0 ORDER BY v.value DESC LIMIT ?"""
        with opened(self.path) as connection:
            identities = [row[0] for row in connection.execute(text, (study.identity, limit))]
            loaded = list(_load(connection, study, identities))
        return sorted(loaded, key=lambda trial: -(trial.value or 0.0))

    def trial(self, study: Study, number: int) -> Trial:
        """Return one trial.

        Raises:
            UsageError: the study has no such trial.

        """
        with opened(self.path) as connection:
            text = "SELECT trial_id FROM trials WHERE study_id = ? AND number = ?"
            found = connection.execute(text, (study.identity, min(number, _LARGEST))).fetchone()
            if found is None:
                message = f"Study {study.name!r} has no trial {number}."
                raise UsageError(message, f"It has {study.trials} trials, from 0: `autobatch trials` lists them.")
            return next(_load(connection, study, [found[0]]))

    def verdicts(self, study: Study) -> dict[str, int]:
        """Return how many trials ended with each verdict, the most frequent first."""
        text = """SELECT a.value_json, COUNT(*) FROM trials t JOIN trial_user_attributes a ON a.trial_id = t.trial_id
            WHERE t.study_id = ? AND a.key = ? GROUP BY a.value_json ORDER BY COUNT(*) DESC, a.value_json"""
        with opened(self.path) as connection:
            rows = connection.execute(text, (study.identity, attributes.VERDICT)).fetchall()
        return {str(json.loads(value)): count for value, count in rows}


def _has_studies(connection: sqlite3.Connection, path: Path) -> bool:
    """Tell whether Optuna's tables are there; in a database of ours that no search has worked on, they are not yet.

    Raises:
        DatabaseError: it is another program's.

    """
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if _TABLES - tables and schema.version(connection) == 0:
        what = f"{path} is a database of another program: it holds no studies."
        raise DatabaseError(what, "Name the database of a search with --db; this one was not changed.")
    return not _TABLES - tables


def _failed() -> tuple[str, tuple[str, ...]]:
    ok, hopeless = json.dumps(str(Kind.OK)), json.dumps(str(Kind.HOPELESS))
    return _FAILED, (attributes.VERDICT, ok, ok, hopeless)


def _study_attributes(connection: sqlite3.Connection) -> dict[int, dict[str, Any]]:
    text = "SELECT study_id, key, value_json FROM study_user_attributes"
    facts: dict[int, dict[str, Any]] = {}
    for identity, key, value in connection.execute(text):
        facts.setdefault(identity, {})[key] = json.loads(value)
    return facts


def _study(rows: Sequence[Sequence[Any]], best: float | None, facts: Mapping[str, Any]) -> Study:
    by_state = {row[2]: row[3] for row in rows if row[2] is not None}
    starts = [row[4] for row in rows if row[4]]
    ends = [row[5] for row in rows if row[5]]
    return Study(
        name=rows[0][1],
        identity=rows[0][0],
        trials=sum(by_state.values()),
        by_state=by_state,
        best_samples_per_s=best,
        start_s=unix_time(min(starts, default=None)),
        end_s=unix_time(max(ends, default=None)),
        attributes=facts,
    )


def _load(connection: sqlite3.Connection, study: Study, identities: Sequence[int]) -> Iterator[Trial]:
    marks = ",".join("?" * len(identities))
    rows = connection.execute(
        f"""SELECT t.trial_id, t.number, t.state, t.datetime_start, t.datetime_complete, v.value
        FROM trials t LEFT JOIN trial_values v ON v.trial_id = t.trial_id AND v.objective = 0
        WHERE t.trial_id IN ({marks}) ORDER BY t.number DESC""",  # noqa: S608 - placeholders only
        identities,
    ).fetchall()
    parameters = _parameters(connection, marks, identities)
    noted = _attributes(connection, marks, identities)
    for identity, number, state, start, end, value in rows:
        settings = study.complete(parameters.get(identity, {}))
        times = unix_time(start), unix_time(end)
        yield Trial(number, state, *times, value, settings, noted.get(identity, {}))


def _parameters(connection: sqlite3.Connection, marks: str, identities: Sequence[int]) -> dict[int, dict[str, Scalar]]:
    text = f"SELECT trial_id, param_name, param_value, distribution_json FROM trial_params WHERE trial_id IN ({marks})"  # noqa: S608 - placeholders only
    distributions: dict[str, tuple[str, dict[str, Any]]] = {}
    parameters: dict[int, dict[str, Scalar]] = {}
    for identity, name, value, distribution in connection.execute(text, identities):
        if distribution not in distributions:
            described = json.loads(distribution)
            distributions[distribution] = described["name"], described["attributes"]
        parameters.setdefault(identity, {})[name] = _external(value, *distributions[distribution])
    return parameters


def _external(value: float, kind: str, described: Mapping[str, Any]) -> Scalar:
    """Turn Optuna's internal number of a parameter into its value."""
    if kind == "CategoricalDistribution":
        choice: Scalar = described["choices"][int(value)]
        return choice
    return int(value) if kind == "IntDistribution" else float(value)


def _attributes(connection: sqlite3.Connection, marks: str, identities: Sequence[int]) -> dict[int, dict[str, Any]]:
    text = f"SELECT trial_id, key, value_json FROM trial_user_attributes WHERE trial_id IN ({marks})"  # noqa: S608 - placeholders only
    noted: dict[int, dict[str, Any]] = {}
    for identity, key, value in connection.execute(text, identities):
        noted.setdefault(identity, {})[key] = json.loads(value)
    return noted
