"""The Optuna study of a search: made, or loaded and checked, and what its trials vary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from autobatch import attributes
from autobatch.errors import UsageError
from autobatch.request import Limits
from autobatch.settings import MICRO_BATCH, Configuration, SearchSpace
from autobatch.workload.spec import Workload


def open_study(
    storage: BaseStorage,
    name: str,
    workload: Workload,
    space: SearchSpace,
    limits: Limits,
) -> optuna.Study:
    """Make the study, or load it and fail the trials that a killed search left running.

    Raises:
        UsageError: the name belongs to a study of another workload or of another space.

    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    _hold_workload(study, workload)
    described = {
        attributes.SPACE: describe(space),
        attributes.LIMITS: {"device_bytes": limits.device_bytes, "device_fraction": limits.device_fraction},
    }
    for key, value in described.items():
        _hold(study, key, json.dumps(value, sort_keys=True, ensure_ascii=False))
    _sweep(study)
    return study


def describe(space: SearchSpace) -> dict[str, Any]:
    """Return the space, JSON-ready."""
    return {
        "fixed": dict(space.fixed),
        "searched": {name: list(choices) for name, choices in space.searched.items()},
        "effective_batch": space.effective_batch,
        "devices": space.devices,
    }


def _hold_workload(study: optuna.Study, workload: Workload) -> None:
    kept = study.user_attrs.get(attributes.WORKLOAD)
    if kept is None:
        study.set_user_attr(attributes.WORKLOAD, json.dumps(workload.to_dict(), ensure_ascii=False))
    elif Workload.from_dict(json.loads(kept)).digest != workload.digest:
        raise _another(study, attributes.WORKLOAD)


def _hold(study: optuna.Study, key: str, text: str) -> None:
    kept = study.user_attrs.get(key)
    if kept is None:
        study.set_user_attr(key, text)
    elif kept != text:
        raise _another(study, key)


def _another(study: optuna.Study, what: str) -> UsageError:
    return UsageError(
        f"The study {study.study_name!r} is of another {what}.",
        "Give this search a name of its own with --study, or ask for what that study has.",
    )


def _sweep(study: optuna.Study) -> None:
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return what every trial's parameters vary over, by their Hugging Face names."""
    searched: Mapping[str, tuple[Any, ...]] = {**space.searched, MICRO_BATCH: space.micro_batches}
    return {name: CategoricalDistribution(choices) for name, choices in searched.items()}


def parameters(configuration: Configuration, space: SearchSpace) -> dict[str, Any]:
    """Return the parameters of a trial that tries this configuration."""
    return {name: configuration[name] for name in distributions(space)}
