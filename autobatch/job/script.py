"""A job whose probe is a person's own script: its workload, and a space of the settings that it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from autobatch.errors import UsageError
from autobatch.job.request import FREE, Job, as_asked
from autobatch.job.space import Wishes
from autobatch.probe.script_workload import PATIENCE_S, Found, look
from autobatch.settings import (
    ACCUMULATION,
    EVAL_BATCH,
    MICRO_BATCH,
    OF_THE_PROCESS,
    SETTINGS,
    Scalar,
)
from autobatch.workload.spec import Workload

_ELSEWHERE = {"data": "--data", "text_column": "--text-column", "summary_column": "--summary-column"}


def build(job: Job, wish: Wishes, device: str) -> tuple[Workload, Wishes, Mapping[str, Scalar]]:
    """Run the script up to its first training, and return its workload, what may vary of it, and its own settings.

    What the script says of a setting stays unless that is searched by default or asked for, and what it does not
    have is not searched.

    Raises:
        UsageError: it fails, never trains, or lacks what a search needs; or the job asks of it what it has not.

    """
    _refuse_ours(job)
    found = look(job.script, device, min(PATIENCE_S, job.budget_s))
    _refuse_unknown(found, wish)
    known = found.workload.effective_batch
    own = replace(found.workload, effective_batch=known and known * job.devices)
    workload = as_asked(own, job)
    _check_batch(found, workload, job)
    return workload, replace(wish, fix={**_held(found, wish), **wish.fix}), found.settings


def _refuse_ours(job: Job) -> None:
    """Refuse options that are the script's own matter."""
    for name, option in _ELSEWHERE.items():
        if getattr(job, name) is not None:
            what = f"{option} says nothing to a script, which reads its own data."
            raise UsageError(what, "Leave it out, and give the script its own arguments after --.")
    if job.epochs is not None:
        raise UsageError("--epochs says nothing to a script.", "Give the script its own arguments after --.")


def _refuse_unknown(found: Found, wish: Wishes) -> None:
    """Refuse to fix or search what would change nothing."""
    for name in (*wish.fix, *wish.search):
        if name not in found.settings and name not in OF_THE_PROCESS:
            what = f"The script does not take {name} from autobatch: to set it would change nothing."
            raise UsageError(what, f"It takes {', '.join((*found.settings, *OF_THE_PROCESS))}.")
    if MICRO_BATCH not in found.settings:
        what = f"The loop never asks for {MICRO_BATCH}, so there is nothing to search."
        raise UsageError(what, f'Have it read p.setting("{MICRO_BATCH}", DEFAULT).')


def _check_batch(found: Found, workload: Workload, job: Job) -> None:
    if workload.effective_batch is None and job.effective_batch != FREE:
        what = "The script does not tell its effective batch."
        raise UsageError(what, "Give it: --effective-batch N, or --effective-batch free.")
    if ACCUMULATION not in found.settings and workload.effective_batch is not None:
        what = f"The loop never asks for {ACCUMULATION}, so its effective batch cannot be held."
        do = f'Have it step once in p.setting("{ACCUMULATION}", N) batches, or if N is 1 give --effective-batch free.'
        raise UsageError(what, do)


def _held(found: Found, wish: Wishes) -> Mapping[str, Scalar]:
    """Return the settings that stay as the script has them, or at their default where that is not known."""
    held = {name: value for name, value in found.held.items() if name not in wish.search}
    if not found.workload.eval_samples and EVAL_BATCH not in wish.search:
        held[EVAL_BATCH] = found.settings.get(EVAL_BATCH, SETTINGS[EVAL_BATCH].default)
    absent = {name: setting.default for name, setting in SETTINGS.items() if setting.searched}
    unasked = {**absent, **found.unasked}
    return {**held, **{name: value for name, value in unasked.items() if name not in found.settings}}
