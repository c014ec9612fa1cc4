"""Samplers by name: the structured one, Optuna's own, and the exhaustive grid."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from autobatch import attributes
from autobatch.errors import UsageError
from autobatch.search import facts as kept
from autobatch.search.eval_memory import evaluable
from autobatch.search.facts import Fact
from autobatch.search.study import distributions, parameters
from autobatch.settings import Configuration, Scalar, SearchSpace

STARTUP = 5
"""Random trials before a model decides: a search has tens of probes, not hundreds."""
NAMES = ("structured", "tpe", "gp", "random", "grid")


@dataclass(frozen=True)
class Decision:
    """What to probe next, and why; or why not to go on."""

    configuration: Configuration | None
    reason: str
    gain: float | None = None
    """Expected gain of the best of what is left, as a share of the throughput; None where nothing is known of it."""
    why: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the trial: what is predicted of it."""


class Decider(Protocol):
    """A sampler that knows what it wants next and when it is done."""

    def decide(self, facts: Sequence[Fact]) -> Decision:
        """Return the next probe, or none."""


class CandidateSampler(BaseSampler):
    """An Optuna sampler that chooses among given configurations, by `decide`.

    Parameters outside the space are left to an independent random sampler.
    """

    def __init__(self, space: SearchSpace, candidates: Sequence[Configuration], seed: int | None = None) -> None:
        self._space = space
        self._candidates = tuple(candidates)
        self._independent = RandomSampler(seed)

    def decide(self, facts: Sequence[Fact]) -> Decision:
        """Return the first candidate not tried yet: an exhaustive grid."""
        tried = {core(fact.configuration) for fact in facts}
        left = evaluable([one for one in self._candidates if core(one) not in tried], facts, self._space)
        if not left:
            return Decision(None, "every configuration has been tried" if tried else "every configuration is held back")
        return Decision(left[0], "next of the grid", why={attributes.WHY: "next of the grid"})

    def infer_relative_search_space(
        self,
        study: optuna.Study,  # noqa: ARG002 - the sampler's interface
        trial: FrozenTrial,  # noqa: ARG002 - the sampler's interface
    ) -> dict[str, BaseDistribution]:
        """Return the whole space."""
        return distributions(self._space)

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,  # noqa: ARG002 - the sampler's interface
        search_space: dict[str, BaseDistribution],  # noqa: ARG002 - the sampler's interface
    ) -> dict[str, Any]:
        """Return the parameters of the next configuration; of the first one again where none is left."""
        chosen = self.decide(kept.read_all(study, self._space)).configuration or self._candidates[0]
        return parameters(chosen, self._space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:  # noqa: ANN401 - a parameter may be of any type
        """Sample a parameter outside the space at random."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)


def core(configuration: Configuration) -> tuple[Scalar, ...]:
    """Return what the first stage decides: the arm and the micro-batch."""
    return (*configuration.arm, configuration.micro_batch)


def generic(name: str, seed: int, held: Mapping[str, Scalar]) -> BaseSampler:
    """Make one of Optuna's own samplers, with the settings of the later stages held.

    Raises:
        UsageError: there is no sampler of that name.

    """
    makers: dict[str, Callable[[], BaseSampler]] = {
        "tpe": lambda: TPESampler(seed=seed, n_startup_trials=STARTUP),
        "gp": lambda: GPSampler(seed=seed, n_startup_trials=STARTUP, warn_independent_sampling=False),
        "random": lambda: RandomSampler(seed),
    }
    if name not in makers:
        message = f"There is no sampler {name!r}."
        raise UsageError(message, f"Choose one of {', '.join(NAMES)}.")
    return holding(makers[name](), held)


def holding(sampler: BaseSampler, held: Mapping[str, Scalar]) -> BaseSampler:
    """Return a sampler that proposes what another does, with some settings held."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PartialFixedSampler(dict(held), sampler)
