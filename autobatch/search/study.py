"""The Optuna study of a search: made, or loaded and checked, and what its trials vary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

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
    """Make the study, or load it and check that it is of the same workload and space.

    Raises:
        UsageError: the name belongs to a study of another workload, of another space, or of another program.

    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    _check_whose(study)
    _hold_workload(study, workload)
    _hold(study, attributes.SPACE, json.dumps(describe(space), sort_keys=True, ensure_ascii=False))
    _hold_limits(study, limits)
    return study


def describe(space: SearchSpace) -> dict[str, Any]:
    """Return the space, JSON-ready."""
    return {
        "fixed": dict(space.fixed),
        "searched": {name: list(choices) for name, choices in space.searched.items()},
        "effective_batch": space.effective_batch,
        "devices": space.devices,
    }


def _check_whose(study: optuna.Study) -> None:
    """Refuse what another program made; a study without anything in it may be ours, of a search that died here."""
    is_new = (
        study.directions == [StudyDirection.MAXIMIZE] and not study.user_attrs and not study.get_trials(deepcopy=False)
    )
    if attributes.WORKLOAD not in study.user_attrs and not is_new:
        what = f"The study {study.study_name!r} was made by another program."
        raise UsageError(what, "Give this search a name of its own with --study, or another database with --db.")


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


def _hold_limits(study: optuna.Study, limits: Limits) -> None:
    """Keep the limits; only the card's must stay: how much memory the host has free may change between runs."""
    kept = json.loads(study.user_attrs.get(attributes.LIMITS, "null"))
    wanted = asdict(limits)
    if kept is not None and any(kept.get(name) != wanted[name] for name in ("device_bytes", "device_fraction")):
        raise _another(study, attributes.LIMITS)
    if kept != wanted:
        study.set_user_attr(attributes.LIMITS, json.dumps(wanted, sort_keys=True))


def _another(study: optuna.Study, what: str) -> UsageError:
    return UsageError(
        f"The study {study.study_name!r} is of another {what}.",
        "Give this search a name of its own with --study, or ask for what that study has.",
    )


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return what every trial's parameters vary over, by their Hugging Face names."""
    searched: Mapping[str, tuple[Any, ...]] = {**space.searched, MICRO_BATCH: space.micro_batches}
    return {name: CategoricalDistribution(choices) for name, choices in searched.items()}


def parameters(configuration: Configuration, space: SearchSpace) -> dict[str, Any]:
    """Return the parameters of a trial that tries this configuration."""
    return {name: configuration[name] for name in distributions(space)}
