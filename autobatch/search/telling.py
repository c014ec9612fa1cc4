"""What a probe came to is told to Optuna: at once, or by the next search where this one was killed before."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import optuna
from optuna.trial import Trial, TrialState

from autobatch import attributes
from autobatch.request import Limits
from autobatch.search import facts as kept
from autobatch.search.facts import Fact
from autobatch.search.seams import Ended
from autobatch.verdict import ENDED_BY, Kind, Verdict

_GIVEN_UP = "The search was interrupted while this ran: nothing is known of it, and it may be tried again."


def tell(trial: Trial, fact: Fact, limits: Limits) -> None:
    """Write the attributes and close the trial; one that another process disturbed, or that was given up, fails."""
    if _was_given_up(fact.verdict):
        _note_end(trial, fact)
        trial.study.tell(trial, state=TrialState.FAIL)
        return
    kept.write(trial, fact, limits)
    if fact.verdict.kind is Kind.DISTURBED:
        trial.study.tell(trial, state=TrialState.FAIL)
    else:
        trial.study.tell(trial, _value(trial, fact))


def settle(study: optuna.Study, untold: Sequence[Ended], limits: Limits) -> None:
    """Tell what killed searches had measured and not told, and fail what else they left running."""
    ended = {one.trial_number: one for one in untold if one.study == study.study_name}
    for frozen in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        one = ended.get(frozen.number)
        if one is None or one.verdict is None:
            study.tell(frozen.number, state=TrialState.FAIL)
            continue
        trial = Trial(study, frozen._trial_id)  # noqa: SLF001 - Optuna has no public way back to a running trial
        with warnings.catch_warnings():
            # it may have been killed after it wrote the constraint, which Optuna takes once
            warnings.simplefilter("ignore")
            tell(trial, Fact(one.trial_number, one.configuration, one.stage, one.purpose, one.verdict), limits)


def _was_given_up(verdict: Verdict) -> bool:
    return verdict.kind is Kind.KILLED and ENDED_BY in verdict.evidence


def _note_end(trial: Trial, fact: Fact) -> None:
    """Say of a probe without a measurement what it was; it stays no fact, so that a next run tries it again."""
    noted = {attributes.VERDICT: str(fact.verdict.kind), attributes.HINT: _GIVEN_UP}
    for name, value in {**noted, attributes.STAGE: fact.stage, attributes.DIGEST: fact.configuration.digest}.items():
        trial.set_user_attr(name, value)


def _value(trial: Trial, fact: Fact) -> float:
    carried = trial.user_attrs.get(attributes.CARRIED) if fact.ok else None
    return fact.samples_per_s or float(carried or 0.0)
