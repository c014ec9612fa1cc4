"""Which configurations evaluate alike, so that where evaluation is too large for one it is for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from autobatch.search.effects import PLAIN
from autobatch.search.facts import Fact
from autobatch.search.prior import WIDTHS
from autobatch.settings import (
    CHECKPOINTING,
    EVAL_BATCH,
    METHOD,
    OPTIM,
    PRECISION,
    SAMPLING,
    Configuration,
    Scalar,
    SearchSpace,
)

Likeness = tuple[Scalar, ...]


def likeness(configuration: Configuration) -> Likeness:
    """Return what evaluation's memory depends on, the eval batch aside.

    Neither the micro-batch nor checkpointing has a part in it, of two formats as wide each has the same, and beside a
    frozen base the optimizer's state is small.
    """
    names = (CHECKPOINTING, SAMPLING, *([OPTIM] if configuration[METHOD] == "lora" else []))
    precision = configuration[PRECISION]
    same = {name: PLAIN[name] for name in names} | {PRECISION: WIDTHS.get(precision, precision)}
    return configuration.replace(same).arm


def too_large_alike(facts: Sequence[Fact], space: SearchSpace) -> frozenset[Likeness]:
    """Return what configurations have in common whose evaluation was too large for one of them.

    With the smallest eval batch of the space it was, in the eval stage or when confirmed; and none of them was
    confirmed.
    """
    least = min((int(choice) for choice in space.searched.get(EVAL_BATCH, ())), default=None)
    over = [fact for fact in facts if fact.purpose in {"eval", "confirm"} and fact.eval_to_blame]
    smallest = (fact for fact in over if least in {None, int(fact.configuration[EVAL_BATCH])})
    fits = {likeness(fact.configuration) for fact in facts if fact.purpose == "confirm" and fact.ok}
    return frozenset(likeness(fact.configuration) for fact in smallest) - fits


def evaluable(candidates: Iterable[Configuration], facts: Sequence[Fact], space: SearchSpace) -> list[Configuration]:
    """Return those that do not evaluate like what was too large."""
    alike = too_large_alike(facts, space)
    return [candidate for candidate in candidates if not alike or likeness(candidate) not in alike]
