"""Reads what a study chose from its database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from autobatch import attributes
from autobatch.errors import DatabaseError, NothingFeasibleError, UsageError
from autobatch.export.chosen import Chosen
from autobatch.request import Limits
from autobatch.review.database import Database
from autobatch.review.records import Study
from autobatch.settings import Configuration
from autobatch.verdict import Measurements
from autobatch.workload.spec import Workload


def read(database: Path, name: str | None = None) -> Chosen:
    """Return what a study chose.

    Args:
        database: of the search.
        name: of the study; None: the one worked on last.

    Raises:
        UsageError: there is no such study, or it has not ended with an answer.
        NothingFeasibleError: its answer is that nothing fits.
        DatabaseError: the database cannot be used.

    """
    study = Database(database).study(name)
    answer = study.facts(attributes.ANSWER)
    if not answer:
        what = f"Study {study.name!r} has no answer yet."
        raise UsageError(what, "Run the same `autobatch search` again: it goes on where it ended.")
    if not answer.get("chosen"):
        what = f"Study {study.name!r} found nothing that fits, so there is nothing to export."
        raise NothingFeasibleError(what, "`autobatch trials --failed` says why; raise a limit, or free a setting.")
    try:
        return _chosen(study, answer["chosen"])
    except (KeyError, TypeError, ValueError) as error:
        what = f"The answer of study {study.name!r} cannot be read: {error!r}."
        raise DatabaseError(what, "Was it written by a newer autobatch? Run the search again with this one.") from error


def _chosen(study: Study, chosen: Mapping[str, Any]) -> Chosen:
    return Chosen(
        study=study.name,
        trial=chosen.get("trial"),
        configuration=Configuration(chosen["configuration"]),
        measurements=Measurements.from_dict(chosen.get("measurements") or {}),
        workload=Workload.from_dict(study.facts(attributes.WORKLOAD)),
        machine=study.facts(attributes.MACHINE),
        limits=_limits(study.facts(attributes.LIMITS)),
        evidence={"trials": study.trials, "confirmed": bool(chosen.get("confirmed"))},
        devices=int(study.facts(attributes.SPACE).get("devices") or 1),
    )


def _limits(facts: Mapping[str, Any]) -> Limits:
    known = {f.name for f in fields(Limits)}
    return Limits(**{k: v for k, v in facts.items() if k in known})
