"""Settings under which training fails by an error of its own: they are not tried over and over."""

from __future__ import annotations

from collections.abc import Sequence

from autobatch.search.facts import DEVICE_MEMORY, FEASIBLE, Fact
from autobatch.settings import ARM_KEYS, Configuration, Scalar, SearchSpace
from autobatch.verdict import Kind

Pair = tuple[str, Scalar]
FEWEST = 2
"""Errors before anything is blamed: one may be an accident."""


def faults(facts: Sequence[Fact], space: SearchSpace) -> frozenset[Pair]:
    """Return (setting, value) pairs that all errors have in common and nothing that trained has; empty if none.

    Where there are several pairs nobody knows which of them is at fault, and only all of them together are.
    """
    probes = [fact for fact in facts if fact.stage == "search"]
    errors = [_pairs(fact.configuration, space) for fact in probes if fact.verdict.kind is Kind.USER_ERROR]
    trained = [_pairs(f.configuration, space) for f in probes if f.verdict.kind in FEASIBLE | DEVICE_MEMORY]
    if len(errors) < FEWEST or not trained:
        return frozenset()
    return frozenset.intersection(*errors).difference(*trained)


def has_faults(candidate: Configuration, found: frozenset[Pair]) -> bool:
    """Tell whether a configuration has all of the pairs, if there are any."""
    return bool(found) and all(candidate[name] == value for name, value in found)


def _pairs(configuration: Configuration, space: SearchSpace) -> frozenset[Pair]:
    return frozenset((name, configuration[name]) for name in ARM_KEYS if name in space.searched)
