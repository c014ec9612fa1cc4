"""What `studies` and `trials` list, column by column."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from autobatch import attributes
from autobatch.review import terminal, words
from autobatch.review.database import Database
from autobatch.review.listing import Column, emit
from autobatch.review.records import Study, Trial
from autobatch.settings import EVAL_BATCH, SETTINGS
from autobatch.units import format_duration

TABLE_ROWS = 50
"""Rows of a table unless told; JSON and CSV are whole."""


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def _tried(trial: Trial) -> str:
    """Say its settings; of one that measured evaluation or inference, the batch of that."""
    purpose, settings = trial.attributes.get(attributes.PURPOSE), trial.settings
    used = words.used_by_inference(settings) if purpose == "inference" else settings
    said = words.configuration(used, brief=True)
    evaluates = purpose in {"inference", "eval"} and EVAL_BATCH in settings
    return f"{said}, eval batch {settings[EVAL_BATCH]}" if evaluates else said


def _when(text: str) -> str:
    return text[:16].replace("T", " ")


STUDY_COLUMNS: tuple[Column[Study], ...] = (
    Column("study", "study", lambda study: study.name),
    Column("model", "model", lambda study: study.model),
    Column("trials", "trials", lambda study: study.trials, str, right=True),
    Column("running", "running", lambda study: study.by_state.get("RUNNING", 0), str, right=True),
    Column("best_samples_per_s", "best samples/s", lambda study: study.best_samples_per_s, words.number, right=True),
    Column("started", "started", lambda study: _iso(study.start_s), _when),
    Column("last_activity", "last activity", lambda study: _iso(study.end_s), _when),
)

TRIAL_COLUMNS: tuple[Column[Trial], ...] = (
    Column("trial", "trial", lambda trial: trial.number, str, right=True),
    Column("stage", "stage", lambda trial: trial.attributes.get(attributes.STAGE)),
    Column("settings", "settings", lambda trial: dict(trial.settings), said=_tried),
    Column("verdict", "verdict", lambda trial: trial.verdict),
    Column("samples_per_s", "samples/s", lambda trial: trial.samples_per_s, words.number, right=True),
    Column("step_s", "s/step", lambda trial: trial.figure(attributes.STEP_S), words.number, right=True),
    Column(
        "device_peak_gib",
        "card GiB",
        lambda trial: trial.figure(attributes.DEVICE_PEAK_GIB),
        "{:.1f}".format,
        right=True,
    ),
    Column(
        "host_peak_gib", "host GiB", lambda trial: trial.figure(attributes.HOST_PEAK_GIB), "{:.1f}".format, right=True
    ),
    Column("probe_s", "probe", lambda trial: trial.figure(attributes.PROBE_S), format_duration, right=True),
    Column("hint", "in words", lambda trial: None if trial.ok else trial.hint),
)


def _setting_column(name: str) -> Column[Trial]:
    return Column(name, name, lambda trial: trial.settings.get(name))


_FLAT_COLUMNS = (
    *(column for column in TRIAL_COLUMNS if column.name != "settings"),
    *(_setting_column(name) for name in SETTINGS),
)
"""For CSV, where every setting has a column of its own."""


def list_studies(path: Path, *, limit: int | None, form: str | None) -> None:
    """Print the studies of a database, the one worked on last first; a limit of 0 means all.

    Raises:
        DatabaseError: the database cannot be read.

    """
    found = Database(path).studies()
    emit(found[: _most(limit, form)], STUDY_COLUMNS, form)
    _say_of_more(len(found), limit, form)


def list_trials(path: Path, name: str | None, *, failed: bool, limit: int | None, form: str | None) -> None:
    """Print the trials of a study, the newest first; a limit of 0 means all.

    Raises:
        DatabaseError: the database cannot be read.
        UsageError: there is no such study.

    """
    database = Database(path)
    study = database.study(name)
    rows = database.trials(study, limit=_most(limit, form), failed=failed)
    columns = _FLAT_COLUMNS if form == "csv" else TRIAL_COLUMNS
    emit(rows, columns, form, title=f"{study.name}: {words.count(study.trials, 'trial')}")
    _say_of_more(study.trials, limit, form)


def _most(limit: int | None, form: str | None) -> int | None:
    """Return how many rows are shown; None: all."""
    usual = TABLE_ROWS if form is None else 0
    return (usual if limit is None else limit) or None


def _say_of_more(there: int, limit: int | None, form: str | None) -> None:
    if form is None and limit is None and there > TABLE_ROWS:
        terminal.say(f"The newest {TABLE_ROWS} are shown: --limit 0 shows all.", err=True)
